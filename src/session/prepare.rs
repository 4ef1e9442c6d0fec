//! From a request to what becomes of it: judged, and its reply ready if it isn't forwarded.

use bytes::BytesMut;

use crate::command::{CommandId, Resolved};
use crate::policy::Permit;
use crate::resp::Args;
use crate::rewrite::Entry;

use super::facts::{Facts, Version};
use super::hello::Hello;
use super::host::{Allowed, Host, Oversight, Refused};
use super::judge::{Verdict, judge};
use super::kind::Kind;
use super::known::{Multi, Standing};
use super::login::Login;
use super::outcome::{Context, Refusal};
use super::own::{Answered, answer_own};
use super::rules::Rules;
use super::shadow::tell_shadow;
use super::slots::Transaction;

/// What one request leads to.
pub(super) enum Action<'r> {
    Forward(Permit, Kind, &'r Entry),
    /// The reply is in the session's scratch.
    Refuse(Refusal),
    /// EXEC is refused, and the transaction is over: so is this one's.
    Abort,
    /// So is this one.
    Answered(Answered, Option<Permit>),
    /// The verdict needs more of the request.
    Wait,
    /// The verdict needs a reply that is owed.
    Hold,
    /// The host is at something that this must not come into.
    NotNow,
}

/// Everything outside the session that a request is taken with.
pub(super) struct Taking<'a, H> {
    pub(super) rules: &'a Rules,
    pub(super) facts: &'a Facts,
    pub(super) host: &'a mut H,
    /// What the host wanted to know when the batch began.
    pub(super) oversight: Oversight,
}

/// Judges a request, and prepares the reply if it isn't forwarded.
#[inline]
pub(super) fn prepare<'r>(
    scratch: &mut BytesMut,
    login: &mut Login,
    standing: Standing<'_>,
    session: u64,
    args: &Args<'_>,
    taking: &mut Taking<'r, impl Host>,
) -> Action<'r> {
    let mut judged = judge(login, args, standing, taking.rules, taking.facts);
    if taking.oversight != Oversight::Refused && !may_be_told(&judged.verdict, standing, taking) {
        judged.verdict = Verdict::Refuse(Refusal::Unaudited);
    }
    let refusal = match judged.verdict {
        Verdict::Forward(permit, kind, entry) => return Action::Forward(permit, kind, entry),
        Verdict::Wait => return Action::Wait,
        Verdict::Hold => return Action::Hold,
        // The proxy's own commands are short. One that is not whole is waited for.
        Verdict::Own(..) if !args.is_whole() => return Action::Wait,
        Verdict::Own(kind, permit) => {
            scratch.clear();
            match answer_own(kind, login, args, session, standing, taking, scratch) {
                Ok(Answered::NotNow) => return Action::NotNow,
                Ok(answered) => {
                    if permit.is_some_and(Permit::is_shadow) {
                        tell_shadow(login, standing, args, taking);
                    } else if taking.oversight == Oversight::Each
                        && let Some(entry) = judged.entry
                    {
                        let is_judged =
                            !matches!(kind, Kind::Auth | Kind::Hello | Kind::Quit | Kind::Reset);
                        tell(login, standing, entry, args, is_judged, taking);
                    }
                    return Action::Answered(answered, permit);
                }
                Err(refusal) => refusal,
            }
        }
        Verdict::Refuse(refusal) => refusal,
    };
    let entry = judged.entry;
    let is_exec = entry.is_some_and(|entry| {
        taking.rules.kinds().get(entry.run()) == Kind::Transaction(Transaction::Exec)
    });
    let aborts = is_exec && taking.facts.version >= EXEC_ABORTS;
    let multi = standing.multi();
    if aborts && multi == Multi::Pending {
        return Action::Hold;
    }
    refuse(scratch, login, standing, refusal, entry, args, taking);
    if aborts {
        say_abort(scratch);
    }
    match multi {
        Multi::Open if aborts => Action::Abort,
        _ => Action::Refuse(refusal),
    }
}

/// From here on an EXEC that is refused ends its transaction. Before, it is an error like any other
/// inside one.
const EXEC_ABORTS: Version = Version::new(6, 0, 0);

/// Turns the text of a refusal into EXEC's own.
fn say_abort(scratch: &mut BytesMut) {
    let text = scratch.split();
    let why = text.strip_prefix(b"-").unwrap_or(&text);
    scratch.extend_from_slice(b"-EXECABORT Transaction discarded because of: ");
    scratch.extend_from_slice(why.strip_prefix(b"ERR ").unwrap_or(why));
}

