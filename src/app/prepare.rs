//! From a configuration file to everything that it names, loaded; or to all that is wrong with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{
    self, AuditDecisions, AuditSink, ClientAuth, Config, DEFAULT_MAX_CONNECTIONS, ListenerTls,
};
use crate::identity::{self, Naming};
use crate::policy::{Policy, Shadow};
use crate::proxy::{Connector, ListenerParts, PolicyFiles};
use crate::resp::Limits;
use crate::session::Rules;
use crate::telemetry::Audit;
use crate::tls::{ServerTls, SystemRoots};

use super::acl_files::AclFiles;
use super::commands::{Compiled, Teachers, compile};
use super::configuration::{file_digest, named};
use super::privileges::Identity;
use super::watch::look;
use super::{AppError, Prepared};

/// What the process that reads its configuration again has had since its start.
#[derive(Debug)]
pub struct Kept<'a> {
    /// Where it writes its audit. Whether that can be written is its writer's to tell, and it isn't
    /// looked at: whoever rotates the file has renamed it a moment ago.
    pub written: Option<&'a AuditSink>,
    /// Who is trusted where an upstream names no authority.
    pub roots: &'a SystemRoots,
}

/// Reads and checks everything, and reports all that is wrong together. If the files name commands
/// that the table lacks, `teachers` are asked for them first. `kept`: of a process that runs already.
///
/// # Errors
/// [`AppError::Configuration`].
pub fn prepare(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
    teachers: Teachers,
    kept: Option<Kept<'_>>,
) -> Result<Prepared, AppError> {
    let mut problems = Vec::new();
    let written = kept.as_ref().and_then(|kept| kept.written);
    let roots = kept.map_or_else(SystemRoots::default, |kept| kept.roots.clone());
    // Before anything is read: what changes meanwhile is noticed by that.
    let itself = look(&[path.to_owned()]);
    let digest = file_digest(path);
    let loaded = config::load(path, environment);
    if digest != file_digest(path) {
        // Its digest would stand for what it doesn't say.
        let path = path.display();
        return Err(AppError::Configuration(vec![format!(
            "{path}: is changed while it is read: try again"
        )]));
    }
    let config = match loaded {
        Ok(loaded) => Some((loaded.config, loaded.warnings)),
        Err(error) => {
            problems.extend(error.problems.0.iter().map(ToString::to_string));
            error.partial.map(|partial| (*partial, Vec::new()))
        }
    };
    let Some((config, warnings)) = config else {
        return Err(AppError::Configuration(problems));
    };
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let mut seen = look(&named(&config, &[]));
    seen.extend(itself);
    // First of all: they may be asked for commands.
    let upstreams = load_upstreams(&config, &roots, &mut problems, &mut warnings);
    let files = AclFiles::of(&config);
    let text = files.read();
    let scripts: Vec<_> = text.scripts.keys().cloned().collect();
    // They are known only now that they are read: read again, they say the same, or count as changed.
    if !scripts.is_empty() {
        let looked = look(&scripts);
        if files.read().scripts == text.scripts {
            seen.extend(looked);
        }
    }
    let Compiled {
        table,
        names,
        policy,
    } = compile(
        &config,
        &files,
        text,
        teachers,
        &upstreams,
        &mut problems,
        &mut warnings,
    );
    let listeners = load_listeners(&config, &mut problems, &mut warnings);
    if let Some(policy) = &policy {
        warn_of_unknown_users(&config, policy, &mut warnings);
        check_identities(&config, &listeners, &mut problems);
    }
    if config.audit.settings.decisions != AuditDecisions::None
        && written != Some(&config.audit.sink)
        && let Err(error) = Audit::check(&config.audit.sink)
    {
        problems.push(format!("{}: {error}", path.display()));
    }
    let identity = Identity::find(&config.runtime).unwrap_or_else(|wrong| {
        let line = |problem| format!("{}: {problem}", path.display());
        problems.extend(wrong.iter().map(line));
        None
    });
    match (names, policy) {
        (Some(names), Some(policy)) if problems.is_empty() => {
            let limits = Limits {
                max_bulk: config.limits.max_bulk,
                max_args: config.limits.max_args,
                unauthenticated: false,
            };
            let inspect = config.limits.max_inspect_buffer;
            let shadow = match &config.shadow {
                shadow if shadow.everybody => Shadow::Everybody,
                shadow => Shadow::of(&shadow.users),
            };
            let rules = Rules::new(table, names, policy, limits, inspect).with_shadow(shadow);
            Ok(Prepared {
                files,
                scripts,
                config,
                digest,
                seen,
                rules,
                listeners,
                upstreams,
                roots,
                warnings,
                identity,
            })
        }
        _ => Err(AppError::Configuration(problems)),
    }
}

/// Whether the file doesn't name all that the table needs; that was told already.
fn is_partial(tls: &ListenerTls) -> bool {
    let unnamed = |path: &PathBuf| path.as_os_str().is_empty();
    let lacks_ca = tls.client_auth != ClientAuth::None && tls.client_ca.is_none();
    unnamed(&tls.cert) || unnamed(&tls.key) || lacks_ca
}

fn load_listeners(
    config: &Config,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Vec<ListenerParts> {
    let mut listeners = Vec::new();
    let file = config.path.display();
    for settings in &config.listeners {
        if settings.tls.as_ref().is_some_and(is_partial) {
            continue;
        }
        let tls = match settings.tls.as_ref().map(ServerTls::load).transpose() {
            Ok(tls) => tls.map(Arc::new),
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

fn load_upstreams(
    config: &Config,
    roots: &SystemRoots,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Vec<Connector> {
    let mut upstreams = Vec::new();
    let file = config.path.display();
    for settings in &config.upstreams {
        let name = &settings.name;
        match Connector::load(settings.clone(), roots) {
            Ok(connector) => {
                let line = |warning| format!("{file}: upstream.{name}.tls: {warning}");
                warnings.extend(connector.warnings().iter().map(line));
                upstreams.push(connector);
            }
            Err(wrong) => {
                let line = |problem| format!("{file}: upstream.{name}.tls.{problem}");
                problems.extend(wrong.iter().map(line));
            }
        }
    }
    upstreams
}

/// They may be made at run time; or somebody has no limit because of a slip.
fn warn_of_unknown_users(config: &Config, policy: &Policy, warnings: &mut Vec<String>) {
    let mut names: Vec<_> = config.limits.quotas.users.keys().collect();
    names.sort();
    for name in names.into_iter().filter(|name| policy.user(name).is_none()) {
        let file = config.path.display();
        warnings.push(format!(
            "{file}: limits.user.{name}: no ACL file defines this user"
        ));
    }
}

/// What only identities and certificates together show.
fn check_identities(config: &Config, listeners: &[ListenerParts], problems: &mut Vec<String>) {
    for (index, rule) in config.identities.iter().enumerate() {
        let key = format!("{}: identity[{index}].match", config.path.display());
        check_issuers(rule, listeners, problems, &key);
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
        let roots = tls.as_ref().map_or(0, |tls| tls.number_of_roots());
        if roots > 1 && rule.covers_listener(&settings.name) {
            problems.push(format!(
                "{key}: the certificate names the user, and any of the {roots} CAs of listener \
                 \"{}\" may have signed it: add issuer_cn or issuer_spki_sha256",
                settings.name
            ));
        }
    }
}
