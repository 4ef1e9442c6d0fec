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

fn keeper() -> Keeper {
    let table = crate::command::Table::builtin();
    let names = Names::compile(&table, &[], &[]).unwrap();
    let rules = Rules::new(table, names, parse(None, USERS), Limits::default(), 1024);
    Keeper::new(rules, Settings::default(), Arc::default())
}

/// A run-time change of some users: all of them from now on, and which of them it touches.
fn set(keeper: &Keeper, users: &str, touched: &[(&str, Change)]) {
    let done: Result<(), ()> = keeper.change(|rules| {
        Ok(Edit {
            policy: parse(Some(rules), users).reusing(rules.policy()),
            touched: touched
                .iter()
                .map(|(name, change)| ((*name).to_owned(), *change))
                .collect(),
            answer: (),
        })
    });
    done.unwrap();
}

fn reload(keeper: &Keeper, users: &str, force: bool) -> Reloaded {
    let done: Result<_, ()> = keeper.reload(force, |rules| Ok(parse(Some(rules), users)));
    done.unwrap()
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
    let failed: Result<(), &str> = keeper.change(|_| Err::<Edit<()>, _>("no"));
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
    let failed: Result<Reloaded, &str> = keeper.reload(true, |_| Err("line 1"));
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
