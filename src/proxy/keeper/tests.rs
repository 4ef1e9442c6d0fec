//! Changes of the rules, one after the other.

use super::*;
use crate::policy::Source;
use crate::resp::Limits;
use crate::rewrite::Names;

const USERS: &str = "user cart on +get ~cart:*\nuser ops on +@all ~*\n";

fn parse(rules: Option<&Rules>, users: &str) -> Policy {
    let source = Source {
        path: "users.acl".into(),
        content: users.into(),
    };
    let builtin = crate::command::Table::builtin();
    let table = rules.map_or(&builtin, Rules::table);
    Policy::parse(&[source], table).unwrap().0
}

fn rules(users: &str, rename: &[(&str, &str)]) -> Rules {
    let table = crate::command::Table::builtin();
    let pairs = rename
        .iter()
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
    let names = Names::compile(&table, &pairs.collect::<Vec<_>>(), &[]).unwrap();
    Rules::new(table, names, parse(None, users), Limits::default(), 1024)
}

fn keeper() -> Keeper {
    Keeper::new(rules(USERS, &[]), Settings::default(), Arc::default())
}

/// A whole configuration; settings that differ have another fingerprint.
fn replace(keeper: &Keeper, loaded: Rules, fingerprint: Fingerprint) -> Reloaded {
    let settle = |_: &Settings| Settings {
        fingerprint,
        ..Settings::default()
    };
    keeper.replace(loaded, fingerprint, settle).unwrap()
}

/// A run-time change of some users: all of them from now on, and which of them it touches.
fn set(keeper: &Keeper, users: &str, touched: &[(&str, Change)]) {
    let done: Option<Result<(), ()>> = keeper.change(|rules| {
        Ok(Edit {
            policy: parse(Some(rules), users).reusing(rules.policy()),
            touched: touched
                .iter()
                .map(|(name, change)| ((*name).to_owned(), *change))
                .collect(),
            answer: (),
        })
    });
    done.unwrap().unwrap();
}

fn reload(keeper: &Keeper, users: &str, force: bool) -> Reloaded {
    if !force {
        return replace(keeper, rules(users, &[]), Fingerprint::default());
    }
    let load = |rules: &Rules| Ok::<_, ()>(parse(Some(rules), users));
    keeper.load(load, |_, _, _| Ok(())).unwrap()
}

fn has(keeper: &Keeper, user: &str) -> bool {
    keeper.snapshot().policy().user(user).is_some()
}

#[test]
fn a_change_is_the_next_generation_and_a_failure_is_none() {
    let keeper = keeper();
    let before = keeper.snapshot();
    set(&keeper, "user new on\n", &[("new", Change::Set)]);
    let after = keeper.snapshot();
    assert!(after.generation() > before.generation());
    assert!(has(&keeper, "new"));
    let failed = keeper.change(|_| Err::<Edit<()>, _>("no")).unwrap();
    assert_eq!(failed, Err("no"));
    assert_eq!(keeper.snapshot().generation(), after.generation());
}

#[test]
fn run_time_changes_survive_a_reload_of_unchanged_files() {
    let keeper = keeper();
    set(
        &keeper,
        "user new on\n",
        &[("new", Change::Set), ("ops", Change::Deleted)],
    );
    let before = keeper.snapshot().generation();
    let reloaded = reload(&keeper, USERS, false);
    assert!(reloaded.unchanged);
    assert_eq!(keeper.snapshot().generation(), before);
    assert!(has(&keeper, "new"));
    assert_eq!(keeper.unsaved().len(), 2);
}

#[test]
fn changed_files_and_force_drop_run_time_changes_and_name_them() {
    let changed = format!("{USERS}user more on\n");
    for (files, force) in [(&*changed, false), (USERS, true)] {
        let keeper = keeper();
        let now = "user cart on +get ~cart:*\nuser new on\nuser more on\n";
        let touched = ["new", "more"].map(|name| (name, Change::Set));
        set(&keeper, now, &touched);
        set(&keeper, now, &[("ops", Change::Deleted)]);
        let reloaded = reload(&keeper, files, force);
        assert!(!reloaded.unchanged);
        // The files that know "more" say of it what was set at run time: nothing is lost.
        let dropped = if force {
            &["more", "new", "ops"][..]
        } else {
            &["new", "ops"]
        };
        assert_eq!(reloaded.dropped, dropped);
        assert!(has(&keeper, "ops") && !has(&keeper, "new"));
        assert!(keeper.unsaved().is_empty());
        assert!(reload(&keeper, files, false).unchanged);
    }
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let keeper = keeper();
    set(&keeper, "user new on\n", &[("new", Change::Set)]);
    let before = keeper.snapshot().generation();
    let failed = keeper.load(|_| Err("line 1"), |_, _, _| Ok(()));
    assert_eq!(failed, Err("line 1"));
    assert_eq!(keeper.snapshot().generation(), before);
    assert_eq!(keeper.unsaved().len(), 1);
}

