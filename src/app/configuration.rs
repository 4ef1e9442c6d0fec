//! The configuration file as the running proxy reads it again, and what of it needs a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::command::Command;
use crate::config::{self, Audit, AuditDecisions, AuditSink, Config, Listener, LogLevel};
use crate::proxy::{Configuration, Connector, Fingerprint, Loaded, LoadedSettings, PolicyFiles};
use crate::telemetry::LogLevelHandle;
use crate::tls::SystemRoots;

use super::acl_files::AclFiles;
use super::commands::Teachers;
use super::open_files::fit_connections;
use super::prepare::{Kept, prepare};
use super::watch::Look;
use super::{AppError, Prepared};

/// Where the configuration is, and what it said when the process began.
#[derive(Debug)]
pub(super) struct ConfigurationFile {
    path: PathBuf,
    /// Of the process; it can't change.
    environment: Vec<(String, String)>,
    /// Read at the start.
    roots: SystemRoots,
    started: Config,
    log: LogLevelHandle,
    /// The files that the one in force names, and those of others that were loaded since.
    watched: Mutex<Arc<[PathBuf]>>,
    /// The one in force.
    in_force: Mutex<Said>,
    /// The one that was loaded last, until it is in force.
    loaded: Mutex<Option<Said>>,
    /// Whether Landlock is in force.
    shut_in: bool,
}

/// What a configuration says, as far as it is asked for again.
#[derive(Debug)]
struct Said {
    /// The files that it names.
    named: Arc<[PathBuf]>,
    /// How they looked before they were read.
    seen: Look,
    parts: Parts,
    /// The warning of few open files.
    lowered: Option<String>,
    level: LogLevel,
}

/// As the system words EACCES.
const FORBIDDEN: &str = "Permission denied";

const OUT_OF_REACH: &str = "landlock: where permissions allow it, the file is out of reach because no \
     file of its folder was named at the start: that takes a restart, or runtime.landlock = false";

/// The parts of a configuration by their keys, each as a text that is another where it says something
/// else.
type Parts = BTreeMap<String, String>;

// === impl ConfigurationFile ===

impl ConfigurationFile {
    pub(super) fn new(
        (started, scripts): (&Config, &[PathBuf]),
        seen: Look,
        loaded: &Loaded,
        lowered: Option<String>,
        shut_in: bool,
        (environment, roots): (Vec<(String, String)>, SystemRoots),
        log: LogLevelHandle,
    ) -> Self {
        let named = named(started, scripts);
        let said = Said {
            named: Arc::clone(&named),
            seen,
            parts: parts(started, loaded),
            lowered,
            level: started.log.level,
        };
        Self {
            path: started.path.clone(),
            environment,
            roots,
            log,
            watched: Mutex::new(named),
            in_force: Mutex::new(said),
            loaded: Mutex::new(None),
            shut_in,
            started: started.clone(),
        }
    }

    /// The files and folders that a reload reads.
    pub(super) fn watched(&self) -> Arc<[PathBuf]> {
        Arc::clone(&lock(&self.watched))
    }

    /// Whether something looks otherwise than when the one in force was read.
    pub(super) fn differs(&self, now: &Look) -> bool {
        let in_force = lock(&self.in_force);
        let seen = &in_force.seen;
        now.iter()
            .any(|(path, facts)| seen.get(path) != Some(facts))
    }

    /// Looks at these files, too.
    fn watch(&self, also: &[PathBuf]) {
        let mut watched = lock(&self.watched);
        let mut all = watched.to_vec();
        all.extend(also.iter().cloned());
        all.sort();
        all.dedup();
        *watched = all.into();
    }

    /// Looks at the files of a configuration that failed, too: one of them may come, or be mended, and
    /// no other file change then.
    fn watch_also(&self) {
        let variables = self.environment.iter().cloned();
        let config = match config::load(&self.path, variables) {
            Ok(loaded) => loaded.config,
            Err(error) => match error.partial {
                Some(partial) => *partial,
                None => return,
            },
        };
        let text = AclFiles::of(&config).read();
        let scripts: Vec<_> = text.scripts.into_keys().collect();
        self.watch(&named(&config, &scripts));
    }

