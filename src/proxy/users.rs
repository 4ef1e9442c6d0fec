//! The ACL command family's other half: users changed, loaded and saved, and the log of refusals.
//!
//! Files are read and written by a thread of their own. Only who asks for it waits meanwhile, and whoever
//! else wants to change users.

use std::sync::mpsc::channel;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::policy::{
    AclLog, DenyReason, LogContext, LogEntry, LogReason, LoggedDenial, Whereabouts,
};
use crate::session::{ChangeError, Errand, FilesError, MadeChange, Refusal, Refused, UserChange};
use crate::telemetry::Event;

use super::host::{Peer, SessionHost};
use super::keeper::{Change, Edit};
use super::service::Service;

/// Of a failed load the client is told so many problems; the log has all.
const MAX_PROBLEMS: usize = 50;

/// What Redis puts behind the problems of a failed load.
const NOTHING_LOADED: &str = "WARNING: ACL errors detected, no change to the previously active \
                              ACL rules was performed";

/// Who asks for it, as the log and the audit name him.
struct Caller<'a> {
    service: &'a Service,
    peer: &'a Peer,
    session: u64,
    name: &'a str,
}

/// Held while users are loaded or saved.
struct Turn(Arc<Service>);

// === users ===

/// SETUSER and DELUSER: in force for every session when it returns. `None`: not while somebody loads or
/// saves.
pub(super) fn change(
    host: &SessionHost<'_>,
    caller: &str,
    change: &UserChange<'_>,
) -> Option<Result<usize, ChangeError>> {
    let what = match change {
        UserChange::Set { .. } => Change::Set,
        UserChange::Delete { .. } => Change::Deleted,
    };
    let done = host.service.keeper.change(|rules| {
        let MadeChange { policy, touched } = change.make(caller, rules).map_err(Some)?;
        if touched.is_empty() {
            return Err(None);
        }
        Ok(Edit {
            policy,
            answer: touched.len(),
            touched: touched.into_iter().map(|name| (name, what)).collect(),
        })
    })?;
    Some(match done {
        Ok(count) => {
            let caller = Caller {
                service: host.service,
                peer: host.peer,
                session: host.session,
                name: caller,
            };
            caller.tell("changed", change.describe(), Vec::new());
            Ok(count)
        }
        // Nobody of those names: nothing has changed.
        Err(None) => Ok(0),
        Err(Some(error)) => Err(error),
    })
}

/// LOAD and SAVE, by a thread of their own: a disk may take seconds for each file, and thousands of users
/// take as long. The session is woken when it is done. `None`: somebody else is at it.
pub(super) fn begin(
    host: &mut SessionHost<'_>,
    caller: &str,
    errand: Errand,
) -> Option<Result<(), FilesError>> {
    let service = host.service;
    if !service.keeper.hold() {
        return None;
    }
    let turn = Turn(Arc::clone(service));
    let (sender, receiver) = channel();
    let (peer, session, name) = (host.peer.clone(), host.session, caller.to_owned());
    let work = move || {
        let turn = turn;
        // Gone before the turn is, whatever happens: who is woken by that finds what came of it.
        let sender = sender;
        let caller = Caller {
            service: &turn.0,
            peer: &peer,
            session,
            name: &name,
        };
        // The client may have gone.
        let _ = sender.send(match errand {
            Errand::Load => caller.load(),
            Errand::Save => caller.save(),
        });
    };
    let thread = std::thread::Builder::new().name("acl-files".to_owned());
    Some(match thread.spawn(work) {
        Ok(thread) => {
            host.errand = Some(receiver);
            *service.errand() = Some(thread);
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "users are neither loaded nor saved: no thread");
            Err(FilesError::Failed(format!("no thread: {error}")))
        }
    })
}

// === impl Caller ===

