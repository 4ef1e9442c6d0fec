//! From the file and the environment to a [`Config`], or to everything that is wrong.

use std::fs;
use std::path::Path;

use thiserror::Error;

use super::problem::{Problem, Problems};
use super::report::Report;
use super::section::Section;
use super::types::{AuditDecisions, Config, ListenerKind};
use super::{
    admin, audit, environment, identity, limits, listener, raw, runtime, settings, upstream,
};

/// A configuration that holds, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is no reason not to start, and should be looked at.
    pub warnings: Vec<Problem>,
}

/// A configuration that doesn't hold.
#[derive(Clone, Debug, Error)]
#[error("{problems}")]
pub struct LoadError {
    /// Everything that is wrong with it.
    pub problems: Problems,
    /// What could be read all the same, so that the files it names can be checked in the same go.
    /// Never to be run. `None` where there was nothing to read.
    pub partial: Option<Box<Config>>,
}

/// Reads the file at `path`, lays `environment` over it (its `RESPGATE__` variables; see
/// [`environment()`](super::environment())) and validates the whole.
///
/// All problems come together, but for a file that can't be read or is no TOML: that one comes
/// alone. Opens the password files and nothing else that the file names.
pub fn load(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, LoadError> {
    let report = Report::new(path);
    let table = fs::read_to_string(path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|text| raw::parse(&text));
    let mut table = match table {
        Ok(table) => table,
        Err(reason) => {
            report.problem("", reason);
            let problems = Problems(report.into_parts().0);
            return Err(LoadError {
                problems,
                partial: None,
            });
        }
    };
    environment::overlay(&mut table, environment, &report);

    let config = validate(path, Section::new(&report, "", table));
    let (problems, warnings) = report.into_parts();
    if problems.is_empty() {
        Ok(Loaded { config, warnings })
    } else {
        let problems = Problems(problems);
        Err(LoadError {
            problems,
            partial: Some(Box::new(config)),
        })
    }
}

/// What the file says, as far as it can be understood: good for something only without problems.
pub(super) fn validate(path: &Path, mut root: Section<'_>) -> Config {
    let (upstreams, upstream_names) = upstream::read(&mut root);
    let (listeners, seen) = listener::read(&mut root, &upstream_names);
    let identities = identity::read(&mut root, &seen);
    let policy = settings::policy(&mut root);
    let rewrite = settings::rewrite(&mut root);
    let admin = admin::read(&mut root, &listeners);
    let config = Config {
        path: path.to_owned(),
        listeners,
        upstreams,
        identities,
        acl_files: policy.acl_files,
        shadow: policy.shadow,
        extra_commands: policy.extra_commands,
        rename: rewrite.rename,
        substitute: rewrite.substitute,
        addresses: rewrite.addresses,
        limits: limits::limits(&mut root),
        runtime: runtime::read(&mut root),
        admin,
        audit: audit::audit(&mut root),
        log: settings::log(&mut root),
    };
    warn_of_missing_addresses(&config, root.report);
    warn_of_untold_trial(&config, root.report);
    root.finish();
    config
}

/// The audit is where a policy that is only tried shows what it would do.
fn warn_of_untold_trial(config: &Config, report: &Report) {
    let is_tried = config.shadow.everybody || !config.shadow.users.is_empty();
    if is_tried && config.audit.settings.decisions == AuditDecisions::None {
        let reason = "in shadow mode nothing else tells each request that the policy denies";
        report.warning("audit.decisions", "none", reason);
    }
}

/// A Sentinel is asked for addresses, and without a map its answers lead around the proxy.
fn warn_of_missing_addresses(config: &Config, report: &Report) {
    let is_sentinel = |kind| kind == ListenerKind::Sentinel;
    let listener = config.listeners.iter().find(|it| is_sentinel(it.kind));
    if let Some(listener) = listener.filter(|_| config.addresses.is_empty()) {
        report.warning(
            &format!("listener.{}.kind", listener.name),
            listener.kind.as_str(),
            "rewrite.addresses is empty: clients are told where the Redis is, and not its respgate",
        );
    }
}
