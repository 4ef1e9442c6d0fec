//! What the service manager is told, where one listens (NOTIFY_SOCKET); nothing happens elsewhere.

use std::io;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::proxy::Service;

/// Reloads that are under way. They come from a signal, from changed files and from the admin address,
/// and the manager wants to hear of the end of the last.
static RELOADS: AtomicUsize = AtomicUsize::new(0);

/// From then on it hears of no reload: it would take the service for one that goes on.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// A reload under way. One that is dropped without a word has failed.
#[derive(Debug)]
pub(super) struct Reloading {
    failed: bool,
}

/// The manager waits so much longer than the drain may take, for the audit's last lines.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// Every listener is bound and served.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; it ends when what this gives is dropped.
#[must_use]
pub(super) fn reload_begins() -> Reloading {
    RELOADS.fetch_add(1, Ordering::AcqRel);
    if STOPPING.load(Ordering::Acquire) {
        return Reloading { failed: true };
    }
    let status = NotifyState::Status("reloading");
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, status]),
        // Without the time it must not be told: systemd would end the service.
        Err(error) => tracing::warn!(%error, "there is no monotonic clock"),
    }
    Reloading { failed: true }
}

/// The drain begins, and takes so long at most.
pub(super) fn stopping(drain: Duration) {
    STOPPING.store(true, Ordering::Release);
    let micros = (drain + AFTER_DRAIN).as_micros();
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("draining"),
        NotifyState::ExtendTimeoutUsec(u32::try_from(micros).unwrap_or(u32::MAX)),
    ]);
}

/// Tells the manager twice in each of its intervals that the service is alive, while it is: every
/// worker and the thread that accepts must have been seen. From a thread of its own, which hangs with
/// none of them.
///
/// # Errors
/// The system has no thread left.
pub(super) fn start_watchdog(service: Weak<Service>) -> io::Result<()> {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    let half = interval / 2;
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            let mut was_alive = true;
            loop {
                std::thread::sleep(half);
                let Some(service) = service.upgrade() else {
                    return;
                };
                let alive = service.workers_alive(half);
                if alive {
                    tell(&[NotifyState::Watchdog]);
                } else if was_alive {
                    tracing::error!("a thread doesn't respond: the watchdog isn't told any more");
                }
                was_alive = alive;
            }
        })
        .map(drop)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager can't be told (NOTIFY_SOCKET)");
    }
}

// === impl Reloading ===

impl Reloading {
    /// It is in force, or it was given up.
    pub(super) fn ends(mut self, failed: bool) {
        self.failed = failed;
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        let is_last = RELOADS.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && !STOPPING.load(Ordering::Acquire) {
            ready(match self.failed {
                false => "serving",
                true => "serving; the last reload failed, what was in force stays",
            });
        }
    }
}
