//! The verdict on one request: its name, the login, the policy, what the upstream can do.

use crate::command::Resolved;
use crate::policy::{Decision, DenyReason, Permit, User, Whereabouts, decide};
use crate::resp::Args;
use crate::rewrite::Entry;

use super::facts::Facts;
use super::kind::Kind;
use super::login::Login;
use super::outcome::Refusal;
use super::place::{Place, Target};
use super::rules::Rules;
use super::scripts::judge_script;

/// What is to be done with one request.
pub(super) enum Verdict<'r> {
    Forward(Permit, Kind, &'r Entry),
    Refuse(Refusal),
    /// The proxy's own to answer.
    Own(Kind),
    /// What has not arrived could change it.
    Wait,
    /// It depends on a reply that is owed.
    Hold,
}

/// Whether a transaction is open, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Multi {
    Closed,
    Open,
    /// The replies that tell it are still owed.
    Pending,
}

/// What a session is in the middle of.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) multi: Multi,
    pub(super) place: &'a Place,
}

/// A verdict, and what the request's name stands for.
pub(super) struct Judged<'r> {
    pub(super) entry: Option<&'r Entry>,
    pub(super) verdict: Verdict<'r>,
}

// === impl Standing ===

impl Standing<'_> {
    /// Whether replies are owed that tell more of where the session is.
    pub(super) fn is_settling(self) -> bool {
        self.multi == Multi::Pending || self.place.is_settling()
    }

    /// Whether the user was refused for being nobody knows where, and that will be known.
    fn may_be_found(self, user: &User) -> bool {
        user.restricts_databases()
            && self.place.whereabouts() == Whereabouts::Anywhere
            && self.is_settling()
    }
}

/// Judges one request, whole or beginning.
#[inline]
pub(super) fn judge<'r>(
    login: &Login,
    args: &Args<'_>,
    standing: Standing<'_>,
    rules: &'r Rules,
    facts: &Facts,
) -> Judged<'r> {
    let entry = args.get(0).and_then(|name| rules.names().find(name));
    let verdict = match entry {
        Some(entry) => judge_known(entry, login, args, standing, rules, facts),
        None if args.present() == 0 => judge_nameless(login),
        None => Verdict::Refuse(unknown(login, args, rules)),
    };
    Judged { entry, verdict }
}

#[inline]
fn judge_known<'r>(
    entry: &'r Entry,
    login: &Login,
    args: &Args<'_>,
    standing: Standing<'_>,
    rules: &'r Rules,
    facts: &Facts,
) -> Verdict<'r> {
    let kind = rules.kinds().get(entry.run());
    match kind {
        Kind::Quit | Kind::Reset => return Verdict::Own(kind),
        // Redis would queue these; nothing of a client's credentials goes upstream.
        Kind::Auth | Kind::Hello => {
            return judge_own(kind, standing.multi);
        }
        _ => {}
    }
    let Some(user) = login.user() else {
        return Verdict::Refuse(Refusal::NotAuthenticated);
    };
    let Some(judged) = entry.judged(args) else {
        return Verdict::Refuse(Refusal::SubstituteForm);
    };
    let id = match entry.resolve(&judged, rules.table()) {
        Resolved::Command(id) => id,
        Resolved::Incomplete => return Verdict::Wait,
        Resolved::UnknownSubcommand(_) | Resolved::UnknownCommand => {
            return Verdict::Refuse(Refusal::UnknownSubcommand);
        }
    };
    let whereabouts = standing.place.whereabouts();
    let permit = match decide(user, id, &judged, whereabouts, rules.table()) {
        Decision::Allow(permit) => permit,
        Decision::Unsettled(_) if standing.is_settling() => return Verdict::Hold,
        Decision::Deny(_) if standing.may_be_found(user) => return Verdict::Hold,
        // Inside MULTI nothing settles where it will run.
        Decision::Deny(denial) | Decision::Unsettled(denial) => {
            // Redis counts the arguments before it asks its ACL.
            let reason = match rules.table().command(id).arity_fits(judged.len()) {
                true => denial.reason,
                false => DenyReason::Arity,
            };
            return Verdict::Refuse(Refusal::Policy(reason));
        }
        Decision::Wait if args.is_whole() => {
            let reason = DenyReason::Unparsable { index: 0 };
            return Verdict::Refuse(Refusal::Policy(reason));
        }
        Decision::Wait => return Verdict::Wait,
    };
    if entry.is_substitute() && !facts.knows(&rules.table().command(entry.run()).name) {
        return Verdict::Refuse(Refusal::SubstituteUnknown);
    }
    match rules.kinds().get(id) {
        Kind::Unsupported => Verdict::Refuse(Refusal::NotBuilt),
        Kind::ClientReply => match args.get(2) {
            Some(mode) if mode.eq_ignore_ascii_case(b"ON") => {
                Verdict::Forward(permit, Kind::Plain, entry)
            }
            None if !args.is_whole() => Verdict::Wait,
            // Any other word: up to 6.2 Redis reads `OFF\0x` as OFF.
            _ => Verdict::Refuse(Refusal::NotBuilt),
        },
        kind @ Kind::Acl => judge_own(kind, standing.multi),
        Kind::Script => judge_script(user, id, &judged, permit, entry, rules, facts),
        Kind::Select(_) => Verdict::Forward(permit, Kind::Select(Target::of(&judged)), entry),
        kind => Verdict::Forward(permit, kind, entry),
    }
}

/// What the proxy answers has no place in a transaction: Redis would queue it.
fn judge_own<'r>(kind: Kind, multi: Multi) -> Verdict<'r> {
    match multi {
        Multi::Closed => Verdict::Own(kind),
        Multi::Open => Verdict::Refuse(Refusal::InMulti),
        Multi::Pending => Verdict::Hold,
    }
}

/// A request so long that not even its name is here: nobody's command, as soon as it is too long
/// for one.
fn judge_nameless<'r>(login: &Login) -> Verdict<'r> {
    if login.user().is_none() {
        return Verdict::Refuse(Refusal::NotAuthenticated);
    }
    Verdict::Refuse(Refusal::UnknownCommand)
}

/// A name that nobody knows, or that is hidden.
#[cold]
fn unknown(login: &Login, args: &Args<'_>, rules: &Rules) -> Refusal {
    // What a browser sends when a page makes it talk to us. Redis has this guard since 3.2.7.
    let http = [&b"post"[..], b"host:"];
    if http
        .iter()
        .any(|verb| args.name().eq_ignore_ascii_case(verb))
    {
        Refusal::Http
    } else if login.user().is_none() {
        Refusal::NotAuthenticated
    } else if rules.names().is_hidden(args.name()) {
        Refusal::HiddenCommand
    } else {
        Refusal::UnknownCommand
    }
}
