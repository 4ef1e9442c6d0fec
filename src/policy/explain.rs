//! A decision in words: for `respgate explain` and the audit, never on the hot path.

use std::ops::ControlFlow;

use crate::command::{CommandId, Table, Touch, touches};
use crate::resp::Args;

use super::decide::{Decision, DenyReason, decide};
use super::user::User;

/// A decision and what led to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// The decision itself.
    pub decision: Decision,
    /// The rule that decided, as it stands in the ACL file; `None` where no rule speaks of it.
    pub rule: Option<String>,
    /// The keys and channels that the request names, at most 16 of them.
    pub names: Vec<Vec<u8>>,
    /// The key or channel that was refused.
    pub offender: Option<Vec<u8>>,
}

/// Keys of one request that are told: an MSET may have a million.
const MAX_NAMES: usize = 16;

/// Judges again and says why.
pub fn explain(user: &User, id: CommandId, args: &Args<'_>, table: &Table) -> Explanation {
    let decision = decide(user, id, args, table);
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
    let (rule, offender) = match decision {
        Decision::Deny(denial) => match denial.reason {
            DenyReason::Command => (root.command_rule(id, table).map(str::to_owned), None),
            DenyReason::Key { index } => {
                let offender = args.get(index).unwrap_or_default();
                (
                    closest_key_rule(user, id, args, table, index),
                    Some(offender.to_vec()),
                )
            }
            DenyReason::Channel { index } => (None, args.get(index).map(<[u8]>::to_vec)),
            DenyReason::AllKeys { .. } | DenyReason::Unparsable { .. } | DenyReason::Arity => {
                (None, None)
            }
        },
        Decision::Allow(_) | Decision::Wait => {
            let allowing = user.selectors().iter().find(|one| one.allows_command(id));
            let rule = allowing
                .and_then(|one| one.command_rule(id, table))
                .map(str::to_owned);
            (rule, None)
        }
    };
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
