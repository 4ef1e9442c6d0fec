//! The decision on one request: a pure function of user, command, arguments and database.

use std::ops::ControlFlow;

use crate::command::{
    Access, Channels, Command, CommandId, Databases, Gate, Keys, Table, Touch, Unreadable,
    UnreadableDatabase, touches,
};
use crate::resp::Args;

use super::lethal::{lethal_channel, lethal_parameter};
use super::script::Named;
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
    /// It may run in one of the databases that the client may be in, and not in another.
    Unsettled(Denial),
}

/// Proof that the policy allowed a command, or that shadow mode lets it go on. Only [`decide`] and
/// [`overrule`] make one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permit {
    command: CommandId,
    shadow: bool,
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
    /// The user may not use a database: the one in argument `index`, or for 0 the current one.
    Database {
        /// Position of the database's number.
        index: usize,
    },
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
    /// Which keys or databases it touches can't be told.
    Unparsable {
        /// Position of the argument that can't be read.
        index: usize,
    },
    /// Too few or too many arguments to tell the keys; Redis would refuse it for that too.
    Arity,
    /// A lethal command, or parameter of CONFIG SET, without `lethal=` for it.
    Lethal {
        /// Position of the parameter, or 0 for the command.
        index: usize,
    },
    /// A script that the policy doesn't name, by a user who may not do all that a script may.
    Script,
}

/// The databases that a client may be in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whereabouts<'a> {
    /// One of these; never none.
    Among(&'a [u32]),
    /// Nobody knows.
    Anywhere,
}

// === impl Whereabouts ===

impl Whereabouts<'_> {
    /// Where every connection begins.
    pub const START: Whereabouts<'static> = Whereabouts::Among(&[0]);
}

// === impl Permit ===

impl Permit {
    /// The command that was allowed.
    #[inline]
    pub fn command(self) -> CommandId {
        self.command
    }

    /// Whether the policy denies it, and only shadow mode lets it go on: whoever uses this permit has
    /// to tell.
    #[inline]
    pub fn is_shadow(self) -> bool {
        self.shadow
    }
}

// === impl DenyReason ===

impl DenyReason {
    /// The label used in metrics and the audit. Stable: dashboards depend on it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Database { .. } => "database",
            Self::Command => "command",
            Self::Key { .. } => "key",
            Self::Channel { .. } => "channel",
            Self::AllKeys { .. } => "all_keys",
            Self::Unparsable { .. } => "unparsable",
            Self::Arity => "arity",
            Self::Lethal { .. } => "lethal",
            Self::Script => "script",
        }
    }

    /// Whether shadow mode may let the request go on. What leads from Redis to the machine it never
    /// does: it is switched on by mistake as easily as by intent.
    pub fn yields_to_shadow(self) -> bool {
        match self {
            Self::Database { .. }
            | Self::Command
            | Self::Key { .. }
            | Self::Channel { .. }
            | Self::AllKeys { .. }
            | Self::Unparsable { .. }
            | Self::Arity => true,
            Self::Lethal { .. } | Self::Script => false,
        }
    }

    /// How far the check came: of several selectors' refusals the farthest is the one to tell
    /// (`acl.c`, `ACLCheckAllUserCommandPerm`; a database is the first thing that Valkey looks at).
    fn position(self) -> usize {
        match self {
            Self::Database { .. } => 0,
            Self::Command => 1,
            Self::Arity => 2,
            Self::Key { index }
            | Self::Channel { index }
            | Self::AllKeys { index, .. }
            | Self::Unparsable { index } => index + 3,
            // These are asked of the user, when a selector has allowed the rest.
            Self::Lethal { .. } | Self::Script => usize::MAX,
        }
    }
}

/// Judges one request of `user`; `id` is what the table resolved its name to. `args` may still be
/// arriving: then a verdict is given only if nothing that follows could change it.
#[inline]
pub fn decide(
    user: &User,
    id: CommandId,
    args: &Args<'_>,
    whereabouts: Whereabouts<'_>,
    table: &Table,
) -> Decision {
    if user.restricts_databases() {
        return decide_everywhere(user, id, args, whereabouts, table);
    }
    decide_in(user, id, args, Place::Open, table)
}

