//! Everything read anew, while sessions go on: the whole configuration, or the ACL files alone.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use crate::command::Command;
use crate::config;
use crate::identity;
use crate::policy::{Policy, Source};
use crate::session::Rules;
use crate::telemetry::Event;
use crate::tls::UpstreamTls;

use super::generation::Fingerprint;
use super::keeper::Reloaded;
use super::save::Replacement;
use super::service::{ListenerParts, Service};
use super::settle::settle;

/// Where a configuration comes from.
pub trait Configuration: Debug + Send + Sync {
    /// Reads it with all that it names, and checks it as at start. `learned`: what the upstreams have
    /// taught. Reads files, and may ask the upstreams.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    fn load(&self, learned: Vec<Command>) -> Result<Loaded, Vec<String>>;

    /// What was loaded last is in force now: the next one is told from it. Until then nothing that was
    /// read has an effect.
    fn in_force(&self);
}

/// A configuration that may be put in force.
#[derive(Debug)]
pub struct Loaded {
    /// What requests are judged by.
    pub rules: Rules,
    /// Where its users came from.
    pub files: Arc<dyn PolicyFiles>,
    /// The rest.
    pub settings: LoadedSettings,
    /// The parts of it that don't say what they said at the last load, by their keys.
    pub changed: Vec<String>,
    /// What of it has changed and takes effect at a restart only, a line each.
    pub stays: Vec<String>,
    /// What is no reason not to, and should be looked at.
    pub warnings: Vec<String>,
}

/// The part of it that isn't rules.
#[derive(Debug)]
pub struct LoadedSettings {
    /// Who is who.
    pub identities: Vec<identity::Rule>,
    /// As configured, with their TLS loaded.
    pub listeners: Vec<ListenerParts>,
    /// The TLS of upstreams that are spoken to as at the start, by name: its files may have changed.
    pub upstream_tls: Vec<(String, Arc<UpstreamTls>)>,
    /// Where replies say that a Redis is, and where the proxy before it is.
    pub addresses: Vec<(config::Address, config::Address)>,
    /// A client that takes nothing for so long is cut.
    pub write_timeout: Duration,
    /// What a client may leave unread where it shares connections, bytes.
    pub max_reply_buffer: usize,
    /// What all clients together may make us hold, bytes.
    pub memory: usize,
    /// What each user and each address may have.
    pub quotas: config::Quotas,
    /// How often passwords may be wrong.
    pub auth: config::AuthLimits,
    /// What the audit says.
    pub audit: config::AuditSettings,
    /// Of all that it was made of, but the ACL files.
    pub fingerprint: Fingerprint,
}

/// Who wants a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// A file has changed.
    File,
    /// The same, and it has failed before: nobody is told the same problems once more.
    Again,
    /// `POST /reload`.
    Admin,
}

/// Where the users come from.
pub trait PolicyFiles: Debug + Send + Sync {
    /// Reads all of it, as far as it can be read.
    fn read(&self) -> PolicyText;

    /// Compiles it, and checks that it fits the rest of the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn compile(&self, text: PolicyText, rules: &Rules) -> Result<Compiled, Vec<String>>;

    /// Replaces the content of these files, each at once: all of them, or none.
    ///
    /// # Errors
    /// Why it can't be done: [`super::CHANGED_FILES`] is one of the reasons.
    fn write(&self, files: &[Replacement]) -> Result<(), String>;
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct PolicyText {
    /// In order.
    pub sources: Vec<Source>,
    /// The scripts that they name, by path; or why one can't be used.
    pub scripts: HashMap<PathBuf, Result<Vec<u8>, String>>,
    /// What can't be read, and why.
    pub unreadable: Vec<String>,
}

/// A policy that may be put in force.
#[derive(Debug)]
pub struct Compiled {
    /// The users.
    pub policy: Policy,
    /// What is no reason not to, and should be looked at.
    pub warnings: Vec<String>,
}

/// A configuration that was read, or all that is wrong with it.
struct Reading<'a> {
    read: Result<Loaded, Vec<String>>,
    /// Held so that nobody else changes meanwhile what was loaded.
    files: MutexGuard<'a, Arc<dyn PolicyFiles>>,
}

