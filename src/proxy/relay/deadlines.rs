//! How long a relay waits for whom.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::generation::Settings;
use crate::proxy::host::Peer;
use crate::proxy::standing::until_look;

use super::{End, Relay};

/// The instants at which patience ends. Each is set when its wait begins.
pub(super) struct Deadlines {
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    /// Set while the client is nobody and is owed nothing.
    login: Option<Instant>,
    auth_timeout: Duration,
    idle: Option<(Instant, Duration)>,
    /// Something happened since the idle deadline was set.
    pub(super) active: bool,
    pub(super) stalled: Option<Instant>,
    pub(super) write_timeout: Duration,
    closing: Option<Instant>,
    /// Set while what is owed can only come of a server that isn't in use any more.
    stranded: Option<Instant>,
    /// When to look whether a client that isn't read is still there.
    probe: Option<Instant>,
    /// When to look at the client's certificate.
    certificate: Option<Instant>,
    /// When to look whether there is memory again.
    pub(super) retry: Option<Instant>,
    /// When the session has lived for so long as it may.
    pub(super) lifetime: Option<Instant>,
    max_lifetime: Option<Duration>,
    began: Instant,
    /// How much longer it lives than the least, of [`SPREAD`]; drawn once.
    chance: u32,
}

/// A client that closed its direction gets what it is owed for so long. ghostunnel came to the same
/// number.
const HALF_CLOSED: Duration = Duration::from_secs(60);

/// A client that isn't read can go away unseen, and would hold its place for as long as the upstream
/// hangs. One look at its socket in ten seconds is nothing.
const PROBE: Duration = Duration::from_secs(10);

/// What a server that isn't in use any more still owes comes within this time, or never: it may hang.
const STRANDED: Duration = Duration::from_secs(5);

/// Sessions that began together end apart: within a fifth of `max_lifetime`, that is a tenth more or less.
const SPREAD: u32 = 1 << 16;

/// A closed client's blocking command would wait for nobody, and a pop for it would be lost; and the
/// end of a drain would come to one that waits as well. Redis frees such a client at once; a moment's
/// grace lets a reply arrive that is on its way.
const HALF_CLOSED_BLOCKED: Duration = Duration::from_millis(100);

// === impl Deadlines ===

impl Deadlines {
    pub(super) fn new(settings: &Settings, listener: usize, peer: &Peer) -> Self {
        let mut deadlines = Self {
            timer: Box::pin(sleep_until(Instant::now())),
            armed: None,
            login: None,
            auth_timeout: Duration::MAX,
            idle: None,
            active: false,
            stalled: None,
            write_timeout: Duration::MAX,
            closing: None,
            stranded: None,
            probe: None,
            certificate: None,
            retry: None,
            lifetime: None,
            max_lifetime: None,
            began: Instant::now(),
            chance: (RandomState::new().hash_one(()) % u64::from(SPREAD)) as u32,
        };
        deadlines.renew(settings, listener);
        let not_after = peer.certificate.as_ref().map(|one| one.not_after);
        deadlines.look_at(not_after, SystemTime::now());
        deadlines
    }

    /// Waits as these settings say from now on. What is being waited for already ends as it was set.
    pub(super) fn renew(&mut self, settings: &Settings, listener: usize) {
        self.write_timeout = settings.write_timeout;
        let Some(listener) = settings.listener(listener) else {
            return;
        };
        self.auth_timeout = listener.settings.auth_timeout;
        let idle = listener.settings.idle_timeout;
        if idle != self.idle.map(|(_, period)| period) {
            self.idle = idle.map(|idle| (Instant::now() + idle, idle));
        }
        let most = listener.settings.max_lifetime;
        if most != self.max_lifetime {
            self.max_lifetime = most;
            let now = Instant::now();
            let end = |most| end_of_life(most, self.chance, self.began, now);
            self.lifetime = most.map(end);
        }
    }

    /// When to look at the client's certificate again, which ends then (seconds since 1970).
    pub(super) fn look_at(&mut self, not_after: Option<i64>, now: SystemTime) {
        let look = |not_after| Instant::now() + until_look(not_after, now);
        self.certificate = not_after.map(look);
    }

    /// The client is on its way out, and need not be sent away once more: an end that is over would come
    /// again and again, before all others.
    pub(super) fn forget_ends(&mut self) {
        self.certificate = None;
        self.lifetime = None;
    }
}

/// When a session of this age ends. Those that are older than a new limit allows end apart, too.
fn end_of_life(most: Duration, chance: u32, began: Instant, now: Instant) -> Instant {
    let spread = most / 5 * chance / SPREAD;
    (began + most * 9 / 10).max(now) + spread
}

