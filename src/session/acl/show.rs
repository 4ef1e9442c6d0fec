//! Users, categories and the log, as replies.

use bytes::BytesMut;

use crate::command::{Category, Table};
use crate::policy::{LogEntry, Policy, Selector, User};
use crate::resp::{encode_bulk, encode_header};

use super::super::known::Protocol;
use super::text::{error, name_in_error, seconds};

/// The lines of ACL HELP: they are what the commands of this family are.
const HELP: [&str; 29] = [
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
    "HELP",
    "    Print this help.",
];

pub(super) fn help(out: &mut BytesMut) {
    array(HELP.len(), out);
    for line in HELP {
        out.extend_from_slice(b"+");
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn categories(out: &mut BytesMut) {
    bulks(Category::ALL.iter().map(|category| category.as_str()), out);
}

pub(super) fn category(name: &[u8], table: &Table, out: &mut BytesMut) {
    match std::str::from_utf8(name).ok().and_then(Category::parse) {
        Some(category) => {
            let commands = table.in_category(category).map(|id| table.command(id));
            let names: Vec<&str> = commands.map(|command| &*command.name).collect();
            bulks(names.into_iter(), out);
        }
        None => {
            let name = name_in_error(name);
            let name = &name[..name.len().min(128)];
            error(&[b"Unknown category '", name, b"'"], out);
        }
    }
}

pub(super) fn users(policy: &Policy, out: &mut BytesMut) {
    let names: Vec<&str> = policy.users().map(|user| user.name()).collect();
    bulks(names.into_iter(), out);
}

pub(super) fn list(policy: &Policy, out: &mut BytesMut) {
    array(policy.users().count(), out);
    for user in policy.users() {
        let line = [b"user ", user.name().as_bytes(), b" ", &user.describe()].concat();
        encode_bulk(&line, out);
    }
}

/// GETUSER. What Redis has no word for comes behind all that it has, and only where there is any.
pub(super) fn user(name: &[u8], policy: &Policy, protocol: Protocol, out: &mut BytesMut) {
    let user = std::str::from_utf8(name)
        .ok()
        .and_then(|name| policy.user(name));
    let (Some(user), Some((root, others))) =
        (user, user.and_then(|user| user.selectors().split_first()))
    else {
        out.extend_from_slice(match protocol {
            Protocol::Resp2 => &b"$-1\r\n"[..],
            Protocol::Resp3 => b"_\r\n",
        });
        return;
    };
    let own = own_fields(user);
    map(3 + fields_of(root) + own.len(), protocol, out);
    encode_bulk(b"flags", out);
    let flags: Vec<&str> = user.flags().collect();
    let kind = match protocol {
        Protocol::Resp2 => b'*',
        Protocol::Resp3 => b'~',
    };
    encode_header(kind, flags.len() as u64, out);
    flags
        .iter()
        .for_each(|flag| encode_bulk(flag.as_bytes(), out));
    encode_bulk(b"passwords", out);
    let hashes: Vec<String> = user.passwords().iter().map(ToString::to_string).collect();
    bulks(hashes.iter().map(String::as_str), out);
    selector(root, out);
    encode_bulk(b"selectors", out);
    array(others.len(), out);
    for one in others {
        map(fields_of(one), protocol, out);
        selector(one, out);
    }
    for (name, rules) in own {
        encode_bulk(name, out);
        encode_bulk(&rules, out);
    }
}

fn own_fields(user: &User) -> Vec<(&'static [u8], Vec<u8>)> {
    let fields: [(&'static [u8], _); 2] = [
        (b"lethal", user.describe_lethal()),
        (b"scripts", user.describe_scripts()),
    ];
    let some = fields
        .into_iter()
        .filter_map(|(name, rules)| Some((name, rules?)));
    some.collect()
}

/// How many fields [`selector`] writes.
fn fields_of(selector: &Selector) -> usize {
    3 + usize::from(!selector.allows_all_databases())
}

fn selector(selector: &Selector, out: &mut BytesMut) {
    let fields: [(&[u8], Vec<u8>); 3] = [
        (b"commands", selector.describe_commands()),
        (b"keys", selector.describe_keys()),
        (b"channels", selector.describe_channels()),
    ];
    for (name, rules) in fields {
        encode_bulk(name, out);
        encode_bulk(&rules, out);
    }
    if let Some(databases) = selector.describe_databases() {
        encode_bulk(b"databases", out);
        encode_bulk(databases.as_bytes(), out);
    }
}

/// LOG, at the time `now` in milliseconds since 1970.
pub(super) fn log(entries: &[LogEntry], now: u64, protocol: Protocol, out: &mut BytesMut) {
    array(entries.len(), out);
    for entry in entries {
        map(10, protocol, out);
        number(b"count", entry.count, out);
        text(b"reason", entry.reason.as_str().as_bytes(), out);
        text(b"context", entry.context.as_str().as_bytes(), out);
        text(b"object", &entry.object, out);
        text(b"username", &entry.username, out);
        let age = seconds(now.saturating_sub(entry.updated));
        match protocol {
            Protocol::Resp2 => text(b"age-seconds", age.as_bytes(), out),
            Protocol::Resp3 => {
                encode_bulk(b"age-seconds", out);
                out.extend_from_slice(b",");
                out.extend_from_slice(age.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        text(b"client-info", entry.client_info.as_bytes(), out);
        number(b"entry-id", entry.id, out);
        number(b"timestamp-created", entry.created, out);
        number(b"timestamp-last-updated", entry.updated, out);
    }
}

fn number(name: &[u8], value: u64, out: &mut BytesMut) {
    encode_bulk(name, out);
    encode_header(b':', value, out);
}

fn text(name: &[u8], value: &[u8], out: &mut BytesMut) {
    encode_bulk(name, out);
    encode_bulk(value, out);
}

/// As many pairs: a flat array before RESP3.
fn map(pairs: usize, protocol: Protocol, out: &mut BytesMut) {
    match protocol {
        Protocol::Resp2 => array(2 * pairs, out),
        Protocol::Resp3 => encode_header(b'%', pairs as u64, out),
    }
}

fn array(len: usize, out: &mut BytesMut) {
    encode_header(b'*', len as u64, out);
}

fn bulks<'a>(items: impl ExactSizeIterator<Item = &'a str>, out: &mut BytesMut) {
    array(items.len(), out);
    items.for_each(|item| encode_bulk(item.as_bytes(), out));
}
