//! `[runtime]`: how the process lives. Nothing of it changes by a reload.

use std::time::Duration;

use super::section::{Entry, Section};
use super::types::{Account, Runtime};

/// A drain ends by then: Kubernetes kills 30 seconds after SIGTERM, and the audit must be written
/// before.
const DRAIN: Duration = Duration::from_secs(25);

pub(super) fn read(root: &mut Section<'_>) -> Runtime {
    let mut section = root.table("runtime");
    // More threads than any host has cores is a slip.
    let workers = section.integer("workers", 0..=1024, 0);
    let drain_timeout = section.duration("drain_timeout", DRAIN);
    let user = section.take("user");
    let names_user = user.as_ref().is_some_and(|entry| !entry.raw.is_empty());
    let user = user.and_then(|entry| account(&entry, "root is what is dropped: name another user"));
    let group = section.take("group");
    if let Some(entry) = group.as_ref().filter(|entry| !entry.raw.is_empty())
        && !names_user
    {
        entry.problem("means nothing without runtime.user");
    }
    let group = group.and_then(|entry| account(&entry, "root's group is what is dropped"));
    // A dozen stat() calls a second are nothing; a revoked certificate should be refused soon.
    let watch_files = section.duration_or_never("watch_files", Some(Duration::from_secs(1)));
    let landlock = section.boolean("landlock").unwrap_or(true);
    section.finish();
    Runtime {
        workers: workers as usize,
        drain_timeout,
        user,
        group,
        watch_files,
        landlock,
    }
}

/// A name or a number; `None` where it is empty. It is not 0, for the reason that `root` gives.
fn account(entry: &Entry<'_>, root: &str) -> Option<Account> {
    let number = match entry.raw.as_text() {
        Some("") => return None,
        Some(text) if !text.bytes().all(|byte| byte.is_ascii_digit()) => {
            // It goes to the C library, where it would end there.
            if text.contains('\0') {
                entry.problem("must be a name or a number");
            } else if text == "root" {
                entry.problem(root);
            } else {
                return Some(Account::Name(text.to_owned()));
            }
            return None;
        }
        Some(text) => text.parse().ok(),
        None => entry
            .integer()
            .and_then(|number| u32::try_from(number).ok()),
    };
    match number {
        Some(0) => entry.problem(root),
        // The last one means "leave it as it is" in the system's calls.
        Some(number) if number < u32::MAX => return Some(Account::Number(number)),
        _ => entry.problem("must be a name or a number"),
    }
    None
}