// === impl Relay ===

impl Relay<'_> {
    /// Pending, with a timer for the next of them.
    pub(super) fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let leaving = self.client_closed || self.draining;
        if (leaving || self.retiring) && self.deadlines.closing.is_none() {
            self.deadlines.closing = Some(Instant::now() + HALF_CLOSED);
        }
        if self.session.is_authenticated() || !self.session.is_settled() {
            // RESET may end a login: then the client has all of the time again.
            self.deadlines.login = None;
        } else if self.deadlines.login.is_none() {
            self.deadlines.login = Some(Instant::now() + self.deadlines.auth_timeout);
        }
        if !self.unread || self.client_closed {
            self.deadlines.probe = None;
        } else if self.deadlines.probe.is_none() {
            self.deadlines.probe = Some(Instant::now() + PROBE);
        }
        if self.is_stranded() && self.deadlines.stranded.is_none() {
            self.deadlines.stranded = Some(Instant::now() + STRANDED);
        }
        loop {
            let stranded = self.deadlines.stranded.map(|stranded| {
                if self.session.is_blocked() {
                    stranded - STRANDED + HALF_CLOSED_BLOCKED
                } else {
                    stranded
                }
            });
            let login = self.deadlines.login;
            let probe = self.deadlines.probe;
            let blocked = leaving && self.session.is_blocked();
            let closing = self.deadlines.closing.map(|closing| {
                if blocked {
                    closing - HALF_CLOSED + HALF_CLOSED_BLOCKED
                } else {
                    closing
                }
            });
            let idle = self.deadlines.idle.map(|(idle, _)| idle);
            let certificate = self.deadlines.certificate;
            let stalled = self.deadlines.stalled;
            let lifetime = self.deadlines.lifetime;
            let resume = self.host.dues.as_ref().and_then(|dues| dues.resume());
            let again = [resume, self.deadlines.retry].into_iter().flatten().min();
            let all = [
                login,
                closing,
                stalled,
                idle,
                probe,
                stranded,
                certificate,
                lifetime,
                again,
            ];
            let next = all.into_iter().flatten().min();
            let Some(next) = next else {
                return Poll::Pending;
            };
            if self.deadlines.armed != Some(next) {
                self.deadlines.armed = Some(next);
                self.deadlines.timer.as_mut().reset(next);
            }
            ready!(self.deadlines.timer.as_mut().poll(cx));
            self.deadlines.armed = None;
            if login == Some(next) {
                return Poll::Ready(End::Timeout);
            }
            if self.deadlines.stalled == Some(next) {
                return Poll::Ready(End::Stalled);
            }
            if closing == Some(next) {
                return Poll::Ready(match leaving {
                    true => End::Cut,
                    false => End::Lifetime,
                });
            }
            if lifetime == Some(next) || again == Some(next) {
                if lifetime == Some(next) {
                    self.retire();
                }
                // There is something to do again.
                self.deadlines.retry = None;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if certificate == Some(next) {
                if !self.is_welcome() {
                    return self.poll_last_words(cx);
                }
                continue;
            }
            if stranded == Some(next) {
                return Poll::Ready(End::Upstream);
            }
            if probe == Some(next) {
                if self.downstream.is_broken() {
                    return Poll::Ready(End::Client);
                }
                self.deadlines.probe = Some(next + PROBE);
                continue;
            }
            // One look a period costs less than a clock read a command; so an idle session is
            // closed after one to two periods.
            // Who listens is not idle, as in Redis.
            let idle = self.session.is_settled()
                && !self.session.is_listening()
                && self.deadlines.retry.is_none()
                && !self.is_paced();
            if !self.deadlines.active && idle {
                return Poll::Ready(End::Timeout);
            }
            self.deadlines.active = false;
            if let Some((idle, period)) = &mut self.deadlines.idle {
                *idle = next + *period;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_began_together_or_are_too_old_already_end_apart() {
        let began = Instant::now();
        let (most, second) = (Duration::from_secs(100), Duration::from_secs(1));
        let end = |chance, age: u32| end_of_life(most, chance, began, began + second * age);
        assert_eq!(end(0, 0) - began, second * 90);
        assert_eq!(end(SPREAD / 2, 0) - began, second * 100);
        assert!(end(SPREAD - 1, 0) - began < second * 110);
        assert_eq!(end(SPREAD / 2, 500) - began, second * 510);
        let year = Duration::from_secs(365 * 24 * 3600);
        assert!(
            end_of_life(year, SPREAD - 1, began, began) > began + year,
            "no overflow"
        );
    }
}
