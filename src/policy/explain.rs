//! A decision in words: for `respgate explain` and the audit, never on the hot path.

use std::ops::ControlFlow;

use crate::command::{CommandId, Table, Touch, touches};
use crate::resp::Args;

use super::decide::{Decision, DenyReason, Whereabouts, decide};
use super::selector::Selector;
use super::user::User;

/// A decision and what led to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// The decision itself.
    pub decision: Decision,
    /// The rule that decided, as it stands in the ACL file; or that there is none that allows it.
    pub rule: String,
    /// The keys and channels that the request names, at most 16 of them.
    pub names: Vec<Vec<u8>>,
    /// The key or channel that was refused.
    pub offender: Option<Vec<u8>>,
}

/// Keys of one request that are told: an MSET may have a million.
const MAX_NAMES: usize = 16;

/// Judges again and says why.
pub fn explain(
    user: &User,
    id: CommandId,
    args: &Args<'_>,
    whereabouts: Whereabouts<'_>,
    table: &Table,
) -> Explanation {
    let decision = decide(user, id, args, whereabouts, table);
    let mut names = Vec::new();
    // What can't be read has no names to tell; the decision says so itself.
    let _ = touches(table.command(id), args, &mut |touch| {
        if let Touch::Key { name, .. } | Touch::Channel { name, .. } = touch {
            names.push(name.to_vec());
        }
        if names.len() < MAX_NAMES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    let root = &user.selectors()[0];
    let command_rule = |selector: &Selector| selector.command_rule(id, table);
    let (rule, lack, refused) = match decision {
        Decision::Deny(denial) | Decision::Unsettled(denial) => match denial.reason {
            DenyReason::Database { index } => {
                let rule = root.describe_databases();
                (
                    rule,
                    "no db= rule allows it",
                    Some(index).filter(|index| *index > 0),
                )
            }
            DenyReason::Lethal { index } => {
                let name = &table.command(id).name;
                let missing = Some(index).filter(|index| *index > 0);
                (Some(format!("no lethal={name}")), "", missing)
            }
            DenyReason::Script => (None, "no script= rule for it", None),
            DenyReason::Command => (command_rule(root), "no rule allows it", None),
            DenyReason::Key { index } => {
                let rule = closest_key_rule(user, id, args, table, index);
                (rule, "no ~pattern matches", Some(index))
            }
            DenyReason::Channel { index } => (None, "no &pattern matches", Some(index)),
            DenyReason::AllKeys { .. } => (None, "not all keys are allowed", None),
            DenyReason::Unparsable { .. } => {
                let lack = "what it touches can't be told, and not everything is allowed";
                (None, lack, None)
            }
            DenyReason::Arity => (None, "none: the number of arguments is wrong", None),
        },
        Decision::Allow(_) | Decision::Wait => {
            let first = args.get(1).unwrap_or_default();
            let allowing = user
                .selectors()
                .iter()
                .find(|one| one.allows_command(id) || one.allows_first_arg(id, first));
            (allowing.and_then(command_rule), "no rule allows it", None)
        }
    };
    let rule = rule.unwrap_or_else(|| lack.to_owned());
    let offender = refused
        .and_then(|index| args.get(index))
        .map(<[u8]>::to_vec);
    Explanation {
        decision,
        rule,
        names,
        offender,
    }
}

/// A pattern that matches the key and doesn't allow enough (`%R~` for a write).
fn closest_key_rule(
    user: &User,
    id: CommandId,
    args: &Args<'_>,
    table: &Table,
    refused: usize,
) -> Option<String> {
    let mut rule = None;
    let _ = touches(table.command(id), args, &mut |touch| match touch {
        Touch::Key {
            index,
            name,
            access,
            ..
        } if index == refused => {
            rule = user
                .selectors()
                .iter()
                .find_map(|one| one.key_rule(name, access));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    rule
}
