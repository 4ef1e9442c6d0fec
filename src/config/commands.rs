//! `policy.extra_commands`: commands that the table lacks, declared by hand.

use std::collections::BTreeMap;

use crate::command::{
    Access, Categories, Category, Channels, Command, Flag, Flags, Keys, MAX_NAME_LEN,
};

use super::parse;
use super::section::Section;

/// What `first_key`, `last_key` and `step` may be at most: Redis keeps them in 16 bits.
const MAX: u32 = i16::MAX as u32;

/// The declared commands, containers before their subcommands. Whether the table has them already
/// is for the caller to say.
pub(super) fn extra(mut section: Section<'_>) -> Vec<Command> {
    let names = section.names();
    // In order, a container stands before `container|sub`.
    let mut commands = BTreeMap::new();
    for (entry, name) in section.take_rest().into_iter().zip(names) {
        if !is_full_name(&name) {
            entry.problem("its key is no command's name, nor container|subcommand");
            continue;
        }
        let name = name.to_ascii_lowercase();
        if commands.contains_key(&name) {
            entry.problem("the command is there twice; upper and lower case are one");
            continue;
        }
        if let Some(section) = entry.into_table() {
            commands.insert(name.clone(), declared(name, section));
        }
    }
    commands.into_values().collect()
}

/// One command, as far as it can be understood.
fn declared(name: String, mut section: Section<'_>) -> Command {
    let given = section.names();
    let given = |key: &str| given.iter().any(|name| name == key);
    let unknown = section.choice("keys", &[("unknown", ())]).is_some();
    let first = section.integer("first_key", 0..=MAX, 0);
    let last = section.signed("last_key");
    let step = section.integer("step", 1..=MAX, 1);
    // Whoever leaves it out gets the stricter reading.
    let write = section.boolean("write").unwrap_or(true);
    let arity = section.signed("arity").unwrap_or(-1);
    let categories = section.list("categories");

    let problem = |key: &str, value: &dyn ToString, reason: &str| {
        let report = section.report;
        report.add(section.key(key), value.to_string(), reason);
    };
    if given("keys") && ["first_key", "last_key", "step"].into_iter().any(given) {
        let reason = "contradicts first_key, last_key and step: leave out the one or the others";
        section.missing("keys", reason);
    } else if first == 0 && (given("last_key") || given("step")) {
        let reason = "must be 1 or more where last_key or step are given";
        section.missing("first_key", reason);
    }
    if let Some(last) = last
        && (0..i64::from(first)).contains(&i64::from(last))
    {
        let reason = "is before first_key; what counts from the end is negative";
        problem("last_key", &last, reason);
    }
    if arity == 0 {
        let reason = "must count the name: 1 or more, or negative for at least as many";
        problem("arity", &arity, reason);
    } else if arity > 0 && i64::from(first) >= i64::from(arity) {
        let reason = "has no place for first_key; the name is counted too";
        problem("arity", &arity, reason);
    }

    let (flag, category, access) = match write {
        true => (Flag::Write, Category::Write, Access::READ_WRITE),
        false => (Flag::Readonly, Category::Read, Access::READ),
    };
    let categories = match categories {
        None => Categories::of(&[category, Category::Slow]),
        Some(entries) => {
            let category = |name: &str| {
                Category::parse(name).ok_or_else(|| {
                    "must be one of Redis' ACL categories, without @, such as \"read\"".to_owned()
                })
            };
            let known = entries.iter().filter_map(|entry| entry.parsed(category));
            known.collect()
        }
    };
    let first = u16::try_from(first).unwrap_or_default();
    let last = last.unwrap_or_else(|| i16::try_from(first).unwrap_or(i16::MAX));
    let keys = match unknown {
        true => Keys::Unknown,
        false => Keys::range(first, last, u16::try_from(step).unwrap_or_default(), access),
    };
    section.finish();
    let flags = Flags::of(&[flag]);
    Command::new(name, arity, flags, categories, keys, Channels::None)
}

/// Whether it can stand as the name of a command, or of a subcommand in full.
fn is_full_name(text: &str) -> bool {
    let is_name = |part: &str| parse::is_command(part) && part.len() <= MAX_NAME_LEN;
    match text.split_once('|') {
        None => is_name(text),
        Some((container, own)) => is_name(container) && is_name(own),
    }
}