#[test]
fn users_whose_line_did_not_change_are_the_same_values() {
    let keeper = keeper();
    let before = keeper.snapshot();
    reload(
        &keeper,
        "user ops on +@all ~*\nuser cart on +set ~cart:*\n",
        false,
    );
    let after = keeper.snapshot();
    let same = |name| {
        let user = |rules: &Rules| Arc::clone(rules.policy().user(name).unwrap());
        Arc::ptr_eq(&user(&before), &user(&after))
    };
    assert!(same("ops"));
    assert!(!same("cart"));
}

#[test]
fn other_settings_keep_run_time_changes_and_users_as_they_are() {
    let keeper = keeper();
    set(
        &keeper,
        "user cart off\n",
        &[("cart", Change::Set), ("ops", Change::Deleted)],
    );
    let before = keeper.snapshot();
    let reloaded = replace(&keeper, rules(USERS, &[]), [1; 32]);
    assert_eq!(reloaded, Reloaded::default());
    let after = keeper.snapshot();
    assert_eq!(after.generation(), before.generation() + 1);
    assert!(!Arc::ptr_eq(before.settings(), after.settings()));
    let cart = |rules: &Rules| Arc::clone(rules.policy().user("cart").unwrap());
    assert!(
        Arc::ptr_eq(&cart(&before), &cart(&after)),
        "nobody need notice"
    );
    assert!(!has(&keeper, "ops"));
    assert_eq!(keeper.unsaved().len(), 2);
    // Other users are another matter, and the settings stay the same value.
    let reloaded = replace(&keeper, rules("user cart on\n", &[]), [1; 32]);
    assert_eq!(reloaded.dropped, ["cart"]);
    assert!(Arc::ptr_eq(after.settings(), keeper.snapshot().settings()));
}

#[test]
fn other_names_make_every_user_another_value_that_says_the_same() {
    let keeper = keeper();
    set(
        &keeper,
        "user cart off +get ~cart:*\n",
        &[("cart", Change::Set)],
    );
    let before = keeper.snapshot();
    replace(&keeper, rules(USERS, &[("get", "fetch")]), [1; 32]);
    let after = keeper.snapshot();
    assert!(after.names().find(b"fetch").is_some() && before.names().find(b"fetch").is_none());
    let (old, new) = (before.policy().user("cart"), after.policy().user("cart"));
    let (old, new) = (old.unwrap(), new.unwrap());
    assert!(!Arc::ptr_eq(old, new) && new.became_of(old) && !new.is_enabled());
    assert_eq!(keeper.unsaved().len(), 1);
}

#[test]
fn what_was_learned_stays_known() {
    use crate::command::{Access, Categories, Channels, Command, Flags, Keys};
    let keeper = keeper();
    let keys = Keys::range(1, 1, 1, Access::READ);
    let mut command = Command::new(
        "x.get",
        -1,
        Flags::default(),
        Categories::default(),
        keys,
        Channels::None,
    );
    command.learned = true;
    assert!(keeper.learn(&[command]).unwrap());
    replace(&keeper, rules(USERS, &[]), [1; 32]);
    assert!(keeper.snapshot().table().find(b"x.get").is_some());
}

#[test]
fn what_is_saved_is_not_lost_any_more() {
    let keeper = keeper();
    let now = "user new on\n";
    set(&keeper, now, &[("new", Change::Set)]);
    assert_eq!(
        keeper.save(|_, _| Err::<Policy, _>("disk full")),
        Err("disk full")
    );
    assert_eq!(keeper.unsaved().len(), 1);
    let saved: Result<(), ()> = keeper.save(|rules, unsaved| {
        assert!(rules.policy().user("new").is_some());
        assert_eq!(unsaved.get("new"), Some(&Change::Set));
        Ok(parse(Some(rules), now))
    });
    saved.unwrap();
    assert!(keeper.unsaved().is_empty());
    assert!(reload(&keeper, now, false).unchanged);
}

#[test]
fn a_change_that_panics_leaves_the_keeper_usable() {
    let keeper = Arc::new(keeper());
    let panicking = Arc::clone(&keeper);
    let thread = std::thread::spawn(move || {
        let _ = panicking.change(|_| -> Result<Edit<()>, ()> { panic!("a test's") });
    });
    assert!(thread.join().is_err());
    set(&keeper, "user new on\n", &[("new", Change::Set)]);
    assert!(has(&keeper, "new"));
}

#[test]
fn who_loads_or_saves_holds_off_all_other_changes_of_users_but_no_reader() {
    let keeper = keeper();
    assert!(keeper.hold());
    assert!(!keeper.hold(), "one at a time");
    let edit = |_: &Rules| -> Result<Edit<()>, ()> { panic!("nobody may") };
    assert!(keeper.change(edit).is_none());
    let now = "user new on\n";
    let load = |rules: &Rules| {
        // Its lock is free meanwhile: these would wait for ever.
        assert!(keeper.unsaved().is_empty() && keeper.is_held());
        Ok::<_, ()>(parse(Some(rules), now))
    };
    keeper.load(load, |_, _, _| Ok(())).unwrap();
    keeper.release();
    set(&keeper, "user other on\n", &[("other", Change::Set)]);
    assert!(has(&keeper, "other"));
}