/// An operator who loads or saves is not so fast; then he waits.
const READINGS: usize = 3;

// === impl Cause ===

impl Cause {
    /// The label used in the log, the audit and the status. Stable.
    pub fn label(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::File | Self::Again => "file",
            Self::Admin => "admin",
        }
    }
}

// === impl Service ===

impl Service {
    /// Reads the whole configuration anew and puts it in force whole, as one generation, or not at all.
    /// Reads files, so it may take its time; sessions go on meanwhile.
    ///
    /// Where everything says what it said before, nothing happens. Where the ACL files do, run-time
    /// changes of users stay. What was done is logged and audited here.
    ///
    /// # Errors
    /// Everything that is wrong; then the old generation stays in force.
    pub fn reload(&self, cause: Cause) -> Result<Reloaded, Vec<String>> {
        // One at a time, from the first file to the swap: who has read last must be in force last.
        let turn = self.reloading.lock();
        let mut last_problems = turn.unwrap_or_else(PoisonError::into_inner);
        let Reading { read, mut files } = self.read_configuration();
        let mut warnings = Vec::new();
        let done = read.and_then(|loaded| {
            let Loaded {
                rules, settings, ..
            } = loaded;
            warnings = loaded.warnings;
            // Told each time: it is in force still not.
            for line in &loaded.stays {
                tracing::warn!("reload: {line}");
            }
            let (fingerprint, audit) = (settings.fingerprint, settings.audit);
            let (memory, auth) = (settings.memory, settings.auth);
            let upstream_tls = settings.upstream_tls.clone();
            let limits: Vec<_> = settings.listeners.iter().map(connection_limits).collect();
            let before = self.keeper.snapshot();
            let replaced = self.keeper.replace(rules, fingerprint, |before| {
                settle(settings, Some(before), &self.listeners, &self.upstreams)
            });
            let reloaded = replaced.map_err(|error| {
                vec![format!(
                    "what the upstreams have taught doesn't fit it: {error}"
                )]
            })?;
            let reloaded = Reloaded {
                changed: loaded.changed,
                stays: loaded.stays,
                ..reloaded
            };
            for (name, tls) in upstream_tls {
                let upstream = self.upstreams.iter().find(|one| one.name() == name);
                if let Some(upstream) = upstream {
                    upstream.connector.renew(tls);
                }
            }
            *files = loaded.files;
            self.configuration.in_force();
            if before.lacks_later(&self.keeper.snapshot()) {
                // What was declared no more may be learned: it wasn't, because it was declared.
                let upstreams = self.upstreams.iter();
                upstreams.for_each(|upstream| upstream.availability.outgrow());
            }
            self.budget.set(memory);
            let throttle = self.throttle.lock();
            let mut throttle = throttle.unwrap_or_else(PoisonError::into_inner);
            throttle.set(auth.attempts, auth.interval);
            drop(throttle);
            // Where there is none to write it, the configuration has said that it needs a restart.
            self.audit.set(audit);
            for (name, most, per_address, handshakes) in limits {
                let listening = self.listeners.iter().find(|one| one.name == name);
                if let Some(listening) = listening {
                    listening.connections.set(most);
                    listening.per_address.set(per_address);
                    listening.handshakes.set(handshakes);
                }
            }
            Ok(reloaded)
        });
        drop(files);
        let by = (cause.label(), cause.label());
        match &done {
            Ok(reloaded) => self.tell_reloaded(by, reloaded, &warnings),
            Err(problems) if cause == Cause::Again && *problems == *last_problems => {
                tracing::debug!("reload: it fails for the same reasons still");
            }
            Err(problems) => self.tell_failed(by, problems),
        }
        *last_problems = done.as_ref().err().cloned().unwrap_or_default();
        done
    }

