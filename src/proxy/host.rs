//! What a session asks of the proxy. Its refusals go into the audit and the log: who, what, which
//! rule. Never a password, never a value.

use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use crate::identity::Certificate;
use crate::policy::{LogEntry, Whereabouts, explain};
use crate::session::{
    ChangeError, FilesError, Host, Refusal, Refused, Revoked, Severity, Throttle, UserChange,
};
use crate::telemetry::{Audit, Event, Verdict};
use crate::tls;

use super::service::Service;
use super::standing::Expulsion;
use super::users;

/// One connection, as the audit names it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) listener: String,
    /// Address and port, or `unix`.
    pub(super) address: String,
    /// Where it has connected to, in the same form.
    pub(super) local: String,
    /// The address that rules and limits mean; `None`: a unix socket.
    pub(super) source: Option<IpAddr>,
    /// Shared with every connection that shows the same.
    pub(super) certificate: Option<Arc<Certificate>>,
}

/// The proxy, as one session sees it.
#[derive(Debug)]
pub(super) struct SessionHost<'a> {
    pub(super) service: &'a Service,
    pub(super) peer: &'a Peer,
    pub(super) session: u64,
    pub(super) opened: Instant,
}

/// The most of one key that is written.
const MAX_KEY: usize = 256;

/// The longest name of an unknown command that is written. Longer ones, and those with other bytes
/// than names have, may be anything: a value, a password. Before AUTH even a short one may be: the
/// password of somebody who forgot to write AUTH before it.
const MAX_NAME: usize = 32;

// === impl Peer ===

impl Peer {
    /// Writes that the connection is refused.
    pub(super) fn refuse(&self, audit: &Audit, session: Option<u64>, reason: &str, detail: &str) {
        tracing::info!(
            listener = self.listener,
            peer = self.address,
            certificate = self.subject(),
            reason,
            detail,
            "connection refused"
        );
        audit.write(&Event {
            detail: Some(detail.to_owned()),
            ..self.event("connection_refused", session, reason)
        });
    }

    /// An event of this connection, to be told more of.
    pub(super) fn event<'a>(
        &'a self,
        event: &'a str,
        session: Option<u64>,
        reason: &'a str,
    ) -> Event<'a> {
        Event {
            event,
            session,
            listener: &self.listener,
            peer: &self.address,
            certificate: self.subject(),
            reason,
            ..Event::default()
        }
    }

    /// The subject of its certificate.
    pub(super) fn subject(&self) -> Option<&str> {
        self.certificate
            .as_ref()
            .map(|certificate| &*certificate.subject)
    }
}

// === impl SessionHost ===

