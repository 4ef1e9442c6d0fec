//! From a configuration file to everything that it names, loaded; or to all that is wrong with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{
    self, AuditDecisions, ClientAuth, Config, DEFAULT_MAX_CONNECTIONS, ListenerTls,
};
use crate::identity::{self, AuthKind, Naming};
use crate::policy::{Policy, Source, User};
use crate::proxy::ListenerParts;
use crate::resp::Limits;
use crate::session::Rules;
use crate::telemetry::Audit;
use crate::tls::ServerTls;

use super::commands::{Compiled, Teachers, compile};
use super::{AppError, Prepared};

/// Reads and checks everything, and reports all that is wrong together. If the files name commands
/// that the table lacks, `teachers` are asked for them first.
///
/// # Errors
/// [`AppError::Configuration`].
pub fn prepare(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
    teachers: Teachers,
) -> Result<Prepared, AppError> {
    let mut problems = Vec::new();
    let config = match config::load(path, environment) {
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
    let before = problems.len();
    let sources = read_sources(&config.acl_files, &mut problems);
    let all_read = problems.len() == before;
    let Compiled {
        table,
        names,
        policy,
    } = compile(&config, &sources, teachers, &mut problems, &mut warnings);
    // A user may stand in the file that couldn't be read.
    let policy = policy.filter(|_| all_read);
    let listeners = load_listeners(&config, &mut problems, &mut warnings);
    if let Some(policy) = &policy {
        check_identities(&config, policy, &listeners, &mut problems, &mut warnings);
    }
    if config.audit.decisions != AuditDecisions::None
        && let Err(error) = Audit::check(config.audit.path.as_deref())
    {
        problems.push(format!("{}: {error}", path.display()));
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
fn read_sources(paths: &[PathBuf], problems: &mut Vec<String>) -> Vec<Source> {
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
    sources
}

/// The file itself, or the files of a directory. Names that begin with a dot are not meant: an
/// editor's, or the links of a Kubernetes mount.
fn acl_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !metadata.is_dir() {
        // Reading a pipe would wait for ever.
        return Err(io::Error::other("neither a file nor a directory"));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // A dead link is kept: reading it fails and names it.
        let is_file = fs::metadata(entry.path()).map_or(true, |metadata| metadata.is_file());
        if !hidden && is_file {
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
