//! The composition root: from a configuration file to a running proxy, or to everything that is
//! wrong.

mod acl_files;
mod commands;
mod prepare;
mod replace_files;
mod script_files;
mod upstreams;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::admin::Admin;
use crate::config::{AuditDecisions, Config};
use crate::net::{most_connections, raise_file_limit};
use crate::proxy::{Connector, ListenerParts, Service, ServiceParts};
use crate::session::Rules;
use crate::telemetry::{Audit, start_log};

use acl_files::AclFiles;

pub use commands::Teachers;
pub use prepare::prepare;
pub use upstreams::check_upstreams;

/// A checked configuration with everything that it names loaded.
#[derive(Debug)]
pub struct Prepared {
    /// What the file says.
    pub config: Config,
    /// Where `rules` has its users from.
    files: AclFiles,
    /// What requests are judged by.
    pub rules: Rules,
    /// The listeners, with their certificates.
    pub listeners: Vec<ListenerParts>,
    /// The way to each upstream, by the index that listeners know it by.
    pub upstreams: Vec<Connector>,
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

/// A reload that is under way at the end is given so long.
const LAST_RELOAD: Duration = Duration::from_secs(1);

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

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// [`AppError::Start`].
pub fn run(prepared: Prepared) -> Result<(), AppError> {
    let Prepared {
        files,
        config,
        rules,
        mut listeners,
        upstreams,
        mut warnings,
    } = prepared;
    let start = |error: String| AppError::Start(vec![error]);
    // Declared first, so that it is the last to end.
    let log = start_log(&config.log).map_err(|error| start(format!("the log: {error}")))?;
    let lowered = fit_connections(&mut listeners).map_err(|reason| {
        AppError::Configuration(vec![format!("{}: {reason}", config.path.display())])
    })?;
    warnings.extend(lowered);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
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
    let service = Service::new(ServiceParts {
        rules,
        files: Box::new(files),
        identities: config.identities,
        listeners,
        upstreams,
        addresses: config.addresses,
        audit,
        write_timeout: config.limits.write_timeout,
        max_reply_buffer: config.limits.max_reply_buffer,
    });
    let served = runtime.block_on(async {
        // Before the first client: a SIGTERM from now on drains.
        let mut ends = Ends::new(Arc::clone(&service)).map_err(|error| start(error.to_string()))?;
        let admin = Admin::bind(&config.admin).map_err(AppError::Start)?;
        let running = Arc::clone(&service)
            .start(config.workers)
            .await
            .map_err(|errors| AppError::Start(errors.iter().map(ToString::to_string).collect()))?;
        // To the end of the drain: so long it says that nobody should come any more.
        let _serving = admin.serve(&service, &log.losses());
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
    });
    // A reload may hang in a file system that does.
    runtime.shutdown_timeout(LAST_RELOAD);
    served
}

/// The signals that end the program, and the one that doesn't.
struct Ends {
    service: Arc<Service>,
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

// === impl Ends ===

impl Ends {
    fn new(service: Arc<Service>) -> io::Result<Self> {
        Ok(Self {
            service,
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next that ends it; reloads in the meantime.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => self.reload(),
            }
        }
    }

    /// Beside everything else: files may take their time. It logs what it does.
    fn reload(&self) {
        tracing::info!(
            "SIGHUP: reloading the ACL files; a change of the configuration or of certificates \
             needs a restart"
        );
        let service = Arc::clone(&self.service);
        tokio::task::spawn_blocking(move || service.reload(false));
    }
}
