//! The commands that the proxy answers itself: AUTH, HELLO, QUIT, RESET, ACL, CLIENT REPLY, and what
//! an old upstream lacks.
//!
//! Nothing of a client's credentials goes upstream.

use bytes::BytesMut;

use crate::resp::Args;

use super::acl::{self, Errand};
use super::hello::{self, Hello, HelloError};
use super::host::Host;
use super::kind::Kind;
use super::known::{Protocol, Standing};
use super::login::Login;
use super::outcome::Refusal;
use super::prepare::Taking;
use super::shim::Name;
use super::silence::Wish;

/// What an answered command leads to.
pub(super) enum Answered {
    /// Who the client is may have changed, and its name for CLIENT LIST.
    LoggedIn { name: Name },
    /// So may it here, but it is the upstream that answers: to HELLO with this version and this name,
    /// which is in the place of the reply. The name, where only the proxy is told.
    Hello(Option<Protocol>, Name),
    /// The client has another name now.
    Named(Name),
    /// CLIENT REPLY.
    Silence(Wish),
    /// Nothing but a reply.
    Told,
    /// The connection ends behind the reply.
    Quit,
    /// Nothing but a reply, and where the rules are `outdated` now, no request is judged by them
    /// any more.
    Acl { outdated: bool },
    /// The host is at it: the reply comes when it is done.
    Begun(Errand),
    /// Nothing has happened: it is asked again when the host has done what it is at.
    NotNow,
    /// Once all is answered, the upstream is changed for a fresh one; then comes the reply.
    Reset,
}

// === impl Answered ===

impl Answered {
    /// Whether the client may be another user behind it.
    pub(super) fn may_change_user(&self) -> bool {
        match self {
            Self::LoggedIn { .. } | Self::Hello(..) | Self::Reset => true,
            Self::Named(_) | Self::Silence(_) | Self::Told | Self::Quit => false,
            Self::Acl { .. } | Self::Begun(_) | Self::NotNow => false,
        }
    }
}

/// Answers into `reply`.
///
/// # Errors
/// The command is refused; nothing has changed.
pub(super) fn answer_own(
    kind: Kind,
    login: &mut Login,
    args: &Args<'_>,
    session: u64,
    standing: Standing<'_>,
    taking: &mut Taking<'_, impl Host>,
    reply: &mut BytesMut,
) -> Result<Answered, Refusal> {
    let facts = taking.facts;
    match kind {
        Kind::Acl => acl::answer(login, args, standing.known.protocol, taking, reply),
        Kind::Auth => {
            let (name, password) = match (args.len(), args.get(1), args.get(2)) {
                (2, Some(password), _) => (None, password),
                (3, Some(name), Some(password)) => (Some(name), password),
                (0 | 1, ..) => return Err(Refusal::OwnArity),
                _ => return Err(Refusal::OwnSyntax),
            };
            if name.is_none() && login.means_open_default(taking.rules.policy()) {
                return Err(Refusal::NoPassword);
            }
            log_in(login, name, password, taking)?;
            reply.extend_from_slice(b"+OK\r\n");
            Ok(Answered::LoggedIn { name: None })
        }
        Kind::Hello => {
            let mut hello = Hello::parse(args).map_err(|error| match error {
                HelloError::Version => Refusal::HelloVersion,
                HelloError::NoProto => Refusal::HelloNoProto,
                HelloError::Option(index) => Refusal::HelloOption { index },
                HelloError::Name => Refusal::HelloName,
            })?;
            // go-redis and lettuce fall back to RESP2 on exactly this text.
            if hello.protocol == Some(Protocol::Resp3) && !facts.has_hello() {
                return Err(Refusal::UnknownCommand);
            }
            if let Some((user, password)) = hello.login {
                log_in(login, Some(user), password, taking)?;
            }
            if login.user().is_none() {
                return Err(Refusal::HelloNotAuthenticated);
            }
            if facts.has_hello() {
                // A connection that others use too has no name of one of them.
                let shares = standing.routing.shares();
                let name = hello.name.take_if(|_| shares);
                hello.encode(reply);
                return Ok(Answered::Hello(hello.protocol, name.map(Into::into)));
            }
            hello::answer(facts, standing.routing.client_id(session), reply);
            Ok(Answered::LoggedIn {
                name: hello.name.map(Into::into),
            })
        }
        Kind::ClientReply => {
            let wish = Wish::parse(args)?;
            wish.answer(reply);
            Ok(Answered::Silence(wish))
        }
        Kind::Shim(shim) => {
            let id = standing.routing.client_id(session);
            let name = standing.routing.name.as_deref();
            let named = shim.answer(args, id, name, standing.known.protocol, reply)?;
            Ok(named.map_or(Answered::Told, Answered::Named))
        }
        Kind::Unanswered => Ok(Answered::Told),
        Kind::Quit => {
            reply.extend_from_slice(b"+OK\r\n");
            Ok(Answered::Quit)
        }
        _ if args.len() == 1 => Ok(Answered::Reset),
        _ => Err(Refusal::OwnArity),
    }
}

/// One attempt, if another is granted.
fn log_in(
    login: &mut Login,
    name: Option<&[u8]>,
    password: &[u8],
    taking: &mut Taking<'_, impl Host>,
) -> Result<(), Refusal> {
    let user = login.meant(name);
    if !taking.host.may_log_in(&user) {
        return Err(Refusal::LoginThrottled);
    }
    let before = login.standing();
    let ok = login.authenticate(name, password, taking.rules.policy());
    taking.host.logged_in(&user, ok);
    if !ok {
        return Err(Refusal::LoginFailed);
    }
    if !taking.host.may_become(&user) {
        login.stand(before);
        return Err(Refusal::UserConnections);
    }
    Ok(())
}
