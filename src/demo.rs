//! `respgate demo`: a guided tour with a real Redis.
//!
//! Everything is what it would be in production: the proxy is a process of its own that reads a
//! configuration file, the Redis has a password that only the proxy knows, the clients speak TLS
//! over sockets. Only the certificates are made up, and all of it goes away at the end.

mod actor;
mod client;
mod listening;
mod props;
mod scene;
mod stage;
mod tour;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::scene::Scene;
use self::stage::Stage;

/// Why the demo ends with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// There is no Redis to stand in front of.
    #[error(
        "there is no redis-server to stand in front of: install one, or name one in \
         RESPGATE_REDIS_SERVER; in the repository `make demo` fetches a Redis 5"
    )]
    NoRedis,
    /// The Redis that was asked for is not there.
    #[error("RESPGATE_REDIS_SERVER={}: no such file", .0.display())]
    NoSuchRedis(PathBuf),
    /// A process of the demo didn't start, or ended by itself.
    #[error("{what} {how}; its log:\n{log}")]
    Process {
        /// Which one.
        what: &'static str,
        /// What became of it.
        how: String,
        /// The end of its log.
        log: String,
    },
    /// A file or a socket of the demo.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates can't be made or loaded.
    #[error("certificates: {0}")]
    Certificates(String),
    /// Something went another way than the tour says.
    #[error("the tour's promise is broken: {what}\n  expected: {expected}\n  got:      {got}")]
    Promise {
        /// What was tried.
        what: String,
        /// What should have come of it.
        expected: String,
        /// What came of it.
        got: String,
    },
    /// A signal ended the tour before its end.
    #[error("interrupted before the end of the tour")]
    Interrupted,
}

/// How often the processes are looked after while the demo stays.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs the tour; and unless `once`, stays until a signal comes.
///
/// # Errors
/// Something that it needs is missing, or something went another way than it says.
pub fn run(once: bool) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("the runtime", error))?;
    runtime.block_on(async {
        // Before anything is made: a signal from now on leaves nothing behind.
        let mut ends = Ends::new().map_err(|error| failed("signals", error))?;
        let mut stage = Stage::new();
        tokio::select! {
            result = play(&mut stage, once) => result,
            () = ends.next() => {
                if stage.is_over() { Ok(()) } else { Err(DemoError::Interrupted) }
            }
        }
    })
}

async fn play(stage: &mut Stage, once: bool) -> Result<(), DemoError> {
    let mut scene = Scene::set().await?;
    tour::run(stage, &scene).await?;
    if once {
        return Ok(());
    }
    stage
        .epilogue(&scene)
        .map_err(|error| failed("stdout", error))?;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        scene.look_after()?;
    }
}

fn failed(what: impl Into<String>, source: io::Error) -> DemoError {
    DemoError::Io {
        what: what.into(),
        source,
    }
}

/// The signals that end the demo; SIGHUP is the terminal that was closed.
struct Ends([Signal; 3]);

// === impl Ends ===

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
