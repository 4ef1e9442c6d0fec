//! The single tables: `[policy]`, `[rewrite]`, `[log]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::command::Command;

use super::commands;
use super::parse;
use super::section::{Entry, Section};
use super::types::{Address, Log, LogLevel, Shadow};

/// `[rewrite]`: pairs of a command, folded to lower case, and what stands for it; sorted.
pub(super) struct Rewrite {
    pub(super) rename: Vec<(String, String)>,
    pub(super) substitute: Vec<(String, String)>,
    pub(super) addresses: Vec<(Address, Address)>,
}

/// `[policy]`.
pub(super) struct Policy {
    /// In the file's order.
    pub(super) acl_files: Vec<PathBuf>,
    pub(super) shadow: Shadow,
    /// Beside the table.
    pub(super) extra_commands: Vec<Command>,
}

/// Reads `[policy]`. Whether there are such users is for who reads the ACL files to say.
pub(super) fn policy(root: &mut Section<'_>) -> Policy {
    let mut section = root.table("policy");
    let base = section.report.base();
    let entries = section.required_list(
        "acl_files",
        "is required: without a user everything is refused",
    );
    let files = entries.iter().filter_map(|entry| {
        entry.parsed(|text| match text {
            "" => Err("must not be empty".to_owned()),
            _ => Ok(base.join(text)),
        })
    });
    let files = files.collect();
    let shadow = shadow(&mut section);
    let extra_commands = commands::extra(section.table("extra_commands"));
    section.finish();
    Policy {
        acl_files: files,
        shadow,
        extra_commands,
    }
}

/// On whom the policy is only tried. Nobody may miss that it is.
fn shadow(section: &mut Section<'_>) -> Shadow {
    const TOLD: &str = "is told in the audit and forwarded all the same";
    let mode = section.choice("mode", &[("enforce", false), ("shadow", true)]);
    let everybody = mode.is_some_and(|(_, shadow)| shadow);
    let entries = section.list("shadow_users").unwrap_or_default();
    let users = entries.iter().filter_map(|entry| {
        entry.parsed(|text| match text {
            "" => Err("must not be empty".to_owned()),
            _ => Ok(text.to_owned()),
        })
    });
    let users: Vec<String> = users.collect();
    if everybody {
        let reason = format!("nothing is enforced: what the policy denies to anybody {TOLD}");
        section
            .report
            .warning(&section.key("mode"), "shadow", &reason);
    } else if !users.is_empty() {
        let reason = format!("what the policy denies to them {TOLD}");
        let key = section.key("shadow_users");
        section.report.warning(&key, &users.join(", "), &reason);
    }
    Shadow { everybody, users }
}

/// Reads `[rewrite]`. Whether such commands exist is for the `rewrite` module to say.
pub(super) fn rewrite(root: &mut Section<'_>) -> Rewrite {
    let mut section = root.table("rewrite");
    let mut targets = BTreeMap::new();
    let rename = by_command(section.table("rename"), |entry, _, target| {
        if !target.is_empty() && !parse::is_command(target) {
            entry.problem("must be a command's name, or \"\" to hide the command");
        }
        // Two names for one command would leave open which one a reply or a rule means.
        let folded = target.to_ascii_lowercase();
        if !target.is_empty()
            && let Some(first) = targets.insert(folded, entry.key.clone())
        {
            entry.problem(format!("{first} has the same target"));
        }
    });
    let substitute = by_command(section.table("substitute"), |entry, name, command| {
        if command.split(' ').any(|word| !is_word(word)) {
            entry.problem("must be a command: words with single spaces between");
        } else if command.eq_ignore_ascii_case(name) {
            entry.problem("replaces the command with itself");
        }
    });
    let addresses = addresses(section.table("addresses"));
    section.finish();
    Rewrite {
        rename,
        substitute,
        addresses,
    }
}

/// `[rewrite.addresses]`, sorted by the left side.
fn addresses(mut table: Section<'_>) -> Vec<(Address, Address)> {
    let names = table.names();
    let mut pairs = BTreeMap::new();
    for (entry, name) in table.take_rest().into_iter().zip(names) {
        let from = parse::address(&name)
            .map_err(|reason| entry.problem(format!("its key {reason}")))
            .ok();
        let to = entry.parsed(parse::address);
        let (Some(mut from), Some(to)) = (from, to) else {
            continue;
        };
        from.host.make_ascii_lowercase();
        if pairs.insert(from, to).is_some() {
            entry.problem("the address is there twice; its spellings are one");
        }
    }
    pairs.into_iter().collect()
}

/// How the log is written, and how much.
pub(super) fn log(root: &mut Section<'_>) -> Log {
    let mut section = root.table("log");
    let json = section.choice("format", &[("text", false), ("json", true)]);
    let choices = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
    let level = section.choice("level", &choices);
    section.finish();
    Log {
        json: json.is_some_and(|(_, json)| json),
        level: level.map_or(LogLevel::Info, |(_, level)| level),
    }
}

/// The pairs of a table whose keys are commands, folded to lower case and sorted; `check` judges
/// each value.
fn by_command(
    mut table: Section<'_>,
    mut check: impl FnMut(&Entry<'_>, &str, &str),
) -> Vec<(String, String)> {
    let names = table.names();
    let mut pairs = BTreeMap::new();
    for (entry, name) in table.take_rest().into_iter().zip(names) {
        let Some(text) = entry.text() else {
            continue;
        };
        if !parse::is_command(&name) {
            entry.problem("its key is no command's name");
        }
        let name = name.to_ascii_lowercase();
        check(&entry, &name, text);
        let text = text.to_owned();
        if pairs.insert(name, text).is_some() {
            entry.problem("the command is there twice; upper and lower case are one");
        }
    }
    pairs.into_iter().collect()
}

/// What can stand as one argument in the file: no blanks, no control bytes.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}