    /// Where the audit is written, by a thread that is there since the start.
    fn written(&self) -> Option<&AuditSink> {
        let audit = &self.started.audit;
        (audit.settings.decisions != AuditDecisions::None).then_some(&audit.sink)
    }

    fn read(&self, learned: Vec<Command>) -> Result<Loaded, Vec<String>> {
        let variables = self.environment.iter().cloned();
        let teachers = Teachers::Running(learned);
        let kept = Kept {
            written: self.written(),
            roots: &self.roots,
        };
        let mut prepared =
            prepare(&self.path, variables, teachers, Some(kept)).map_err(|error| {
                self.watch_also();
                let mut problems = match error {
                    AppError::Configuration(problems) | AppError::Start(problems) => problems,
                };
                // The modes of the file say otherwise, and would be looked at for long.
                if self.shut_in && problems.iter().any(|one| one.contains(FORBIDDEN)) {
                    problems.push(OUT_OF_REACH.to_owned());
                }
                problems
            })?;
        let lowered = fit_connections(&mut prepared.listeners, &prepared.upstreams)
            .map_err(|reason| vec![format!("{}: {reason}", self.path.display())])?;
        let in_force = lock(&self.in_force);
        // It was told at the start, and stays so.
        if in_force.lowered != lowered {
            prepared.warnings.extend(lowered.clone());
        }
        let file = self.path.display();
        let stays = differences(&self.started, &prepared.config);
        let line = |key| format!("{file}: {key} has changed: that needs a restart");
        let stays = stays.iter().map(line).collect();
        let named = named(&prepared.config, &prepared.scripts);
        self.watch(&named);
        let seen = std::mem::take(&mut prepared.seen);
        let upstreams = std::mem::take(&mut prepared.upstreams);
        let (mut loaded, config) = split(prepared, &upstreams);
        // Under other names or addresses it isn't the one that is spoken to.
        let spoken_to = |name: &String| {
            let of = |config: &Config| {
                let upstream = config.upstreams.iter().find(|one| one.name == *name);
                upstream.map(|upstream| format!("{:?}", upstream.tls))
            };
            of(&self.started) == of(&config)
        };
        let renewed = &mut loaded.settings.upstream_tls;
        renewed.retain(|(name, _)| spoken_to(name));
        let (said, says) = (&in_force.parts, parts(&config, &loaded));
        let keys: BTreeSet<_> = said.keys().chain(says.keys()).collect();
        let changed = keys
            .into_iter()
            .filter(|key| said.get(*key) != says.get(*key));
        loaded.changed = changed.cloned().collect();
        *lock(&self.loaded) = Some(Said {
            named,
            seen,
            parts: says,
            lowered,
            level: config.log.level,
        });
        Ok(Loaded { stays, ..loaded })
    }
}

impl Configuration for Arc<ConfigurationFile> {
    fn load(&self, learned: Vec<Command>) -> Result<Loaded, Vec<String>> {
        self.read(learned)
    }

