//! Rules, files and decisions. The exact agreement with Redis is tested beside real servers.

mod additions;
mod decisions;
mod files;
mod users;

use super::*;
use crate::command::{Resolved, Table};
use crate::resp::OwnedArgs;

fn user(rules: &str, table: &Table) -> User {
    let mut user = User::new("u");
    let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    for rule in &super::setuser::merge_selectors(&words).unwrap() {
        user.apply(rule, table)
            .unwrap_or_else(|error| panic!("{}: {error}", rule.escape_ascii()));
    }
    user.compile(table);
    user
}

fn judge(user: &User, command: &str, table: &Table) -> Decision {
    judge_partial(user, command, usize::MAX, table)
}

fn judge_partial(user: &User, command: &str, present: usize, table: &Table) -> Decision {
    let args: OwnedArgs = command.split(' ').collect();
    let args = args.as_partial(present);
    match table.resolve(&args) {
        Resolved::Command(id) => decide(user, id, &args, Whereabouts::START, table),
        other => panic!("{command}: {other:?}"),
    }
}

#[track_caller]
fn allowed(rules: &str, command: &str) {
    let table = Table::builtin();
    let decision = judge(&user(rules, &table), command, &table);
    assert!(
        matches!(decision, Decision::Allow(_)),
        "{rules} on {command}: {decision:?}"
    );
}

#[track_caller]
fn denied(rules: &str, command: &str, reason: DenyReason) {
    let table = Table::builtin();
    match judge(&user(rules, &table), command, &table) {
        Decision::Deny(denial) => assert_eq!(denial.reason, reason, "{rules} on {command}"),
        decision => panic!("{rules} on {command}: {decision:?}"),
    }
}

fn parse(text: &str) -> Result<(Policy, Vec<Problem>), Vec<Problem>> {
    let source = Source {
        path: "users.acl".into(),
        content: text.as_bytes().to_vec(),
    };
    Policy::parse(&[source], &Table::builtin())
}
