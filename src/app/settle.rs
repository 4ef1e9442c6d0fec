//! What is done once, in this order, while the process has one thread: sockets are bound with the
//! privileges that it was started with, then those are dropped, then it is shut in. Each step holds for
//! the threads that come after; the log's and the audit's are among them.

use std::path::PathBuf;

use crate::admin::Admin;
use crate::config::Config;
use crate::net::Inherited;
use crate::proxy::{Connector, ListenerParts, Sockets};

use super::AppError;
use super::open_files::fit_connections;
use super::privileges::Identity;
use super::sandbox::{self, Access, Shut};

/// What came of it.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) sockets: Sockets,
    pub(super) admin: Admin,
    /// That few files may be open, and what follows.
    pub(super) lowered: Option<String>,
    /// What else should be looked at.
    pub(super) warnings: Vec<String>,
    identity: Option<Identity>,
    shut: Shut,
}

/// Does all of it, or nothing that outlives the process.
pub(super) fn settle(
    (config, scripts): (&Config, &[PathBuf]),
    identity: Option<Identity>,
    listeners: &mut [ListenerParts],
    upstreams: &[Connector],
) -> Result<Settled, AppError> {
    let start = |error: String| AppError::Start(vec![error]);
    let file = config.path.display();
    let inherited = Inherited::take().map_err(|error| start(error.to_string()))?;
    let lowered = fit_connections(listeners, upstreams)
        .map_err(|reason| AppError::Configuration(vec![format!("{file}: {reason}")]))?;
    let (sockets, admin) = match (
        Sockets::bind(&config.listeners, inherited),
        Admin::bind(&config.admin),
    ) {
        (Ok(sockets), Ok(admin)) => (sockets, admin),
        (sockets, admin) => {
            let mut errors: Vec<String> = admin.err().unwrap_or_default();
            let of_listeners = sockets.err().unwrap_or_default();
            errors.extend(of_listeners.iter().map(ToString::to_string));
            return Err(AppError::Start(errors));
        }
    };
    if let Some(identity) = &identity {
        for path in sockets.files().chain(admin.files()) {
            identity.own(path).map_err(start)?;
        }
        identity.assume().map_err(start)?;
    }
    // Nothing is executed here; if ever something is, it shall not gain by it what was dropped.
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| start(format!("can't set no_new_privs: {error}")))?;
    let shut = match config.runtime.landlock {
        false => Shut::Unwanted,
        true => Access::of(config, scripts).enforce().map_err(start)?,
    };
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    for (key, reason) in sandbox::unreadable(config, scripts) {
        let line = match key.is_empty() {
            true => reason,
            false => format!("{file}: {key}: {reason}"),
        };
        // That one is read at every connect, the others at a reload.
        match key.ends_with(".password_file") {
            true => errors.push(line),
            false => warnings.push(format!("{line}: a reload will fail")),
        }
    }
    match errors.is_empty() {
        true => Ok(Settled {
            sockets,
            admin,
            lowered,
            warnings,
            identity,
            shut,
        }),
        false => Err(AppError::Start(errors)),
    }
}

// === impl Settled ===

impl Settled {
    pub(super) fn is_shut_in(&self) -> bool {
        matches!(self.shut, Shut::In(_))
    }

    /// Says in the log what is in force.
    pub(super) fn tell(&self) {
        if let Some(identity) = &self.identity {
            tracing::info!(%identity, "privileges are dropped");
        }
        match self.shut {
            Shut::In(abi) => tracing::info!(
                abi,
                "landlock: in force: files beside those of the configuration are out of reach"
            ),
            // Who knows that silences it by the setting.
            Shut::Unavailable => tracing::warn!(
                "landlock: not available: this kernel lacks it, or has it switched off"
            ),
            Shut::Unwanted => tracing::info!("landlock: off by runtime.landlock"),
        }
    }
}