/// Whether what would be served is told: or else it isn't served. Who only wants to leave may.
///
/// A transaction whose beginning goes to a connection that others use too was granted with its MULTI: it
/// is told and sent to its end. Without its EXEC the others' requests would be queued in it.
#[cold]
fn may_be_told(
    verdict: &Verdict<'_>,
    standing: Standing<'_>,
    taking: &Taking<'_, impl Host>,
) -> bool {
    match verdict {
        _ if standing.routing.is_in_convoy() => true,
        Verdict::Own(Kind::Quit | Kind::Reset, _) => true,
        Verdict::Forward(..) | Verdict::Own(..) => {
            // Where the batch began so, who would be told of this request isn't asked for.
            taking.oversight != Oversight::Suspended
                && taking.host.oversight() != Oversight::Suspended
        }
        Verdict::Refuse(_) | Verdict::Wait | Verdict::Hold => true,
    }
}

/// Tells the host of a request that is served.
#[cold]
pub(super) fn tell(
    login: &Login,
    standing: Standing<'_>,
    entry: &Entry,
    args: &Args<'_>,
    is_judged: bool,
    taking: &mut Taking<'_, impl Host>,
) {
    let Taking { rules, host, .. } = taking;
    let (id, command) = name_of(Some(entry), args, rules);
    host.allowed(&Allowed {
        user: login.user().map(|user| user.name()),
        command: &command,
        id,
        args: entry.judged(args).unwrap_or(*args),
        whereabouts: standing.place().whereabouts(),
        rules,
        is_judged,
    });
}

/// Tells the host, and puts the reply into `scratch`.
pub(super) fn refuse(
    scratch: &mut BytesMut,
    login: &Login,
    standing: Standing<'_>,
    refusal: Refusal,
    entry: Option<&Entry>,
    args: &Args<'_>,
    taking: &mut Taking<'_, impl Host>,
) {
    let Taking {
        rules, facts, host, ..
    } = taking;
    with_refused(
        login,
        standing,
        refusal,
        entry,
        args,
        rules,
        |refused, command| {
            host.refused(refused);
            scratch.clear();
            let context = Context {
                user: refused.user.unwrap_or_default(),
                command,
                args: *args,
                facts,
            };
            refusal.reply(&context, scratch);
        },
    );
}

/// Puts together what the host is told of a refusal; and the command's name, as text.
pub(super) fn with_refused(
    login: &Login,
    standing: Standing<'_>,
    refusal: Refusal,
    entry: Option<&Entry>,
    args: &Args<'_>,
    rules: &Rules,
    tell: impl FnOnce(&Refused<'_>, &str),
) {
    let (id, command) = name_of(entry, args, rules);
    let judged = entry.and_then(|entry| entry.judged(args)).unwrap_or(*args);
    let refused = Refused {
        user: login.user().map(|user| user.name()),
        command: command.as_bytes(),
        id,
        args: judged,
        whereabouts: standing.place().whereabouts(),
        refusal,
        rules,
        in_multi: standing.multi() != Multi::Closed,
        tried: matches!(refusal, Refusal::LoginFailed | Refusal::LoginThrottled)
            .then(|| tried_name(login, args)),
    };
    tell(&refused, &command);
}

/// The name that a failed login tried.
fn tried_name<'a>(login: &'a Login, args: &Args<'a>) -> &'a [u8] {
    let name = if args.name().eq_ignore_ascii_case(b"hello") {
        let login = Hello::parse(args).ok().and_then(|hello| hello.login);
        login.map(|(name, _)| name)
    } else {
        args.get(1).filter(|_| args.len() == 3)
    };
    name.unwrap_or(login.nameless().as_bytes())
}

/// The command that was judged, and its name as the client has it, with the subcommand.
pub(super) fn name_of(
    entry: Option<&Entry>,
    args: &Args<'_>,
    rules: &Rules,
) -> (Option<CommandId>, String) {
    let Some(entry) = entry else {
        return (None, String::from_utf8_lossy(args.name()).into_owned());
    };
    let sub = |args: &Args<'_>| match entry.resolve(args, rules.table()) {
        Resolved::Command(id) => Some(id),
        _ => None,
    };
    let id = entry.judged(args).and_then(|judged| sub(&judged));
    let name = match id.map(|id| rules.table().command(id)) {
        Some(command) if command.parent.is_some() && entry.sent() == entry.run() => {
            format!("{}|{}", entry.visible(), command.own_name())
        }
        _ => entry.visible().to_owned(),
    };
    (id, name)
}
