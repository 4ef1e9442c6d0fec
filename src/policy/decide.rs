//! The decision on one request: a pure function of user, command and arguments.

use std::ops::ControlFlow;

use crate::command::{
    Access, Channels, Command, CommandId, Keys, Table, Touch, Unreadable, touches,
};
use crate::resp::Args;

use super::selector::Selector;
use super::user::User;

/// What the policy says about one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It may run; the permit is what forwarding asks for.
    Allow(Permit),
    /// It may not.
    Deny(Denial),
    /// Arguments that have not arrived could still change the verdict.
    Wait,
}

/// Proof that the policy allowed a command. Only [`decide`] makes one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permit {
    command: CommandId,
}

/// A refusal by the policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The command that was judged.
    pub command: CommandId,
    /// Why.
    pub reason: DenyReason,
}

/// Why the policy refuses. Closed on purpose: every reason has its text and its label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DenyReason {
    /// The user may not run the command.
    Command,
    /// Argument `index` names a key that the user may not touch like this. The key isn't kept: the
    /// audit reads it from the request.
    Key {
        /// Position of the key.
        index: usize,
    },
    /// Argument `index` names a channel that the user may not use.
    Channel {
        /// Position of the channel.
        index: usize,
    },
    /// The command reaches keys that it doesn't name (SORT … BY), so the user must hold all.
    AllKeys {
        /// Position of the argument that asks for them.
        index: usize,
        /// The option and its command, as Redis' error text names them.
        why: &'static str,
    },
    /// Which keys it touches can't be told.
    Unparsable {
        /// Position of the argument that can't be read.
        index: usize,
    },
    /// Too few or too many arguments to tell the keys; Redis would refuse it for that too.
    Arity,
}

// === impl Permit ===

impl Permit {
    /// The command that was allowed.
    pub fn command(self) -> CommandId {
        self.command
    }
}

// === impl DenyReason ===

impl DenyReason {
    /// The label used in metrics and the audit. Stable: dashboards depend on it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key { .. } => "key",
            Self::Channel { .. } => "channel",
            Self::AllKeys { .. } => "all_keys",
            Self::Unparsable { .. } => "unparsable",
            Self::Arity => "arity",
        }
    }

    /// How far the check came: of several selectors' refusals the farthest is the one to tell
    /// (`acl.c`, `ACLCheckAllUserCommandPerm`).
    fn position(self) -> usize {
        match self {
            Self::Command => 0,
            Self::Arity => 1,
            Self::Key { index }
            | Self::Channel { index }
            | Self::AllKeys { index, .. }
            | Self::Unparsable { index } => index + 1,
        }
    }
}

/// Judges one request of `user`; `id` is what the table resolved its name to. `args` may still be
/// arriving: then a verdict is given only if nothing that follows could change it.
#[inline]
pub fn decide(user: &User, id: CommandId, args: &Args<'_>, table: &Table) -> Decision {
    let mut denied: Option<DenyReason> = None;
    let mut waiting = false;
    for selector in user.selectors() {
        match check(selector, id, args, table) {
            Check::Allow => return Decision::Allow(Permit { command: id }),
            Check::Wait => waiting = true,
            Check::Deny(reason) => {
                if denied.is_none_or(|known| known.position() < reason.position()) {
                    denied = Some(reason);
                }
            }
        }
    }
    if waiting {
        return Decision::Wait;
    }
    Decision::Deny(Denial {
        command: id,
        reason: denied.unwrap_or(DenyReason::Command),
    })
}

enum Check {
    Allow,
    Deny(DenyReason),
    Wait,
}

#[inline]
fn check(selector: &Selector, id: CommandId, args: &Args<'_>, table: &Table) -> Check {
    if !selector.allows_command(id) {
        return Check::Deny(DenyReason::Command);
    }
    let command = table.command(id);
    let keys = selector.allows_all_keys() || matches!(command.keys, Keys::None);
    let channels = selector.allows_all_channels() || command.channels == Channels::None;
    if keys && channels {
        return Check::Allow;
    }
    check_touches(selector, command, args)
}

fn check_touches(selector: &Selector, command: &Command, args: &Args<'_>) -> Check {
    if !command.arity_fits(args.len()) {
        return Check::Deny(DenyReason::Arity);
    }
    let mut found = Check::Allow;
    let mut uncertain = false;
    let ended = touches(command, args, &mut |touch| {
        let reason = match touch {
            Touch::Key {
                name,
                access,
                certain,
                index,
            } => {
                if selector.allows_key(name, access) {
                    return ControlFlow::Continue(());
                }
                // What is to come may take away from the access, never give the key.
                if !certain && selector.allows_key(name, Access::NONE) {
                    uncertain = true;
                    return ControlFlow::Continue(());
                }
                DenyReason::Key { index }
            }
            Touch::Channel {
                name,
                pattern,
                index,
            } => {
                if selector.allows_channel(name, pattern) {
                    return ControlFlow::Continue(());
                }
                DenyReason::Channel { index }
            }
            Touch::AllKeys { index, why } => {
                if selector.allows_any_key() {
                    return ControlFlow::Continue(());
                }
                DenyReason::AllKeys { index, why }
            }
        };
        found = Check::Deny(reason);
        ControlFlow::Break(())
    });
    match (found, ended) {
        (Check::Deny(reason), _) => Check::Deny(reason),
        (_, Err(Unreadable::Unparsable { index })) => Check::Deny(DenyReason::Unparsable { index }),
        (_, Err(Unreadable::Incomplete)) => Check::Wait,
        // A whole request leaves nothing uncertain; if it does, the key is refused.
        (_, Ok(())) if uncertain && args.is_whole() => {
            Check::Deny(DenyReason::Unparsable { index: 0 })
        }
        (_, Ok(())) if uncertain => Check::Wait,
        (found, Ok(())) => found,
    }
}
