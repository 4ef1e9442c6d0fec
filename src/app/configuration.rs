//! The configuration file as the running proxy reads it again, and what of it needs a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::command::Command;
use crate::config::{Audit, AuditDecisions, Config, Listener};
use crate::proxy::{Configuration, Fingerprint, Loaded, LoadedSettings};
use crate::telemetry::LogLevelHandle;

use super::commands::Teachers;
use super::open_files::fit_connections;
use super::prepare::prepare;
use super::{AppError, Prepared};

/// Where the configuration is, and what it said when the process began.
#[derive(Debug)]
pub(super) struct ConfigurationFile {
    path: PathBuf,
    /// Of the process; it can't change.
    environment: Vec<(String, String)>,
    started: Config,
    log: LogLevelHandle,
    /// The files that the last good one names.
    named: Mutex<Arc<[PathBuf]>>,
}

// === impl ConfigurationFile ===

impl ConfigurationFile {
    pub(super) fn new(
        (started, scripts): (&Config, &[PathBuf]),
        environment: Vec<(String, String)>,
        log: LogLevelHandle,
    ) -> Self {
        Self {
            path: started.path.clone(),
            environment,
            log,
            named: Mutex::new(named(started, scripts)),
            started: started.clone(),
        }
    }

    /// The files and folders that a reload reads.
    pub(super) fn watched(&self) -> Arc<[PathBuf]> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&named)
    }

    fn read(&self, learned: Vec<Command>) -> Result<Loaded, Vec<String>> {
        let variables = self.environment.iter().cloned();
        let mut prepared = prepare(&self.path, variables, Teachers::Running(learned)).map_err(
            |error| match error {
                AppError::Configuration(problems) | AppError::Start(problems) => problems,
            },
        )?;
        let lowered = fit_connections(&mut prepared.listeners, &prepared.upstreams)
            .map_err(|reason| vec![format!("{}: {reason}", self.path.display())])?;
        prepared.warnings.extend(lowered);
        let file = self.path.display();
        let stays = differences(&self.started, &prepared.config);
        let line = |key| format!("{file}: {key} has changed: that needs a restart");
        let stays = stays.iter().map(line).collect();
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) =
            named(&prepared.config, &prepared.scripts);
        self.log.set(prepared.config.log.level);
        let (loaded, _) = split(prepared);
        Ok(Loaded { stays, ..loaded })
    }
}

impl Configuration for Arc<ConfigurationFile> {
    fn load(&self, learned: Vec<Command>) -> Result<Loaded, Vec<String>> {
        self.read(learned)
    }
}

/// A digest of a file; of nothing where it can't be read, which is a problem elsewhere.
pub(super) fn file_digest(path: &Path) -> Fingerprint {
    Sha256::digest(fs::read(path).unwrap_or_default()).into()
}

/// What of a configuration may be swapped, and the rest.
pub(super) fn split(prepared: Prepared) -> (Loaded, Config) {
    let Prepared {
        files,
        config,
        digest,
        rules,
        listeners,
        warnings,
        ..
    } = prepared;
    let mut fingerprint = Sha256::new();
    fingerprint.update(digest);
    for tls in listeners.iter().filter_map(|one| one.tls.as_ref()) {
        fingerprint.update(tls.fingerprint());
    }
    let settings = LoadedSettings {
        identities: config.identities.clone(),
        listeners,
        addresses: config.addresses.clone(),
        write_timeout: config.limits.write_timeout,
        max_reply_buffer: config.limits.max_reply_buffer,
        memory: config.limits.memory,
        quotas: config.limits.quotas.clone(),
        auth: config.limits.auth,
        audit: config.audit.settings,
        fingerprint: fingerprint.finalize().into(),
    };
    let loaded = Loaded {
        rules,
        files: Arc::new(files),
        settings,
        stays: Vec::new(),
        warnings,
    };
    (loaded, config)
}

/// The files and folders that a configuration names, and the file itself; and the scripts that its ACL
/// files name.
fn named(config: &Config, scripts: &[PathBuf]) -> Arc<[PathBuf]> {
    let mut all = vec![config.path.clone()];
    all.extend(config.acl_files.iter().chain(scripts).cloned());
    for tls in config.listeners.iter().filter_map(|one| one.tls.as_ref()) {
        all.extend([tls.cert.clone(), tls.key.clone()]);
        all.extend(tls.client_ca.iter().chain(&tls.crl).cloned());
    }
    for tls in config.upstreams.iter().filter_map(|one| one.tls.as_ref()) {
        all.extend(tls.ca.iter().cloned());
        all.extend(
            tls.identity
                .iter()
                .flat_map(|(cert, key)| [cert.clone(), key.clone()]),
        );
    }
    all.sort();
    all.dedup();
    all.into()
}

/// The keys whose change takes effect at a restart only.
fn differences(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut differ = |key: String, differs: bool| {
        if differs {
            keys.push(key);
        }
    };
    let upstream_of = |config: &Config, listener: &Listener| {
        let upstream = config.upstreams.get(listener.upstream);
        upstream.map(|upstream| upstream.name.clone())
    };
    for listener in &old.listeners {
        let name = &listener.name;
        let Some(now) = new.listeners.iter().find(|one| one.name == *name) else {
            differ(
                format!("listener.{name} (taken out: nobody may use it)"),
                true,
            );
            continue;
        };
        differ(format!("listener.{name}.bind"), listener.bind != now.bind);
        differ(format!("listener.{name}.kind"), listener.kind != now.kind);
        let moved = upstream_of(old, listener) != upstream_of(new, now);
        differ(format!("listener.{name}.upstream"), moved);
    }
    for listener in &new.listeners {
        let known = old.listeners.iter().any(|one| one.name == listener.name);
        differ(format!("listener.{} (it is new)", listener.name), !known);
    }
    for upstream in &old.upstreams {
        let now = new.upstreams.iter().find(|one| one.name == upstream.name);
        let says = |one| format!("{one:?}");
        let same = now.is_some_and(|now| says(now) == says(upstream));
        differ(format!("upstream.{}", upstream.name), !same);
    }
    for upstream in &new.upstreams {
        let known = old.upstreams.iter().any(|one| one.name == upstream.name);
        differ(format!("upstream.{} (it is new)", upstream.name), !known);
    }
    let runtime = |config: &Config| format!("{:?}", config.runtime);
    differ("runtime".to_owned(), runtime(old) != runtime(new));
    let audit = (&old.audit, &new.audit);
    differ("audit.path".to_owned(), audit.0.sink != audit.1.sink);
    // Nobody writes it, and what writes is there from the start or not at all.
    let none = |audit: &Audit| audit.settings.decisions == AuditDecisions::None;
    let begins = none(audit.0) && !none(audit.1);
    differ("audit.decisions".to_owned(), begins);
    differ("log.format".to_owned(), old.log.json != new.log.json);
    keys
}
