//! What a session would do with a request, without one: for `respgate explain`.

use crate::command::CommandId;
use crate::identity::{AuthKind, Identity, Who};
use crate::policy::Permit;
use crate::resp::Args;

use super::facts::{Facts, Version};
use super::judge::{Verdict, judge, judge_enforced};
use super::kind::Kind;
use super::known::{Known, Standing};
use super::login::{Login, LoginError};
use super::outcome::Refusal;
use super::prepare::name_of;
use super::routing::Routing;
use super::rules::Rules;
use super::slots::Slots;

/// A verdict in the abstract.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foresight {
    /// Why it would be refused; `None`: it would be forwarded, or answered by the proxy itself.
    pub refusal: Option<Refusal>,
    /// Shadow mode lets it go on all the same.
    pub shadow: bool,
    /// The command as the client names it.
    pub command: String,
    /// What is judged, and what Redis would run: another one than the client named where it is
    /// renamed or substituted.
    pub judged: Option<CommandId>,
    /// Whether the proxy answers it itself.
    pub own: Option<Own>,
}

/// What the proxy answers itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Own {
    /// To whom the policy allows it: ACL, CLIENT REPLY.
    Judged,
    /// To everybody: AUTH, HELLO, QUIT, RESET.
    Unjudged,
}

/// Judges a whole request of `user`, in database 0, on an upstream that has every command. (Before
/// 5.0 scripts are judged more strictly: see docs/policy.md.)
///
/// # Errors
/// There is no such user, or it is off.
pub fn foresee(rules: &Rules, user: &str, args: &Args<'_>) -> Result<Foresight, LoginError> {
    let identity = Identity {
        rule: 0,
        who: Who::Fixed(user.into()),
        auth: AuthKind::Certificate,
    };
    let login = Login::new(identity, rules.policy())?;
    let every = rules
        .table()
        .iter()
        .map(|(_, command)| command.name.clone().into_owned().into());
    let facts = Facts {
        // One that has every command is new enough to keep its scripts in bounds.
        version: Version::new(8, 0, 0),
        commands: Some(every.collect()),
        ..Facts::default()
    };
    let routing = Routing::default();
    let standing = Standing {
        routing: &routing,
        slots: &Slots::default(),
        known: &Known::default(),
    };
    let judged = judge(&login, args, standing, rules, &facts);
    let (id, command) = name_of(judged.entry, args, rules);
    let (permit, own) = match judged.verdict {
        Verdict::Forward(permit, ..) => (Some(permit), None),
        Verdict::Own(Kind::Acl | Kind::ClientReply, permit) => (permit, Some(Own::Judged)),
        Verdict::Own(_, permit) => (permit, Some(Own::Unjudged)),
        Verdict::Refuse(_) | Verdict::Wait | Verdict::Hold => (None, None),
    };
    let shadow = permit.is_some_and(Permit::is_shadow);
    let refusal = match judged.verdict {
        _ if shadow => Some(judge_enforced(&login, args, standing, rules, &facts)),
        Verdict::Refuse(refusal) => Some(refusal),
        Verdict::Wait | Verdict::Hold => Some(Refusal::TooLarge),
        Verdict::Forward(..) | Verdict::Own(..) => None,
    };
    Ok(Foresight {
        refusal,
        shadow,
        command,
        judged: id,
        own,
    })
}
