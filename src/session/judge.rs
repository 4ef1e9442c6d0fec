//! The verdict on one request: its name, the login, the policy, what the upstream can do.

use crate::command::{Command, CommandId, Resolved};
use crate::policy::{Decision, DenyReason, Permit, Shadow, User, Whereabouts, decide, overrule};
use crate::resp::Args;
use crate::rewrite::Entry;

use super::facts::Facts;
use super::facts::Version;
use super::kind::Kind;
use super::known::{Mode, Multi, Standing};
use super::login::Login;
use super::outcome::Refusal;
use super::place::Target;
use super::pubsub::Listen;
use super::replicate::{judge_replconf, may_sync};
use super::rules::Rules;
use super::scripts::judge_script;

/// What is to be done with one request.
pub(super) enum Verdict<'r> {
    Forward(Permit, Kind, &'r Entry),
    Refuse(Refusal),
    /// The proxy's own to answer; the permit, where the policy was asked.
    Own(Kind, Option<Permit>),
    /// What has not arrived could change it.
    Wait,
    /// It depends on a reply that is owed.
    Hold,
}

/// A verdict, and what the request's name stands for.
pub(super) struct Judged<'r> {
    pub(super) entry: Option<&'r Entry>,
    pub(super) verdict: Verdict<'r>,
}

/// Up to here what MONITOR shows has passwords in it, the proxy's own among them.
const MONITOR_HIDES_PASSWORDS: Version = Version::new(5, 0, 10);

// === impl Standing ===

impl Standing<'_> {
    /// Whether the user was refused for being nobody knows where, and that will be known.
    fn may_be_found(self, user: &User) -> bool {
        user.restricts_databases()
            && self.place().whereabouts() == Whereabouts::Anywhere
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
    let mut judged = Judged {
        entry,
        verdict: match entry {
            Some(entry) => {
                judge_known(entry, login, args, standing, (rules, rules.shadow()), facts)
            }
            None if args.present() == 0 => judge_nameless(login),
            None => Verdict::Refuse(unknown(args, rules)),
        },
    };
    // To a replica nothing can be said, and it has nothing to ask.
    if standing.known.mode == Mode::Replicating
        && matches!(judged.verdict, Verdict::Own(..) | Verdict::Refuse(_))
    {
        judged.verdict = Verdict::Refuse(Refusal::Replicating);
    }
    judged
}

/// Why a request is refused, or would be where it isn't for shadow mode: its verdict is enforced.
#[cold]
pub(super) fn judge_enforced(
    login: &Login,
    args: &Args<'_>,
    standing: Standing<'_>,
    rules: &Rules,
    facts: &Facts,
) -> Refusal {
    let entry = rules.names().find(args.name());
    let enforced = (rules, &Shadow::Nobody);
    let verdict = entry.map(|entry| judge_known(entry, login, args, standing, enforced, facts));
    match verdict {
        Some(Verdict::Refuse(refusal)) => refusal,
        Some(Verdict::Wait | Verdict::Hold) => Refusal::TooLarge,
        Some(Verdict::Forward(..) | Verdict::Own(..)) | None => {
            debug_assert!(false, "shadow mode lets nothing go on that is allowed");
            Refusal::Policy(DenyReason::Command)
        }
    }
}