impl SessionHost<'_> {
    /// Writes that the session is over for its user's sake.
    pub(super) fn revoked(&self, user: Option<&str>, revoked: Revoked) {
        let reason = revoked.label();
        tracing::info!(
            session = self.session,
            peer = self.peer.address,
            user,
            reason,
            "a session is closed: its user is gone, off, or lost what it listens to"
        );
        self.service.audit.write(&Event {
            user,
            ..self.event("session_closed", reason)
        });
    }

    /// Writes that the session is over for the client's own sake.
    pub(super) fn expelled(&self, user: Option<&str>, expulsion: &Expulsion) {
        let Expulsion { reason, detail } = expulsion;
        tracing::info!(
            session = self.session,
            listener = self.peer.listener,
            peer = self.peer.address,
            certificate = self.peer.subject(),
            user,
            reason,
            detail,
            "a session is closed: its client may not be here any more"
        );
        self.service.audit.write(&Event {
            user,
            detail: Some(detail.clone()),
            ..self.event("session_closed", reason)
        });
    }

    /// Writes that the upstream has answered with NOAUTH, which is our affair and not the client's.
    pub(super) fn credential_refused(&self) {
        tracing::warn!(
            session = self.session,
            listener = self.peer.listener,
            "closed: the upstream asks for our AUTH in the middle of a session"
        );
    }

    /// An event of this session, to be told more of.
    pub(super) fn event<'a>(&'a self, event: &'a str, reason: &'a str) -> Event<'a> {
        self.peer.event(event, Some(self.session), reason)
    }

    /// Writes of a request what the policy has against it.
    fn write_refused(&self, event: &str, verdict: Option<Verdict>, refused: &Refused<'_>) {
        let rules = refused.rules;
        let user = refused.user.and_then(|name| rules.policy().user(name));
        let explanation = match (user, refused.id) {
            (Some(user), Some(id)) => {
                let table = rules.table();
                let whereabouts = refused.whereabouts;
                Some(explain(user, id, &refused.args, whereabouts, table))
            }
            _ => None,
        };
        // Where something else than the policy refused, no rule of it did.
        let by_policy = matches!(refused.refusal, Refusal::Policy(_));
        let (rule, names, offender) = explanation.map_or_else(Default::default, |told| {
            (by_policy.then_some(told.rule), told.names, told.offender)
        });
        // Whom it would have changed.
        let offender = match refused.refusal {
            Refusal::Privileged => refused.args.get(2).map(<[u8]>::to_vec),
            _ => offender,
        };
        // Where it matters: to users that may use some only.
        let databases = match refused.whereabouts {
            Whereabouts::Among(databases)
                if user.is_some_and(|user| user.restricts_databases()) =>
            {
                databases
            }
            _ => &[],
        };
        let command = shown_name(refused);
        let reason = refused.refusal.label();
        self.service.audit.write(&Event {
            verdict,
            user: refused.user,
            command: command.as_deref(),
            databases,
            keys: names.iter().map(|name| shown_key(name)).collect(),
            refused: offender.map(|name| shown_key(&name)),
            rule,
            ..self.event(event, reason)
        });
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        // At worst one attempt was not counted.
        let throttle = self.service.throttle.lock();
        throttle.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for SessionHost<'_> {
    fn refused(&mut self, refused: &Refused<'_>) {
        users::note_denial(self, refused);
        let command = shown_name(refused);
        let reason = refused.refusal.label();
        match refused.refusal.severity() {
            Severity::Info => tracing::info!(
                session = self.session,
                peer = self.peer.address,
                user = refused.user,
                command,
                reason,
                "request refused"
            ),
            Severity::Debug => tracing::debug!(
                session = self.session,
                peer = self.peer.address,
                user = refused.user,
                command,
                reason,
                "request refused"
            ),
        }
        self.write_refused("refused", None, refused);
    }

    fn would_refuse(&mut self, refused: &Refused<'_>) {
        // As a refusal's: the audit has them all.
        tracing::debug!(
            session = self.session,
            peer = self.peer.address,
            user = refused.user,
            command = shown_name(refused),
            reason = refused.refusal.label(),
            "request would be refused: shadow mode forwards it"
        );
        self.write_refused("would_refuse", Some(Verdict::WouldDeny), refused);
    }

    fn may_log_in(&mut self, user: &str) -> bool {
        let source = self.peer.source;
        self.throttle().may_log_in(source, user, Instant::now())
    }

    fn logged_in(&mut self, user: &str, ok: bool) {
        let source = self.peer.source;
        self.throttle().logged_in(source, user, ok, Instant::now());
    }

    fn change_users(
        &mut self,
        caller: &str,
        change: &UserChange<'_>,
    ) -> Result<usize, ChangeError> {
        users::change(self, caller, change)
    }

    fn reload_users(&mut self, caller: &str) -> Result<(), FilesError> {
        users::reload(self, caller)
    }

    fn save_users(&mut self, caller: &str) -> Result<(), FilesError> {
        users::save(self, caller)
    }

    fn acl_log(&mut self, count: usize) -> (Vec<LogEntry>, u64) {
        users::log(self, count)
    }

    fn reset_acl_log(&mut self) {
        users::reset_log(self);
    }

    fn random(&mut self, bytes: &mut [u8]) -> bool {
        tls::random(bytes)
    }
}

fn shown_name(refused: &Refused<'_>) -> Option<String> {
    let name = refused.command;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:|-".contains(byte);
    if name.is_empty() {
        None
    } else if refused.id.is_some()
        || (refused.user.is_some() && name.len() <= MAX_NAME && name.iter().all(is_name))
    {
        Some(String::from_utf8_lossy(name).into_owned())
    } else {
        Some("(not a command name)".to_owned())
    }
}

fn shown_key(key: &[u8]) -> String {
    String::from_utf8_lossy(&key[..key.len().min(MAX_KEY)]).into_owned()
}
