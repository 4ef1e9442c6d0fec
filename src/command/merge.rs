//! What several servers teach about the same commands, as one.
//!
//! A policy is compiled against one table, and its users may reach every upstream.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::flags::Flag;
use super::keys::{Channels, KeySpec, Keys};
use super::table::Command;

/// What several servers teach, as one, by name: so containers come before their subcommands, and the
/// order of an answer, which is another each time a server starts, means nothing. Where servers
/// disagree about a command, it is the strictest of all that they say: keys unknown, all flags, every
/// category.
pub fn merge(taught: impl IntoIterator<Item = Vec<Command>>) -> Vec<Command> {
    let mut merged: BTreeMap<_, Command> = BTreeMap::new();
    for command in taught.into_iter().flatten() {
        match merged.entry(command.name.clone()) {
            Entry::Vacant(place) => {
                place.insert(command);
            }
            Entry::Occupied(mut known) if *known.get() != command => {
                let both = strictest(known.get(), &command);
                known.insert(both);
            }
            Entry::Occupied(_) => {}
        }
    }
    merged.into_values().collect()
}

/// A command as strict as either description of it.
fn strictest(one: &Command, other: &Command) -> Command {
    let keys = strictest_keys(&one.keys, &other.keys);
    let channels = match one.channels == other.channels {
        true => one.channels,
        false => Channels::Unknown,
    };
    let arity = match one.arity == other.arity {
        true => one.arity,
        // At least the fewer: with more, Redis itself is to say that they are too many.
        false => -(one.arity.saturating_abs().min(other.arity.saturating_abs())),
    };
    let mut flags: Vec<Flag> = one.flags.iter().chain(other.flags.iter()).collect();
    // The one flag that permits something: a count of keys that says none.
    if !(one.flags.contains(Flag::NoMandatoryKeys) && other.flags.contains(Flag::NoMandatoryKeys)) {
        flags.retain(|flag| *flag != Flag::NoMandatoryKeys);
    }
    let categories = one.categories.iter().chain(other.categories.iter());
    // What follows from these (gate, databases) is told anew.
    Command::new(
        one.name.clone(),
        arity,
        flags.into_iter().collect(),
        categories.collect(),
        keys,
        channels,
    )
    .told()
}

/// Before 7.0 a server doesn't say what is done to a key, so descriptions of one module's command
/// differ in that: then it is both. Keys in different places are in none that is known.
fn strictest_keys(one: &Keys, other: &Keys) -> Keys {
    match (one, other) {
        _ if one == other => one.clone(),
        (Keys::One(a), Keys::One(b)) if (a.begin, a.find) == (b.begin, b.find) => {
            let access = a.access | b.access;
            Keys::One(KeySpec { access, ..*a })
        }
        _ => Keys::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Access, Categories, Category, Databases, Flags, Gate, Need};

    fn command(keys: Keys, flags: &[Flag], categories: &[Category]) -> Command {
        Command {
            learned: true,
            ..Command::new(
                "ft.search",
                -2,
                Flags::of(flags),
                Categories::of(categories),
                keys,
                Channels::None,
            )
        }
    }

    #[test]
    fn what_servers_agree_on_stays() {
        let one = command(Keys::range(1, 1, 1, Access::READ), &[Flag::Readonly], &[]);
        assert_eq!(merge([vec![one.clone()], vec![one.clone()]]), [one]);
        assert!(merge([]).is_empty());
    }

    #[test]
    fn the_order_of_answers_means_nothing() {
        let named = |name: &'static str| Command {
            name: name.into(),
            ..command(Keys::None, &[], &[])
        };
        let all = ["x", "x.a", "x-b", "x|y", "a"].map(named);
        let reversed = all.iter().rev().cloned().collect();
        let merged = merge([reversed]);
        assert_eq!(merge([all.to_vec()]), merged);
        let names: Vec<_> = merged.iter().map(|command| &*command.name).collect();
        assert_eq!(names, ["a", "x", "x-b", "x.a", "x|y"]);
    }

    #[test]
    fn where_they_disagree_the_strictest_holds() {
        let first = Keys::range(1, 1, 1, Access::READ);
        let one = command(
            first.clone(),
            &[Flag::Readonly, Flag::NoMandatoryKeys],
            &[Category::Read],
        );
        let mut other = command(
            Keys::range(2, 2, 1, Access::READ),
            &[Flag::Write],
            &[Category::Slow],
        );
        other.arity = 3;
        let merged = merge([vec![one.clone()], vec![other]]);
        assert_eq!(merged.len(), 1);
        assert_eq!(
            (&merged[0].keys, merged[0].need),
            (&Keys::Unknown, Need::Name)
        );
        assert_eq!(merged[0].arity, -2);
        assert_eq!(merged[0].flags, Flags::of(&[Flag::Readonly, Flag::Write]));
        let both = Categories::of(&[Category::Read, Category::Slow]);
        assert_eq!(merged[0].categories, both);

        let none = command(Keys::None, &[], &[]);
        assert_eq!(merge([vec![none], vec![one]])[0].keys, Keys::Unknown);
    }

    #[test]
    fn same_keys_with_different_access_are_read_and_written() {
        let keys = |access| command(Keys::range(1, -1, 2, access), &[], &[]);
        let merged = merge([vec![keys(Access::READ)], vec![keys(Access::WRITE)]]);
        let expected = Keys::range(1, -1, 2, Access::READ_WRITE);
        assert_eq!(
            (&merged[0].keys, merged[0].need),
            (&expected, Need::LastKey)
        );
    }

    #[test]
    fn channels_that_differ_are_unknown() {
        let one = command(Keys::None, &[], &[]);
        let mut other = one.clone();
        other.channels = Channels::Unknown;
        assert_eq!(
            merge([vec![one], vec![other]])[0].channels,
            Channels::Unknown
        );
    }

    #[test]
    fn what_follows_from_keys_and_categories_is_as_strict_as_they_are() {
        let none = command(Keys::None, &[], &[Category::Slow]);
        let first = Keys::range(1, 1, 1, Access::READ_WRITE);
        let code = command(first, &[Flag::Write], &[Category::Scripting]);
        assert_eq!((none.gate, code.gate), (Gate::None, Gate::Code));
        for both in [[&none, &code], [&code, &none]] {
            let merged = merge(both.map(|one| vec![one.clone()]));
            let merged = &merged[0];
            assert_eq!(merged.gate, Gate::Code);
            assert_eq!(merged.databases, Databases::Current);
            assert!(merged.learned);
        }
    }
}