/// What shadow mode makes of a request that [`decide`] doesn't allow.
///
/// Its permit says what `+@all ~* &*` would say of it. `lethal=` and `script=` rules are asked as
/// ever, and so are those about ACL, by which a user could end its own trial. A word that a NUL byte
/// hides from some versions of Redis is nobody's mistake: such a request stays refused, as far as it
/// is here.
#[cold]
pub fn overrule(user: &User, id: CommandId, args: &Args<'_>, table: &Table) -> Decision {
    let deny = |reason| {
        Decision::Deny(Denial {
            command: id,
            reason,
        })
    };
    let container = table.command(id).parent.unwrap_or(id);
    if &*table.command(container).name == "acl" {
        return deny(DenyReason::Command);
    }
    if let Some(index) = hidden_word(table.command(id), args) {
        return deny(DenyReason::Unparsable { index });
    }
    match pass_gate(user, id, args, table) {
        Decision::Allow(permit) => Decision::Allow(Permit {
            shadow: true,
            ..permit
        }),
        other => other,
    }
}

/// The place of a word that decides which keys or databases are touched, and has a NUL byte in it.
fn hidden_word(command: &Command, args: &Args<'_>) -> Option<usize> {
    let mut unreadable = [None; 2];
    if let Err(Unreadable::Unparsable { index }) =
        touches(command, args, &mut |_| ControlFlow::Continue(()))
    {
        unreadable[0] = Some(index);
    }
    if let Err(UnreadableDatabase::Unparsable(index)) =
        command.databases.find_named(args, |_| false)
    {
        unreadable[1] = Some(index);
    }
    let is_hidden = |index: &usize| args.get(*index).is_some_and(|word| word.contains(&0));
    unreadable.into_iter().flatten().find(is_hidden)
}

/// One database at a time, for users to whom it matters.
fn decide_everywhere(
    user: &User,
    id: CommandId,
    args: &Args<'_>,
    whereabouts: Whereabouts<'_>,
    table: &Table,
) -> Decision {
    let Whereabouts::Among(databases) = whereabouts else {
        return decide_in(user, id, args, Place::Nowhere, table);
    };
    let mut verdict: Option<Decision> = None;
    for database in databases {
        let here = decide_in(user, id, args, Place::In(*database), table);
        verdict = Some(match (verdict, here) {
            (None, here) => here,
            (Some(Decision::Wait), _) | (_, Decision::Wait) => return Decision::Wait,
            (Some(Decision::Allow(_)), Decision::Deny(denial))
            | (Some(Decision::Deny(denial)), Decision::Allow(_)) => Decision::Unsettled(denial),
            (Some(before), _) => before,
        });
    }
    verdict.unwrap_or_else(|| decide_in(user, id, args, Place::Nowhere, table))
}

/// Where a request is judged.
#[derive(Clone, Copy)]
enum Place {
    /// Nobody asks.
    Open,
    In(u32),
    /// Unknown: only who may use every database may use this one.
    Nowhere,
}

