//! The composition root: from a configuration file to a running proxy, or to everything that is
//! wrong.

mod acl_files;
mod commands;
mod configuration;
mod open_files;
mod prepare;
mod privileges;
mod replace_files;
mod sandbox;
mod script_files;
mod settle;
mod systemd;
mod upstreams;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::SigSet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::config::{AuditDecisions, Config};
use crate::proxy::{
    Cause, Connector, Fingerprint, ListenerParts, Reloaded, Running, Service, ServiceParts,
    StartError,
};
use crate::session::Rules;
use crate::telemetry::{Audit, start_log};
use crate::tls::SystemRoots;

use acl_files::AclFiles;
use configuration::{ConfigurationFile, split};

pub use commands::Teachers;
pub use prepare::{Kept, prepare};
pub use upstreams::check_upstreams;

/// A checked configuration with everything that it names loaded.
#[derive(Debug)]
pub struct Prepared {
    /// What the file says.
    pub config: Config,
    /// A digest of it, as it was before it was read.
    digest: Fingerprint,
    /// How the files looked before they were read.
    seen: watch::Look,
    /// Where `rules` has its users from.
    files: AclFiles,
    /// The scripts that those name, there or not.
    scripts: Vec<PathBuf>,
    /// What requests are judged by.
    pub rules: Rules,
    /// The listeners, with their certificates.
    pub listeners: Vec<ListenerParts>,
    /// The way to each upstream, by the index that listeners know it by.
    pub upstreams: Vec<Connector>,
    /// Who is trusted where one of those names no authority.
    roots: SystemRoots,
    /// What is no reason not to start, and should be looked at.
    pub warnings: Vec<String>,
    /// Who the process is to be; `None`: who it is.
    identity: Option<privileges::Identity>,
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

/// A reload that is under way at the end is given so long.
const LAST_RELOAD: Duration = Duration::from_secs(1);

/// Puts off SIGHUP, of which an unprepared process dies, until [`run`] can reload. For the main thread, before
/// there are others; who renews certificates may send it at any moment.
///
/// # Errors
/// The system refuses.
pub fn put_off_reloads() -> io::Result<()> {
    Ok(hangup().thread_block()?)
}

fn hangup() -> SigSet {
    SigSet::from(nix::sys::signal::Signal::SIGHUP)
}

/// Serves until SIGTERM or SIGINT, then drains. `environment` is what `prepared` was made with.
///
/// # Errors
/// [`AppError::Start`].
pub fn run(mut prepared: Prepared, environment: Vec<(String, String)>) -> Result<(), AppError> {
    let start = |error: String| AppError::Start(vec![error]);
    let upstreams = std::mem::take(&mut prepared.upstreams);
    let identity = prepared.identity.take();
    let scripts = std::mem::take(&mut prepared.scripts);
    let seen = std::mem::take(&mut prepared.seen);
    let roots = prepared.roots.clone();
    // Before there is a second thread, and so before the log.
    let listeners = &mut prepared.listeners;
    let settled = settle::settle(
        (&prepared.config, &scripts),
        identity,
        listeners,
        &upstreams,
    )?;
    let (loaded, config) = split(prepared, &upstreams);
    // Declared before what uses it, so that it is the last to end.
    let log = start_log(&config.log).map_err(|error| start(format!("the log: {error}")))?;
    for warning in (loaded.warnings.iter())
        .chain(&settled.lowered)
        .chain(&settled.warnings)
    {
        tracing::warn!("{warning}");
    }
    settled.tell();
    let audit = match config.audit.settings.decisions {
        AuditDecisions::None => Audit::none(),
        AuditDecisions::Deny | AuditDecisions::All => {
            Audit::open(&config.audit.sink, config.audit.settings)
                .map_err(|error| start(error.to_string()))?
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| start(error.to_string()))?;
    let hash = loaded.rules.policy().content_hash().to_owned();
    let bound: Vec<String> = config
        .listeners
        .iter()
        .flat_map(|listener| listener.bind.iter().map(|bind| bind.to_string()))
        .collect();
    let configuration = Arc::new(ConfigurationFile::new(
        (&config, &scripts),
        seen,
        &loaded,
        settled.lowered.clone(),
        settled.is_shut_in(),
        (environment, roots),
        log.level(),
    ));
    let service = Service::new(ServiceParts {
        loaded,
        configuration: Box::new(Arc::clone(&configuration)),
        upstreams,
        audit,
    });
    let served = runtime.block_on(async {
        // Before the first client: a SIGTERM from now on drains.
        let mut ends = Ends::new(Arc::clone(&service)).map_err(|error| start(error.to_string()))?;
        // What came before is a reload now.
        (hangup().thread_unblock()).map_err(|error| start(error.to_string()))?;
        let running = Arc::clone(&service)
            .start(settled.sockets, config.runtime.workers)
            .await
            .map_err(|errors| not_started(&errors))?;
        // To the end of the drain: so long it says that nobody should come any more.
        let serving = settled.admin.serve(&service, &log.losses(), reload);
        let _serving = serving.map_err(|error| start(error.to_string()))?;
        systemd::start_watchdog(Arc::downgrade(&ends.service))
            .map_err(|error| start(error.to_string()))?;
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(
            version,
            bind = bound.join(", "),
            policy = hash,
            "respgate serves"
        );
        if let Some(period) = config.runtime.watch_files {
            tokio::spawn(watch::watch(Arc::clone(&service), configuration, period));
        }
        systemd::ready(&format!("serving {}", bound.join(", ")));
        let signal = ends.next().await;
        ends.drain(running, signal, config.runtime.drain_timeout)
            .await;
        Ok(())
    });
    // A reload may hang in a file system that does.
    runtime.shutdown_timeout(LAST_RELOAD);
    served
}

fn not_started(errors: &[StartError]) -> AppError {
    AppError::Start(errors.iter().map(ToString::to_string).collect())
}

/// Reloads, and tells the service manager. Reads files; it logs what it does.
fn reload(service: &Service, cause: Cause) -> Result<Reloaded, Vec<String>> {
    let told = systemd::reload_begins();
    let done = service.reload(cause);
    told.ends(done.is_err());
    done
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
        tracing::info!("SIGHUP: reloading the configuration and all that it names");
        // Whatever becomes of the rest: logrotate has renamed its file.
        self.service.audit().reopen();
        let service = Arc::clone(&self.service);
        tokio::task::spawn_blocking(move || reload(&service, Cause::Signal));
    }

    /// Lets sessions finish, for so long at most; a second signal ends it at once. Reloads go on.
    async fn drain(&mut self, running: Running, signal: &str, timeout: Duration) {
        tracing::info!(signal, deadline = ?timeout, "draining: no new connections");
        systemd::stopping(timeout);
        let hurry = async {
            let signal = self.next().await;
            tracing::warn!(signal, "second signal: ending at once");
        };
        // Either way the threads are ended: the audit's last lines come when nobody is left to add any.
        let cut = running.drain(Instant::now() + timeout, hurry).await;
        tracing::info!(cut, "respgate ends");
    }
}