    /// Reads it, and holds what ACL LOAD and SAVE need. Those don't wait for the reading, which may ask
    /// an upstream that hangs: they would hold up their worker. What they have done meanwhile is newer
    /// than what was read here, so it is read again.
    fn read_configuration(&self) -> Reading<'_> {
        let lock = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..READINGS {
            let before = self.keeper.content_hash();
            let learned = self.keeper.rules().learned();
            let read = self.configuration.load(learned);
            let files = lock();
            if self.keeper.content_hash() == before {
                return Reading { read, files };
            }
        }
        let files = lock();
        let read = self.configuration.load(self.keeper.rules().learned());
        Reading { read, files }
    }

    /// ACL LOAD of the user `caller`: the ACL files alone, and run-time changes go. What was done at run
    /// time to who holds privileges is undone only by who may do it.
    ///
    /// # Errors
    /// Everything that is wrong; then the old users stay.
    pub(super) fn load_for(&self, caller: &str) -> Result<Reloaded, Vec<String>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let text = files.read();
        let mut warnings = Vec::new();
        let load = |rules: &Rules| {
            let compiled = files.compile(text, rules)?;
            warnings = compiled.warnings;
            Ok(compiled.policy)
        };
        let may_drop = |rules: &Rules, next: &Policy, dropped: &[String]| {
            let now = rules.policy();
            let caller = now.user(caller);
            if caller.is_some_and(|caller| caller.may_administer(rules.table())) {
                return Ok(());
            }
            let is_privileged = |name: &&String| {
                let both = [now.user(name), next.user(name)];
                both.into_iter().flatten().any(|user| user.is_privileged())
            };
            match dropped.iter().find(is_privileged) {
                None => Ok(()),
                Some(name) => Err(vec![format!(
                    "the user '{name}' holds lethal= or script= rules and was changed at run time: \
                     loading its file needs lethal=acl"
                )]),
            }
        };
        let done = self.keeper.load(load, may_drop);
        match &done {
            Ok(reloaded) => self.tell_reloaded(("ACL LOAD", caller), reloaded, &warnings),
            Err(problems) => self.tell_failed(("ACL LOAD", caller), problems),
        }
        done
    }

    /// `by`: who did it, as the audit says it.
    fn tell_reloaded(&self, (cause, by): (&str, &str), reloaded: &Reloaded, warnings: &[String]) {
        self.metrics.reloads.succeeded();
        let rules = self.keeper.snapshot();
        let policy = rules.policy().content_hash();
        let generation = rules.generation();
        if reloaded.unchanged {
            tracing::info!(cause, generation, policy, "reload: nothing has changed");
            return;
        }
        for warning in warnings {
            tracing::warn!("reload: {warning}");
        }
        let changed = reloaded.changed.join(", ");
        tracing::info!(
            cause,
            generation,
            policy,
            changed,
            "reload: a new generation is in force"
        );
        for user in &reloaded.dropped {
            tracing::warn!(
                user,
                "reload: a run-time change of this user was not saved, and is lost"
            );
        }
        self.audit.insist(&Event {
            event: "reload",
            generation: Some(generation),
            by: Some(by),
            reason: "reloaded",
            dropped: reloaded.dropped.clone(),
            detail: Some(match changed.is_empty() {
                true => format!("{cause}: generation {generation}, policy {policy}"),
                false => {
                    format!("{cause}: generation {generation}, policy {policy}, changed: {changed}")
                }
            }),
            ..Event::default()
        });
    }

    fn tell_failed(&self, (cause, by): (&str, &str), problems: &[String]) {
        self.metrics.reloads.failed(problems);
        for problem in problems {
            tracing::error!("reload: {problem}");
        }
        tracing::error!(
            cause,
            problems = problems.len(),
            "reload failed: the old generation stays in force"
        );
        self.audit.insist(&Event {
            event: "reload_failed",
            generation: Some(self.keeper.rules().generation()),
            by: Some(by),
            reason: "configuration",
            detail: Some(format!("{cause}: {}", problems.join("\n"))),
            ..Event::default()
        });
    }
}

/// A listener's name, and how many connections it may have: in all, from one address, and both of
/// handshakes.
fn connection_limits(part: &ListenerParts) -> (String, usize, usize, (usize, usize)) {
    let settings = &part.settings;
    let per_address = settings.max_connections_per_ip;
    let handshakes = (settings.max_handshakes, settings.max_handshakes_per_ip);
    let name = settings.name.clone();
    (name, part.max_connections, per_address, handshakes)
}