    fn in_force(&self) {
        let loaded = lock(&self.loaded).take();
        if let Some(said) = loaded {
            *lock(&self.watched) = Arc::clone(&said.named);
            self.log.set(said.level);
            *lock(&self.in_force) = said;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A digest of a file; of nothing where it can't be read, which is a problem elsewhere.
pub(super) fn file_digest(path: &Path) -> Fingerprint {
    Sha256::digest(fs::read(path).unwrap_or_default()).into()
}

/// What of a configuration may be swapped, and the rest.
pub(super) fn split(prepared: Prepared, upstreams: &[Connector]) -> (Loaded, Config) {
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
    let mut upstream_tls = Vec::new();
    for upstream in upstreams {
        if let Some(tls) = upstream.tls() {
            fingerprint.update(tls.fingerprint());
            upstream_tls.push((upstream.settings().name.clone(), tls));
        }
    }
    let settings = LoadedSettings {
        upstream_tls,
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
        changed: Vec::new(),
        stays: Vec::new(),
        warnings,
    };
    (loaded, config)
}

/// What each part says. The maps among them have no order of their own.
fn parts(config: &Config, loaded: &Loaded) -> Parts {
    let mut parts = Parts::new();
    let mut say = |key: &str, what: &dyn Debug| {
        parts.insert(key.to_owned(), format!("{what:?}"));
    };
    say("policy.acl_files", &loaded.rules.policy().content_hash());
    say("policy.mode", &config.shadow);
    say("policy.extra_commands", &config.extra_commands);
    say("identity", &config.identities);
    say("rewrite.rename", &config.rename);
    say("rewrite.substitute", &config.substitute);
    say("rewrite.addresses", &config.addresses);
    let mut limits = config.limits.clone();
    let users: BTreeMap<_, _> = limits.quotas.users.drain().collect();
    say("limits", &limits);
    say("limits.user", &users);
    say("audit", &config.audit);
    say("log.level", &config.log.level);
    for listener in &loaded.settings.listeners {
        let mut settings = listener.settings.clone();
        let key = format!("listener.{}", settings.name);
        if let Some(tls) = &listener.tls {
            say(&format!("{key}.tls"), tls.fingerprint());
        }
        settings.tls = None;
        say(&key, &settings);
    }
    for (name, tls) in &loaded.settings.upstream_tls {
        say(&format!("upstream.{name}.tls"), tls.fingerprint());
    }
    parts
}

/// The files and folders that a configuration and its ACL files name, and the file itself.
pub(super) fn named(config: &Config, scripts: &[PathBuf]) -> Arc<[PathBuf]> {
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
    differ("admin".to_owned(), old.admin != new.admin);
    differ("log.format".to_owned(), old.log.json != new.log.json);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::watch::look;
    use crate::telemetry::start_log;

    const TEXT: &str = "
        [[listener]]
        name = \"main\"
        bind = [\"127.0.0.1:0\"]
        upstream = \"main\"
        [upstream.main]
        address = \"127.0.0.1:1\"
        [[identity]]
        match = { from = [\"127.0.0.1/32\"] }
        auth = \"address\"
        user = \"cart\"
        [policy]
        acl_files = [\"users.acl\"]
        [log]
        level = \"error\"
    ";

    /// The keys that a load finds changed.
    fn load(file: &Arc<ConfigurationFile>) -> Vec<String> {
        Configuration::load(file, Vec::new()).unwrap().changed
    }

    #[test]
    fn what_was_loaded_changes_nothing_until_it_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("respgate.toml");
        fs::write(&path, TEXT).unwrap();
        fs::write(
            dir.path().join("users.acl"),
            "user cart on >horse ~* +get\n",
        )
        .unwrap();
        let mut prepared = prepare(&path, std::iter::empty(), Teachers::Nobody, None).unwrap();
        let seen = std::mem::take(&mut prepared.seen);
        let (loaded, config) = split(prepared, &[]);
        let log = start_log(&config.log).unwrap();
        let file = ConfigurationFile::new(
            (&config, &[]),
            seen,
            &loaded,
            None,
            false,
            (Vec::new(), SystemRoots::default()),
            log.level(),
        );
        let file = Arc::new(file);
        assert!(!file.differs(&look(&file.watched())));
        assert!(load(&file).is_empty());
        file.in_force();
        assert!(!file.differs(&look(&file.watched())));

        fs::write(dir.path().join("more.acl"), "user cart on >horse ~* +set\n").unwrap();
        let text = TEXT.replace("[\"users.acl\"]", "[\"more.acl\"]");
        fs::write(&path, text.replace("\"error\"", "\"warn\"")).unwrap();
        let changed = ["log.level", "policy.acl_files"];
        // Somebody has changed a user meanwhile, so it is read again.
        assert_eq!(load(&file), changed);
        assert_eq!(load(&file), changed);
        assert_eq!(lock(&file.in_force).level, LogLevel::Error);
        assert!(file.differs(&look(&file.watched())));
        // Whoever mends what didn't come in force may do so in either.
        let watches = |name: &str| file.watched().contains(&dir.path().join(name));
        assert!(watches("users.acl") && watches("more.acl"));

        // What has changed since it was read is still to be read.
        fs::write(dir.path().join("more.acl"), "user cart off\n").unwrap();
        file.in_force();
        assert!(file.differs(&look(&file.watched())));
        assert_eq!(load(&file), ["policy.acl_files"]);
        assert_eq!(lock(&file.in_force).level, LogLevel::Warn);
        file.in_force();
        assert!(!watches("users.acl") && watches("more.acl"));
    }
}