/// `shadow`: on whom the policy is only tried.
#[inline]
fn judge_known<'r>(
    entry: &'r Entry,
    login: &Login,
    args: &Args<'_>,
    standing: Standing<'_>,
    (rules, shadow): (&'r Rules, &Shadow),
    facts: &Facts,
) -> Verdict<'r> {
    let kind = rules.kinds().get(entry.run());
    match kind {
        Kind::Quit | Kind::Reset => return Verdict::Own(kind, None),
        // Redis would queue these; nothing of a client's credentials goes upstream.
        Kind::Auth | Kind::Hello => return judge_own(kind, None, standing),
        _ => {}
    }
    let Some(user) = login.user() else {
        return Verdict::Refuse(judge_nobody(entry, args, rules, facts));
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
    let whereabouts = standing.place().whereabouts();
    let permit = match decide(user, id, &judged, whereabouts, rules.table()) {
        Decision::Allow(permit) => permit,
        Decision::Unsettled(_) if standing.is_settling() => return Verdict::Hold,
        Decision::Deny(_) if standing.may_be_found(user) => return Verdict::Hold,
        decision => {
            // Inside MULTI nothing settles where it will run.
            let refusal = match decision {
                Decision::Deny(denial) | Decision::Unsettled(denial) => {
                    // Redis counts the arguments before it asks its ACL.
                    let lacking = lacks(entry, id, rules, facts);
                    let reason = match rules.table().command(id).arity_fits(judged.len()) {
                        true => denial.reason,
                        false => DenyReason::Arity,
                    };
                    lacking.unwrap_or(Refusal::Policy(reason))
                }
                _ if args.is_whole() => Refusal::Policy(DenyReason::Unparsable { index: 0 }),
                // Who enforces gives up when this is told again, with no more of the request.
                _ if args.held() < rules.max_inspect() || !shadow.covers(user.name()) => {
                    return Verdict::Wait;
                }
                _ => Refusal::TooLarge,
            };
            match judge_denied(refusal, user, id, &judged, shadow, rules) {
                Ok(permit) => permit,
                Err(verdict) => return verdict,
            }
        }
    };
    if entry.is_substitute() && !facts.knows(&rules.table().command(entry.run()).name) {
        return Verdict::Refuse(Refusal::SubstituteUnknown);
    }
    let command = rules.table().command(id);
    let kind = rules.kinds().get(id);
    if standing.known.mode != Mode::Requests
        && let Some(verdict) = judge_taken_over(kind, command, standing)
    {
        return verdict;
    }
    match kind {
        Kind::Unsupported => Verdict::Refuse(Refusal::NotBuilt),
        Kind::Acl | Kind::ClientReply => judge_own(kind, Some(permit), standing),
        Kind::Shim(shim)
            if !(facts.is_older_than(command.since)
                || shim.is_of_the_client() && standing.routing.shares()) =>
        {
            Verdict::Forward(permit, Kind::Plain, entry)
        }
        // In a transaction the server itself says that it has no such command.
        Kind::Shim(_) if standing.multi() == Multi::Open => {
            Verdict::Forward(permit, Kind::Plain, entry)
        }
        Kind::Shim(_) => judge_own(kind, Some(permit), standing),
        Kind::Script => judge_script(user, id, &judged, permit, entry, rules, facts),
        Kind::Wait if standing.routing.shares() => Verdict::Refuse(Refusal::Shared),
        Kind::Wait => Verdict::Forward(permit, Kind::Blocking, entry),
        Kind::Select(_) => Verdict::Forward(permit, Kind::Select(Target::of(&judged)), entry),
        Kind::Listen(listen) => {
            let listen = Listen::of(listen.to, listen.on, &judged);
            out_of_multi(standing, || {
                Verdict::Forward(permit, Kind::Listen(listen), entry)
            })
        }
        Kind::Monitor
            if facts.version < MONITOR_HIDES_PASSWORDS
                && !user.lethal().allows(id, rules.table()) =>
        {
            Verdict::Refuse(Refusal::Policy(DenyReason::Lethal { index: 0 }))
        }
        Kind::Monitor => out_of_multi(standing, || Verdict::Forward(permit, kind, entry)),
        Kind::Replconf => out_of_multi(standing, || {
            judge_replconf(&judged, standing.known.mode, permit, entry)
        }),
        // Behind its first bytes nothing is taken before the answer: not even its own rest.
        Kind::Sync if !args.is_whole() => Verdict::Wait,
        Kind::Sync => out_of_multi(standing, || match may_sync(user, id) {
            true => Verdict::Forward(permit, kind, entry),
            // Redis asks for no more than the command; but what it sends is every key.
            false => {
                let why = "SYNC";
                let refusal = Refusal::Policy(DenyReason::AllKeys { index: 0, why });
                match judge_denied(refusal, user, id, &judged, shadow, rules) {
                    Ok(permit) => Verdict::Forward(permit, kind, entry),
                    Err(verdict) => verdict,
                }
            }
        }),
        kind => Verdict::Forward(permit, kind, entry),
    }
}

/// What the policy denies: refused, or for shadow mode let go on.
#[cold]
fn judge_denied<'r>(
    refusal: Refusal,
    user: &User,
    id: CommandId,
    judged: &Args<'_>,
    shadow: &Shadow,
    rules: &Rules,
) -> Result<Permit, Verdict<'r>> {
    if !refusal.yields_to_shadow() || !shadow.covers(user.name()) {
        return Err(Verdict::Refuse(refusal));
    }
    match overrule(user, id, judged, rules.table()) {
        Decision::Allow(permit) => Ok(permit),
        // A script, or the parameters of CONFIG SET.
        Decision::Wait if !judged.is_whole() => Err(Verdict::Wait),
        Decision::Wait | Decision::Deny(_) | Decision::Unsettled(_) => {
            Err(Verdict::Refuse(refusal))
        }
    }
}

