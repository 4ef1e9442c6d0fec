//! The composition root: from a configuration file to a running proxy, or to everything that is
//! wrong.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::command::Table;
use crate::config::{self, AuditDecisions, Config, DEFAULT_MAX_CONNECTIONS};
use crate::identity::{self, AuthKind, Naming};
use crate::net::{most_connections, raise_file_limit};
use crate::policy::{Policy, Source, User};
use crate::proxy::{Inspection, ListenerParts, Service, inspect};
use crate::resp::Limits;
use crate::rewrite::Names;
use crate::session::Rules;
use crate::telemetry::{Audit, start_log};
use crate::tls::ServerTls;

/// A checked configuration with everything that it names loaded.
#[derive(Debug)]
pub struct Prepared {
    /// What the file says.
    pub config: Config,
    /// What requests are judged by.
    pub rules: Rules,
    /// The listeners, with their certificates.
    pub listeners: Vec<ListenerParts>,
    /// What is no reason not to start, and should be looked at.
    pub warnings: Vec<String>,
}

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Everything that is wrong with the configuration and the files that it names, one a line.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// The configuration is in order, and it can't be served all the same.
    #[error("{}", .0.join("\n"))]
    Start(Vec<String>),
}

/// A drain ends by then: Kubernetes kills 30 seconds after SIGTERM, and the audit must be written
/// before.
const DRAIN: Duration = Duration::from_secs(25);

