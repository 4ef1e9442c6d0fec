//! What a session asks of the proxy. Its refusals go into the audit and the log: who, what, which
//! rule. Never a password, never a value.

use std::net::IpAddr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use crate::command::Class;
use crate::config::AuditDecisions;
use crate::identity::Certificate;
use crate::policy::{Decision, DenyReason, Explanation, LogEntry, User, Whereabouts, explain};
use crate::session::{
    Allowed, ChangeError, Errand, FilesError, Host, Oversight, Refusal, Refused, Revoked, Severity,
    Tally, Throttle, UserChange,
};
use crate::telemetry::{AlternativeNames, CertificateFields, Event, Totals, Verdict};
use crate::tls;

use super::metrics::Meter;
use super::quotas::{Dues, enter_as};
use super::service::Service;
use super::standing::Expulsion;
use super::users;

/// One connection, as the audit names it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) listener: String,
    /// Address and port, or `unix`.
    pub(super) address: String,
    /// Where it has connected to, in the same form.
    pub(super) local: String,
    /// The address that rules and limits mean; `None`: a unix socket.
    pub(super) source: Option<IpAddr>,
    /// The socket's own peer, where a PROXY header named another one as `address`.
    pub(super) proxy: Option<String>,
    /// A PROXY header came first, whomever it named.
    pub(super) is_proxied: bool,
    /// The version of TLS; `None`: plaintext, or not there yet.
    pub(super) tls: Option<&'static str>,
    /// Its address alone.
    pub(super) proxy_source: Option<IpAddr>,
    /// Shared with every connection that shows the same.
    pub(super) certificate: Option<Arc<Certificate>>,
}

/// The proxy, as one session sees it.
#[derive(Debug)]
pub(super) struct SessionHost<'a> {
    pub(super) service: &'a Arc<Service>,
    pub(super) peer: &'a Peer,
    pub(super) session: u64,
    pub(super) opened: Instant,
    /// What it shares with others of its user and its address; `None`: there are no such limits.
    pub(super) dues: Option<Box<Dues>>,
    /// Requests that were refused.
    pub(super) refusals: u64,
    pub(super) meter: &'a mut Meter,
    /// What comes of the LOAD or SAVE that it has begun.
    pub(super) errand: Option<Receiver<Result<(), FilesError>>>,
}

/// Why a session ends that has lived for `max_lifetime`.
pub(super) const LIFETIME: &str = "lifetime";

/// The most of any other word that is written.
const MAX_WORD: usize = 256;

/// The longest name of an unknown command that is written. Longer ones, and those with other bytes
/// than names have, may be anything: a value, a password. Before AUTH even a short one may be: the
/// password of somebody who forgot to write AUTH before it.
const MAX_NAME: usize = 32;

// === impl Peer ===