impl Caller<'_> {
    /// LOAD: run-time changes go.
    fn load(&self) -> Result<(), FilesError> {
        match self.service.load_for(self.name) {
            Ok(reloaded) => {
                self.tell("loaded", "LOAD".to_owned(), reloaded.dropped);
                Ok(())
            }
            Err(mut problems) => {
                let more = problems.len().saturating_sub(MAX_PROBLEMS);
                problems.truncate(MAX_PROBLEMS);
                if more > 0 {
                    problems.push(format!("{more} more"));
                }
                problems.push(NOTHING_LOADED.to_owned());
                Err(FilesError::Failed(problems.join(". ")))
            }
        }
    }

    /// SAVE. The reason of a failure is in the log, and nowhere else: it may name files.
    fn save(&self) -> Result<(), FilesError> {
        let done = self.service.save();
        match &done {
            Ok(()) => self.tell("saved", "SAVE".to_owned(), Vec::new()),
            Err(FilesError::NoFile) => {}
            Err(FilesError::Failed(reason)) => tracing::error!(
                session = self.session,
                peer = self.peer.address,
                user = self.name,
                reason,
                "the users are not saved"
            ),
        }
        done
    }

    /// Who did it goes into the log and the audit; a password or a hash never.
    fn tell(&self, reason: &str, what: String, dropped: Vec<String>) {
        tracing::info!(
            session = self.session,
            peer = self.peer.address,
            user = self.name,
            "ACL {what}"
        );
        // Not lost for the lines of others: it says who may do what.
        self.service.audit.insist(&Event {
            generation: Some(self.service.keeper.rules().generation()),
            user: Some(self.name),
            by: Some(self.name),
            dropped,
            detail: Some(what),
            ..self.peer.event("acl_changed", Some(self.session), reason)
        });
    }
}

// === impl Turn ===

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.keeper.release();
    }
}

// === the log ===

/// Notes what Redis would: refusals by the policy, and failed logins.
pub(super) fn note_denial(host: &SessionHost<'_>, refused: &Refused<'_>) {
    let table = refused.rules.table();
    let command = refused.id.map_or("", |id| &*table.command(id).name);
    let argument = |index| refused.args.get(index).unwrap_or_default();
    let database = database(refused.whereabouts);
    let (reason, object) = match refused.refusal {
        Refusal::LoginFailed => (LogReason::Auth, refused.args.name()),
        Refusal::Policy(DenyReason::Key { index }) => (LogReason::Key, argument(index)),
        Refusal::Policy(DenyReason::Channel { index }) => (LogReason::Channel, argument(index)),
        Refusal::Policy(DenyReason::Database { index: 0 }) => {
            (LogReason::Database, database.as_bytes())
        }
        Refusal::Policy(DenyReason::Database { index }) => (LogReason::Database, argument(index)),
        // Redis too complains of these by other means.
        Refusal::Policy(DenyReason::Arity) => return,
        Refusal::Policy(_) | Refusal::Privileged => (LogReason::Command, command.as_bytes()),
        _ => return,
    };
    let user = refused.user.unwrap_or_default();
    let denial = LoggedDenial {
        reason,
        context: if refused.in_multi {
            LogContext::Multi
        } else {
            LogContext::TopLevel
        },
        object,
        username: refused.tried.unwrap_or(user.as_bytes()),
        client_info: &client_info(host, refused, user, command),
    };
    acl_log(host).add(&denial, now());
}

pub(super) fn log(host: &SessionHost<'_>, count: usize) -> (Vec<LogEntry>, u64) {
    (acl_log(host).newest(count).cloned().collect(), now())
}

pub(super) fn reset_log(host: &SessionHost<'_>) {
    acl_log(host).reset();
}

fn acl_log<'a>(host: &SessionHost<'a>) -> MutexGuard<'a, AclLog> {
    let log = host.service.acl_log.lock();
    // At worst an entry is missing.
    log.unwrap_or_else(PoisonError::into_inner)
}

/// The caller as Redis 8 would show it in CLIENT LIST. Client libraries parse this line and insist on
/// its numbers; what the proxy doesn't know is 0 or empty.
fn client_info(host: &SessionHost<'_>, refused: &Refused<'_>, user: &str, command: &str) -> String {
    let database = database(refused.whereabouts);
    let (id, address, local) = (host.session, &host.peer.address, &host.peer.local);
    let age = host.opened.elapsed().as_secs();
    let (flags, multi) = if refused.in_multi {
        ("x", 0)
    } else {
        ("N", -1)
    };
    format!(
        "id={id} addr={address} laddr={local} fd=0 name= age={age} idle=0 flags={flags} db={database} sub=0 \
         psub=0 ssub=0 multi={multi} watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
         obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={command} user={user} redir=-1 resp=2 lib-name= \
         lib-ver= io-thread=0 tot-net-in=0 tot-net-out=0 tot-cmds=0"
    )
}

/// The database that a client is in; -1: it may be one or another.
fn database(whereabouts: Whereabouts<'_>) -> String {
    match whereabouts {
        Whereabouts::Among([one]) => one.to_string(),
        Whereabouts::Among(_) | Whereabouts::Anywhere => "-1".to_owned(),
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