/// What a replica or a monitor asks for; `None`: it is judged as everybody's is.
#[cold]
fn judge_taken_over<'r>(
    kind: Kind,
    command: &Command,
    standing: Standing<'_>,
) -> Option<Verdict<'r>> {
    match (standing.known.mode, kind) {
        (Mode::Requests, _) | (Mode::Replicating, Kind::Replconf) => None,
        (Mode::Replicating, _) => Some(Verdict::Refuse(Refusal::Replicating)),
        // Redis gives neither of them an answer then.
        (Mode::Monitoring, Kind::Monitor | Kind::Sync) => Some(out_of_multi(standing, || {
            Verdict::Own(Kind::Unanswered, None)
        })),
        // Their replies may look like the lines that come unasked. Since 6.2 Redis too lets no
        // monitor touch a key.
        (Mode::Monitoring, _) => {
            let any_reply = kind == Kind::Script || command.learned || command.since.is_empty();
            any_reply.then_some(Verdict::Refuse(Refusal::Monitoring))
        }
    }
}

/// What the proxy answers has no place in a transaction: Redis would queue it. Nor has it among
/// subscriptions in RESP2, where Redis takes nothing but what belongs to them.
fn judge_own<'r>(kind: Kind, permit: Option<Permit>, standing: Standing<'_>) -> Verdict<'r> {
    out_of_multi(standing, || match () {
        // The protocol of the answer, and whether there is one, depends on it.
        () if standing.slots.turn_pending() => Verdict::Hold,
        // It may go on with another connection, of another protocol.
        () if kind == Kind::Hello && standing.routing.rides() && !standing.slots.is_empty() => {
            Verdict::Hold
        }
        () if standing.is_subscriber() => Verdict::Refuse(Refusal::Subscriber),
        () => Verdict::Own(kind, permit),
    })
}

/// For what has no place in a transaction: its replies would not be one for one.
fn out_of_multi<'r>(standing: Standing<'_>, verdict: impl FnOnce() -> Verdict<'r>) -> Verdict<'r> {
    match standing.multi() {
        Multi::Closed => verdict(),
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

/// What somebody reads who has not logged in: Redis looks for the command and counts its arguments
/// first.
#[cold]
fn judge_nobody(entry: &Entry, args: &Args<'_>, rules: &Rules, facts: &Facts) -> Refusal {
    let judged = entry.judged(args);
    match judged.map(|judged| (entry.resolve(&judged, rules.table()), judged)) {
        Some((Resolved::Command(id), judged)) => {
            let fits = rules.table().command(id).arity_fits(judged.len());
            let arity = Refusal::Policy(DenyReason::Arity);
            lacks(entry, id, rules, facts).unwrap_or(match fits {
                true => Refusal::NotAuthenticated,
                false => arity,
            })
        }
        Some((Resolved::UnknownSubcommand(_), _)) if facts.version >= SUBCOMMANDS_ARE_COMMANDS => {
            Refusal::UnknownSubcommand
        }
        _ => Refusal::NotAuthenticated,
    }
}

/// What the upstream itself says of a command that it doesn't have, before it asks for more.
#[cold]
fn lacks(entry: &Entry, id: CommandId, rules: &Rules, facts: &Facts) -> Option<Refusal> {
    let run = rules.table().command(entry.run());
    let command = rules.table().command(id);
    // ACL is our own, whatever the upstream has.
    if &*run.name == "acl" || entry.replacement().is_some() {
        return None;
    }
    if facts.commands.is_some() && !facts.knows(&run.name) {
        return Some(Refusal::UnknownCommand);
    }
    let old = facts.is_older_than(command.since) && facts.version >= SUBCOMMANDS_ARE_COMMANDS;
    (command.parent.is_some() && old).then_some(Refusal::UnknownSubcommand)
}

/// Before, a container looks at its arguments itself, when it is run.
const SUBCOMMANDS_ARE_COMMANDS: Version = Version::new(7, 0, 0);

/// A name that nobody knows, or that is hidden.
#[cold]
fn unknown(args: &Args<'_>, rules: &Rules) -> Refusal {
    // What a browser sends when a page makes it talk to us. Redis has this guard since 3.2.7.
    let http = [&b"post"[..], b"host:"];
    if http
        .iter()
        .any(|verb| args.name().eq_ignore_ascii_case(verb))
    {
        Refusal::Http
    } else if is_proxy_header(args) {
        Refusal::ProxyHeader
    } else if rules.names().is_hidden(args.name()) {
        Refusal::HiddenCommand
    } else {
        Refusal::UnknownCommand
    }
}

/// A balancer that speaks for others where nobody has asked it to: what follows is of somebody whom we
/// can't judge. This is version 1; version 2 is no request at all.
fn is_proxy_header(args: &Args<'_>) -> bool {
    let families = [&b"TCP4"[..], b"TCP6", b"UNKNOWN"];
    let names_family = |family| families.contains(&family);
    args.name() == b"PROXY" && args.get(1).is_some_and(names_family)
}