impl Peer {
    /// Writes that the connection is refused.
    pub(super) fn refuse(&self, service: &Service, reason: &str, detail: &str) {
        if let Some(suppressed) = service.refusals.ask(Instant::now()) {
            // What says nothing is left out.
            let detail = (!detail.is_empty()).then_some(detail);
            tracing::info!(
                listener = self.listener,
                peer = self.address,
                proxy = self.proxy,
                certificate = self.subject(),
                reason,
                detail,
                suppressed,
                "connection refused"
            );
        }
        service.audit.write(&Event {
            verdict: Some(Verdict::Deny),
            generation: Some(service.keeper.rules().generation()),
            detail: Some(detail.to_owned()).filter(|detail| !detail.is_empty()),
            ..self.event("connection_refused", None, reason)
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
            proxy: self.proxy.as_deref(),
            tls: self.tls,
            certificate: self.certificate.as_deref().map(certificate_fields),
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

    /// Writes that the session ends for a limit's sake.
    pub(super) fn closed_by(&self, user: Option<&str>, reason: &str, detail: &str) {
        // Ends that come to every client in their time are routine.
        if reason == LIFETIME {
            tracing::debug!(
                session = self.session,
                user,
                "a session is closed: max_lifetime"
            );
        } else {
            tracing::info!(
                session = self.session,
                peer = self.peer.address,
                user,
                reason,
                detail,
                "a session is closed"
            );
        }
        self.service.audit.write(&Event {
            user,
            detail: Some(detail.to_owned()),
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
        Event {
            generation: Some(self.service.keeper.rules().generation()),
            ..self.peer.event(event, Some(self.session), reason)
        }
    }

    /// Writes that the session begins, or that it has ended, where the audit has such lines.
    pub(super) fn tell_connection(
        &self,
        event: &str,
        user: Option<&str>,
        reason: &str,
        tally: Option<Totals>,
    ) {
        if self.service.audit.settings().connections {
            self.service.audit.write(&Event {
                user,
                tally,
                ..self.event(event, reason)
            });
        }
    }

    fn shown_keys(&self, names: &[Vec<u8>]) -> Vec<String> {
        let shown = |name: &Vec<u8>| self.service.audit.shown_key(name);
        names.iter().map(shown).collect()
    }

    /// Writes of a request what the policy has against it.
    fn write_refused(&self, event: &str, verdict: Verdict, refused: &Refused<'_>) {
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
        let offender = match refused.refusal {
            Refusal::Policy(DenyReason::Key { .. } | DenyReason::Channel { .. }) => {
                offender.map(|key| self.service.audit.shown_key(&key))
            }
            // Whom it would have changed.
            Refusal::Privileged => refused.args.get(2).map(shown_word),
            // A database, or a parameter of the configuration.
            _ => offender.as_deref().map(shown_word),
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
            verdict: Some(verdict),
            generation: Some(rules.generation()),
            user: refused.user,
            tried: refused.tried.map(|name| shown_user(name, refused)),
            command: command.as_deref(),
            database: only(refused.whereabouts),
            databases,
            keys: self.shown_keys(&names),
            refused: offender,
            rule,
            ..self.peer.event(event, Some(self.session), reason)
        });
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        // At worst one attempt was not counted.
        let throttle = self.service.throttle.lock();
        throttle.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for SessionHost<'_> {
    #[inline]
    fn oversight(&self) -> Oversight {
        let audit = &self.service.audit;
        let settings = audit.settings();
        match settings.decisions {
            _ if settings.refuse && !audit.has_room() => Oversight::Suspended,
            AuditDecisions::All => Oversight::Each,
            AuditDecisions::Deny | AuditDecisions::None => Oversight::Refused,
        }
    }

    fn allowed(&mut self, allowed: &Allowed<'_>) {
        let rules = allowed.rules;
        let user = allowed.user.and_then(|name| rules.policy().user(name));
        let told = match (user, allowed.id) {
            (Some(user), Some(id)) if allowed.is_judged => {
                let whereabouts = allowed.whereabouts;
                Some(explain(user, id, &allowed.args, whereabouts, rules.table()))
            }
            _ => None,
        };
        // What the request itself has changed may look otherwise now.
        let is_allowed = |told: &Explanation| matches!(told.decision, Decision::Allow(_));
        let rule = told.as_ref().filter(|told| is_allowed(told));
        let audit = &self.service.audit;
        let event = Event {
            verdict: Some(Verdict::Allow),
            generation: Some(rules.generation()),
            user: allowed.user,
            command: Some(allowed.command),
            database: only(allowed.whereabouts),
            keys: told
                .as_ref()
                .map_or_else(Vec::new, |told| self.shown_keys(&told.names)),
            rule: rule.map(|told| told.rule.clone()),
            ..self.peer.event("allowed", Some(self.session), "")
        };
        // Where nothing is served without its line, room was asked for before.
        match audit.settings().refuse {
            true => audit.insist(&event),
            false => audit.write(&event),
        }
    }

    fn counted(&mut self, tally: &Tally) {
        self.meter.allowed(tally);
    }

    fn acts_as(&mut self, user: Option<&Arc<User>>) {
        let name = user.map(|user| user.name());
        self.meter.acts_as(&self.service.metrics, name);
    }

    fn refused(&mut self, refused: &Refused<'_>) {
        if !matches!(refused.refusal, Refusal::Protocol(_)) {
            self.refusals += 1;
        }
        self.meter
            .denied(class_of(refused), refused.refusal.label());
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
        self.write_refused("refused", Verdict::Deny, refused);
    }

    fn would_refuse(&mut self, refused: &Refused<'_>) {
        self.meter.would_deny(class_of(refused));
        // As a refusal's: the audit has them all.
        tracing::debug!(
            session = self.session,
            peer = self.peer.address,
            user = refused.user,
            command = shown_name(refused),
            reason = refused.refusal.label(),
            "request would be refused: shadow mode forwards it"
        );
        self.write_refused("would_refuse", Verdict::WouldDeny, refused);
    }

    fn may_log_in(&mut self, user: &str) -> bool {
        let source = self.peer.source;
        self.throttle().may_log_in(source, user, Instant::now())
    }

    fn logged_in(&mut self, user: &str, ok: bool) {
        let source = self.peer.source;
        self.throttle().logged_in(source, user, ok, Instant::now());
    }

    fn may_become(&mut self, user: &str) -> bool {
        let rules = self.service.keeper.rules();
        let limits = &rules.settings().quotas;
        enter_as(&mut self.dues, &self.service.quotas, Some(user), limits)
    }

    fn change_users(
        &mut self,
        caller: &str,
        change: &UserChange<'_>,
    ) -> Option<Result<usize, ChangeError>> {
        users::change(self, caller, change)
    }

    fn begin(&mut self, caller: &str, errand: Errand) -> Option<Result<(), FilesError>> {
        users::begin(self, caller, errand)
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

/// The class of what was judged.
fn class_of(refused: &Refused<'_>) -> Class {
    let table = refused.rules.table();
    refused
        .id
        .map_or(Class::Other, |id| table.command(id).class)
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

/// A name of the server's own making: a user, a database, a parameter.
fn shown_word(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(MAX_WORD)]).into_owned()
}

/// Whom a failed AUTH has named. A name that nobody has may be a password in the wrong place.
fn shown_user<'a>(name: &[u8], refused: &Refused<'a>) -> &'a str {
    let user = std::str::from_utf8(name).ok();
    let user = user.and_then(|name| refused.rules.policy().user(name));
    user.map_or("(no such user)", |user| user.name())
}

/// The database, where there is no doubt.
fn only(whereabouts: Whereabouts<'_>) -> Option<u32> {
    match whereabouts {
        Whereabouts::Among([one]) => Some(*one),
        Whereabouts::Among(_) | Whereabouts::Anywhere => None,
    }
}

fn certificate_fields(certificate: &Certificate) -> CertificateFields<'_> {
    CertificateFields {
        subject: &certificate.subject,
        serial: &certificate.serial,
        issuer: &certificate.issuer,
        san: AlternativeNames {
            dns: &certificate.dns,
            uri: &certificate.uri,
            email: &certificate.email,
        },
    }
}
