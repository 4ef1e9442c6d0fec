//! `[limits]`: bounds on what peers may make us hold, and on what each user and address may have.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Duration;

use super::section::Section;
use super::types::{AuthLimits, Limits, Quota, Quotas};

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// The table of the user that nobody names.
const EVERYBODY: &str = "*";

/// Reads `[limits]`, its tables too.
pub(super) fn limits(root: &mut Section<'_>) -> Limits {
    let mut section = root.table("limits");
    // From: names, keys and options of ordinary commands fit. To: an unsigned 32-bit length; Redis'
    // own proto-max-bulk-len is 512 MB unless someone raised it.
    let max_bulk = section.size("max_bulk", KB..=4 * GB, "\"1KB\" to \"4GB\"", 512 * MB);
    // From: the longest fixed forms of commands fit. To: 64 times what Redis before 7 takes; each
    // argument costs at least 6 bytes on the wire, so more is an attack and not a request.
    let max_args = section.integer("max_args", 16..=64 << 20, 1 << 20);
    // From: one read of a socket. To: it is memory that each session may hold back at once.
    let max_inspect_buffer = section.size(
        "max_inspect_buffer",
        16 * KB..=64 * MB,
        "\"16KB\" to \"64MB\"",
        MB,
    );
    // From: what is read of an upstream at once, four times. To: it is memory that one client can take.
    let max_reply_buffer = section.size(
        "max_reply_buffer",
        256 * KB..=4 * GB,
        "\"256KB\" to \"4GB\"",
        32 * MB,
    );
    let memory = read_memory(&mut section, max_inspect_buffer, max_reply_buffer);
    let write_timeout = section.duration("write_timeout", Duration::from_secs(60));
    let quotas = quotas(&mut section);
    let auth = auth(&mut section);
    section.finish();
    let bytes = |size| usize::try_from(size).unwrap_or(usize::MAX);
    Limits {
        max_bulk,
        max_args,
        max_inspect_buffer: bytes(max_inspect_buffer),
        max_reply_buffer: bytes(max_reply_buffer),
        memory: bytes(memory),
        write_timeout,
        quotas,
        auth,
    }
}

/// The budget of all must hold what one alone may have: else nobody ever could.
fn read_memory(section: &mut Section<'_>, inspect: u64, reply: u64) -> u64 {
    let given = section.names().iter().any(|name| name == "memory");
    // From: no less makes sense than some clients' large replies. To: more memory than a machine has
    // is a slip.
    let range = MB..=1024 * GB;
    let memory = section.size("memory", range, "\"1MB\" to \"1024GB\"", GB);
    let parts = [("max_inspect_buffer", inspect), ("max_reply_buffer", reply)];
    for (part, needed) in parts.into_iter().filter(|(_, needed)| *needed > memory) {
        let default = if given {
            ""
        } else {
            ", as the file doesn't say,"
        };
        section.missing(
            "memory",
            &format!(
                "the budget of all{default} is {memory} bytes, less than the {needed} bytes of \
                 {part} that one client may hold"
            ),
        );
    }
    memory
}

/// `[limits.auth]`.
fn auth(section: &mut Section<'_>) -> AuthLimits {
    let mut table = section.table("auth");
    // Twenty: an application with an old password, restarted by its supervisor or with a pool of
    // connections, fails some times at once, and must not hold up its neighbours on the same host.
    // To: more is no limit.
    let attempts = table.integer("attempts", 1..=1_000_000, 20);
    // An attempt a second: 86,400 a day find a password of a word list in weeks, one of 40 random bits
    // never; and a client that has its new password waits for a second.
    let interval = table.duration("interval", Duration::from_secs(1));
    table.finish();
    AuthLimits { attempts, interval }
}

/// `[limits.user.NAME]`, `[limits.user."*"]` and `[limits.address]`.
fn quotas(section: &mut Section<'_>) -> Quotas {
    let address = section.table("address");
    let address = (!address.names().is_empty()).then(|| quota(address));
    let mut users = section.table("user");
    let names = users.names();
    let mut named = HashMap::new();
    let mut others = None;
    for (name, entry) in names.into_iter().zip(users.take_rest()) {
        let Some(table) = entry.into_table() else {
            continue;
        };
        match &*name {
            EVERYBODY => others = Some(quota(table)),
            _ => {
                named.insert(name, quota(table));
            }
        }
    }
    Quotas {
        users: named,
        others,
        address,
    }
}

/// What one of them may have. Each key may be left out: then there is no such limit.
fn quota(mut table: Section<'_>) -> Quota {
    let names = table.names();
    let is_given = |key: &str| names.iter().any(|name| name == key);
    // As of a listener.
    let connections = table.integer("max_connections", 1..=10_000_000, 0);
    // To: more than any Redis does.
    let commands = table.integer("commands_per_second", 1..=1_000_000_000, 0);
    // From: less could not carry a client library's first words.
    let range = KB..=1024 * GB;
    let bytes = table.size("bytes_per_second", range, "\"1KB\" to \"1024GB\"", 0);
    table.finish();
    Quota {
        max_connections: is_given("max_connections").then_some(connections as usize),
        commands_per_second: NonZeroU64::new(commands.into()),
        bytes_per_second: NonZeroU64::new(bytes),
    }
}

// === impl Quotas ===

impl Quotas {
    /// What this user may have; `None`: what it likes.
    pub fn of_user(&self, name: &str) -> Option<&Quota> {
        self.users.get(name).or(self.others.as_ref())
    }

    /// Whether there is a limit for any user.
    pub fn limit_users(&self) -> bool {
        !self.users.is_empty() || self.others.is_some()
    }
}