/// Reads and checks everything, and reports all that is wrong together.
///
/// # Errors
/// [`AppError::Configuration`].
pub fn prepare(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Prepared, AppError> {
    let mut problems = Vec::new();
    let (config, whole) = match config::load(path, environment) {
        Ok(loaded) => (Some((loaded.config, loaded.warnings)), true),
        Err(error) => {
            problems.extend(error.problems.0.iter().map(ToString::to_string));
            (error.partial.map(|partial| (*partial, Vec::new())), false)
        }
    };
    let Some((config, warnings)) = config else {
        return Err(AppError::Configuration(problems));
    };
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let table = Table::builtin();
    let names = Names::compile(&table, &config.rename, &config.substitute)
        .map_err(|errors| {
            let file = path.display();
            problems.extend(errors.iter().map(|error| format!("{file}: {error}")));
        })
        .ok();
    let policy = load_policy(&config.acl_files, &table, &mut problems, &mut warnings);
    let mut listeners = Vec::new();
    if whole {
        listeners = load_listeners(&config, &mut problems, &mut warnings);
        if let Some(policy) = &policy {
            check_identities(&config, policy, &listeners, &mut problems, &mut warnings);
        }
    }
    match (names, policy) {
        (Some(names), Some(policy)) if problems.is_empty() => {
            let limits = Limits {
                max_bulk: config.limits.max_bulk,
                max_args: config.limits.max_args,
                unauthenticated: false,
            };
            let inspect = config.limits.max_inspect_buffer;
            let rules = Rules::new(table, names, policy, limits, inspect);
            Ok(Prepared {
                config,
                rules,
                listeners,
                warnings,
            })
        }
        _ => Err(AppError::Configuration(problems)),
    }
}

/// All ACL files, those of directories in the order of their names.
fn load_policy(
    paths: &[PathBuf],
    table: &Table,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Option<Policy> {
    let before = problems.len();
    let mut sources = Vec::new();
    for path in paths {
        match acl_files(path) {
            Ok(files) if files.is_empty() => {
                problems.push(format!(
                    "policy.acl_files: {}: no file in it",
                    path.display()
                ));
            }
            Ok(files) => {
                for path in files {
                    match fs::read(&path) {
                        Ok(content) => sources.push(Source { path, content }),
                        Err(error) => problems.push(unreadable(&path, &error)),
                    }
                }
            }
            Err(error) => problems.push(unreadable(path, &error)),
        }
    }
    match Policy::parse(&sources, table) {
        Ok((policy, doubts)) => {
            warnings.extend(doubts.iter().map(ToString::to_string));
            (problems.len() == before).then_some(policy)
        }
        Err(wrong) => {
            problems.extend(wrong.iter().map(ToString::to_string));
            None
        }
    }
}

/// The file itself, or the files of a directory. Names that begin with a dot are not meant: an
/// editor's, or the links of a Kubernetes mount.
fn acl_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && fs::metadata(entry.path())?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!(
        "policy.acl_files: {}: can't be read: {error}",
        path.display()
    )
}

fn load_listeners(
    config: &Config,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Vec<ListenerParts> {
    let mut listeners = Vec::new();
    let file = config.path.display();
    for settings in &config.listeners {
        let tls = match settings.tls.as_ref().map(ServerTls::load).transpose() {
            Ok(tls) => tls,
            Err(wrong) => {
                let name = &settings.name;
                let line = |problem| format!("{file}: listener.{name}.tls.{problem}");
                problems.extend(wrong.iter().map(line));
                continue;
            }
        };
        if let Some(tls) = &tls {
            let name = &settings.name;
            let line = |warning| format!("{file}: listener.{name}.tls: {warning}");
            warnings.extend(tls.warnings().iter().map(line));
        }
        let max_connections = settings.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS);
        listeners.push(ListenerParts {
            settings: settings.clone(),
            tls,
            max_connections,
        });
    }
    listeners
}

/// Makes the limits on connections fit the limit of open files.
///
/// A number that the file spells out is kept or refused. Where it says nothing, as many are served
/// as there is room for, and it is told: so Redis does with `maxclients`.
fn fit_connections(listeners: &mut [ListenerParts]) -> Result<Option<String>, String> {
    let most = most_connections();
    let spelled_out: usize = listeners
        .iter()
        .filter_map(|one| one.settings.max_connections)
        .sum();
    let room = most.saturating_sub(spelled_out);
    let open: Vec<_> = listeners
        .iter_mut()
        .filter(|one| one.settings.max_connections.is_none())
        .collect();
    let share = room / open.len().max(1);
    if spelled_out > most || (share == 0 && !open.is_empty()) {
        return Err(format!(
            "max_connections: {spelled_out} connections need two open files each, and the limit of \
             open files (RLIMIT_NOFILE) leaves room for {most}: lower the one or raise the other"
        ));
    }
    let mut warning = None;
    for listener in open {
        if listener.max_connections > share {
            warning = Some(format!(
                "max_connections is lowered from {} to {share}: the limit of open files \
                 (RLIMIT_NOFILE) leaves no room for more",
                listener.max_connections
            ));
            listener.max_connections = share;
        }
    }
    let total = listeners.iter().map(|one| one.max_connections).sum();
    raise_file_limit(total).map_err(|error| format!("can't raise RLIMIT_NOFILE: {error}"))?;
    Ok(warning)
}

/// What only identities, users and certificates together show.
fn check_identities(
    config: &Config,
    policy: &Policy,
    listeners: &[ListenerParts],
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    for (index, rule) in config.identities.iter().enumerate() {
        let key = |field: &str| format!("{}: identity[{index}].{field}", config.path.display());
        let mut known: Vec<&User> = Vec::new();
        for name in named_users(rule) {
            match policy.user(name) {
                None => problems.push(format!(
                    "{} = \"{name}\": no ACL file defines this user",
                    key("user")
                )),
                Some(user) if !user.is_enabled() => {
                    warnings.push(format!("{} = \"{name}\": the user is off", key("user")));
                }
                Some(user) => known.push(user),
            }
        }
        if matches!(rule.naming(), Naming::Chosen) {
            known.extend(policy.users().map(|user| &**user));
        }
        if rule.auth() == AuthKind::Password {
            for user in known
                .iter()
                .filter(|user| user.is_enabled() && user.is_nopass())
            {
                problems.push(format!(
                    "{} = \"password\": user \"{}\" is 'nopass': any password would do",
                    key("auth"),
                    user.name()
                ));
            }
            for user in named_users(rule).filter_map(|name| policy.user(name)) {
                if !user.has_password() && !user.is_nopass() {
                    warnings.push(format!(
                        "{} = \"password\": user \"{}\" has no password: it can't log in",
                        key("auth"),
                        user.name()
                    ));
                }
            }
        }
        check_issuers(rule, listeners, problems, &key("match"));
    }
}

/// A name out of a certificate means something only together with who signed it.
fn check_issuers(
    rule: &identity::Rule,
    listeners: &[ListenerParts],
    problems: &mut Vec<String>,
    key: &str,
) {
    if !matches!(rule.naming(), Naming::Attribute(_)) || !rule.trusts_any_issuer() {
        return;
    }
    for ListenerParts { settings, tls, .. } in listeners {
        let roots = tls.as_ref().map_or(0, ServerTls::number_of_roots);
        if roots > 1 && rule.covers_listener(&settings.name) {
            problems.push(format!(
                "{key}: the certificate names the user, and any of the {roots} CAs of listener \
                 \"{}\" may have signed it: add issuer_cn or issuer_spki_sha256",
                settings.name
            ));
        }
    }
}

fn named_users(rule: &identity::Rule) -> impl Iterator<Item = &str> {
    let names: Vec<&str> = match rule.naming() {
        Naming::Fixed(name) => vec![name],
        Naming::OneOf(names) => names.iter().map(|name| &**name).collect(),
        Naming::Attribute(_) | Naming::Chosen => Vec::new(),
    };
    names.into_iter()
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// [`AppError::Start`].
pub fn run(prepared: Prepared) -> Result<(), AppError> {
    let Prepared {
        config,
        rules,
        mut listeners,
        mut warnings,
    } = prepared;
    start_log(&config.log);
    let lowered = fit_connections(&mut listeners).map_err(|reason| {
        AppError::Configuration(vec![format!("{}: {reason}", config.path.display())])
    })?;
    warnings.extend(lowered);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let start = |error: String| AppError::Start(vec![error]);
    let audit = match config.audit.decisions {
        AuditDecisions::None => Audit::none(),
        AuditDecisions::Deny => {
            Audit::open(config.audit.path.as_deref()).map_err(|error| start(error.to_string()))?
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| start(error.to_string()))?;
    let hash = rules.policy().content_hash().to_owned();
    let bound: Vec<String> = config
        .listeners
        .iter()
        .flat_map(|listener| listener.bind.iter().map(|bind| bind.to_string()))
        .collect();
    let service = Service::new(
        rules,
        config.identities,
        listeners,
        config.upstreams,
        audit,
        config.limits.write_timeout,
    );
    runtime.block_on(async {
        // Before the first client: a SIGTERM from now on drains.
        let mut ends = Ends::new().map_err(|error| start(error.to_string()))?;
        let running = service
            .start(config.workers)
            .await
            .map_err(|errors| AppError::Start(errors.iter().map(ToString::to_string).collect()))?;
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(
            version,
            bind = bound.join(", "),
            policy = hash,
            "respgate serves"
        );
        let signal = ends.next().await;
        tracing::info!(signal, deadline = ?DRAIN, "draining: no new connections");
        let cut = tokio::select! {
            cut = running.drain(Instant::now() + DRAIN) => cut,
            signal = ends.next() => {
                tracing::warn!(signal, "second signal: ending at once");
                return Ok(());
            }
        };
        tracing::info!(cut, "respgate ends");
        Ok(())
    })
}

/// The signals that end the program.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

// === impl Ends ===

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// What the upstreams say of themselves, a line or more each; and whether any is wrong.
///
/// # Errors
/// [`AppError::Start`] if nothing could be asked at all.
pub fn check_upstreams(prepared: &Prepared) -> Result<(Vec<String>, bool), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::Start(vec![error.to_string()]))?;
    let mut lines = Vec::new();
    let mut wrong = false;
    let inspected: HashMap<&str, _> = runtime.block_on(async {
        let mut all = HashMap::new();
        for settings in &prepared.config.upstreams {
            all.insert(&*settings.name, inspect(settings).await);
        }
        all
    });
    for settings in &prepared.config.upstreams {
        let name = &settings.name;
        match &inspected[&**name] {
            Err(error) => {
                wrong = true;
                lines.push(format!("upstream.{name} ({}): {error}", settings.address));
            }
            Ok(inspection) => {
                let (told, bad) = describe(prepared, settings, inspection);
                wrong |= bad;
                lines.extend(
                    told.into_iter()
                        .map(|line| format!("upstream.{name}: {line}")),
                );
            }
        }
    }
    Ok((lines, wrong))
}

fn describe(
    prepared: &Prepared,
    settings: &config::Upstream,
    inspection: &Inspection,
) -> (Vec<String>, bool) {
    let facts = &inspection.facts;
    let table = prepared.rules.table();
    let mut lines = vec![format!(
        "Redis {} ({}, {})",
        facts.version, facts.mode, facts.role
    )];
    match &facts.commands {
        None => lines.push("COMMAND can't be asked: its commands are unknown".to_owned()),
        Some(known) => {
            let foreign: Vec<&str> = known
                .iter()
                .map(|name| &**name)
                .filter(|name| table.find(name.as_bytes()).is_none())
                .filter(|name| !matches!(*name, "post" | "host:"))
                .collect();
            if !foreign.is_empty() {
                lines.push(format!(
                    "has commands that respgate doesn't know and refuses (renamed, or a module's): \
                     {}",
                    sorted(foreign)
                ));
            }
            // Commands of every Redis since 2.8.13 that are gone were renamed or disabled.
            let usual = [
                "config", "debug", "eval", "flushall", "flushdb", "keys", "shutdown",
            ];
            let gone: Vec<&str> = usual
                .into_iter()
                .filter(|name| !known.contains(*name))
                .collect();
            if !gone.is_empty() {
                lines.push(format!(
                    "lacks (renamed or disabled there): {}",
                    sorted(gone)
                ));
            }
        }
    }
    let mut wrong = false;
    for (name, run) in prepared
        .rules
        .names()
        .unknown_substitutes(table, |command| facts.knows(command))
    {
        wrong = true;
        lines.push(format!(
            "doesn't have '{run}', the substitute of '{name}': it is refused"
        ));
    }
    if inspection.open {
        let hint = if settings.password.is_some() {
            "runs commands without our password too"
        } else {
            "needs no password"
        };
        lines.push(format!(
            "is open: it {hint}. Whoever reaches it goes around respgate: set requirepass, or let \
             nobody but respgate reach it"
        ));
    }
    (lines, wrong)
}

fn sorted(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    names.join(", ")
}