#[inline]
fn decide_in(user: &User, id: CommandId, args: &Args<'_>, place: Place, table: &Table) -> Decision {
    let mut denied: Option<DenyReason> = None;
    let mut waiting = false;
    for selector in user.selectors() {
        match check(selector, id, args, place, table) {
            Check::Allow => return pass_gate(user, id, args, table),
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

/// What a selector allowed may ask for more.
#[inline]
fn pass_gate(user: &User, id: CommandId, args: &Args<'_>, table: &Table) -> Decision {
    let gate = table.command(id).gate;
    if gate == Gate::None {
        return Decision::Allow(Permit {
            command: id,
            shadow: false,
        });
    }
    match check_gate(gate, user, id, args, table) {
        Check::Allow => Decision::Allow(Permit {
            command: id,
            shadow: false,
        }),
        Check::Wait => Decision::Wait,
        Check::Deny(reason) => Decision::Deny(Denial {
            command: id,
            reason,
        }),
    }
}

#[cold]
fn check_gate(gate: Gate, user: &User, id: CommandId, args: &Args<'_>, table: &Table) -> Check {
    let lethal = || user.lethal().allows(id, table);
    let scripts = || user.scripts().allow_any() || user.is_unrestricted();
    match gate {
        Gate::None | Gate::LethalOnLegacy => Check::Allow,
        Gate::Lethal if lethal() => Check::Allow,
        Gate::Lethal => Check::Deny(DenyReason::Lethal { index: 0 }),
        Gate::LethalParameters if lethal() => Check::Allow,
        Gate::LethalParameters => match lethal_parameter(args) {
            Ok(None) => Check::Allow,
            Ok(Some(index)) => Check::Deny(DenyReason::Lethal { index }),
            Err(()) => Check::Wait,
        },
        Gate::LethalChannel => match lethal_channel(args) {
            Ok(None) => Check::Allow,
            Ok(Some(_)) if lethal() => Check::Allow,
            Ok(Some(index)) => Check::Deny(DenyReason::Lethal { index }),
            Err(()) => Check::Wait,
        },
        Gate::Script | Gate::ScriptHash | Gate::ScriptLoad | Gate::Code if scripts() => {
            Check::Allow
        }
        Gate::Script | Gate::ScriptHash | Gate::ScriptLoad | Gate::Code => {
            match user.scripts().named_by(gate, args) {
                Named::Pinned(_) => Check::Allow,
                Named::Unnamed => Check::Deny(DenyReason::Script),
                Named::Incomplete => Check::Wait,
                Named::Missing => Check::Deny(DenyReason::Arity),
            }
        }
    }
}

enum Check {
    Allow,
    Deny(DenyReason),
    Wait,
}

#[inline]
fn check(
    selector: &Selector,
    id: CommandId,
    args: &Args<'_>,
    place: Place,
    table: &Table,
) -> Check {
    let command = table.command(id);
    if !selector.allows_all_databases() {
        match check_databases(selector, command, args, place) {
            Check::Allow => {}
            other => return other,
        }
    }
    if !selector.allows_command(id) {
        match check_first_arg(selector, id, command, args) {
            Check::Allow => {}
            other => return other,
        }
    }
    let keys = selector.allows_all_keys() || matches!(command.keys, Keys::None);
    let channels = selector.allows_all_channels() || command.channels == Channels::None;
    if keys && channels {
        return Check::Allow;
    }
    check_touches(selector, command, args)
}

/// A command that isn't allowed may be so with its first argument.
#[cold]
fn check_first_arg(
    selector: &Selector,
    id: CommandId,
    command: &Command,
    args: &Args<'_>,
) -> Check {
    if command.is_for_everybody() {
        return Check::Allow;
    }
    if !selector.has_first_args(id) {
        return Check::Deny(DenyReason::Command);
    }
    match args.get(1) {
        Some(argument) if selector.allows_first_arg(id, argument) => Check::Allow,
        None if args.len() > 1 => Check::Wait,
        _ => Check::Deny(DenyReason::Command),
    }
}

#[cold]
fn check_databases(selector: &Selector, command: &Command, args: &Args<'_>, place: Place) -> Check {
    let denied = |index| Check::Deny(DenyReason::Database { index });
    let databases = command.databases;
    let here = match place {
        Place::Open => true,
        Place::In(database) => selector.allows_database(database),
        Place::Nowhere => false,
    };
    if databases == Databases::All || (databases.uses_current() && !here) {
        return denied(0);
    }
    match databases.find_named(args, |number| !selector.allows_database(number)) {
        Ok(None) => Check::Allow,
        Ok(Some(index)) => denied(index),
        Err(UnreadableDatabase::Incomplete) => Check::Wait,
        Err(UnreadableDatabase::Unparsable(index)) => Check::Deny(DenyReason::Unparsable { index }),
    }
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
            Touch::AllKeys { index, access, why } => {
                if selector.allows_any_key(access) {
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
