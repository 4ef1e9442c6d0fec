//! The wait between two attempts to open a control connection.

use std::time::Duration;

use crate::tls;

/// Doubling waits, of which one half is by chance: many proxies that have lost the same upstream don't
/// come back to it all at once, and none waits for next to nothing.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    step: u32,
}

/// From: while it is away for a moment only, as in a restart, clients are closed. To: what somebody
/// waits, at most, who looks whether it is back; clients that want it make it shorter.
const FROM: Duration = Duration::from_millis(100);
const TO: Duration = Duration::from_secs(2);

// === impl Backoff ===

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.step = 0;
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = (FROM * 2_u32.saturating_pow(self.step)).min(TO);
        // Five doublings reach the end.
        self.step = (self.step + 1).min(8);
        jittered(wait, chance())
    }

    /// The wait where somebody asks for an attempt: as short as the shortest.
    pub(super) fn when_wanted() -> Duration {
        jittered(FROM, chance())
    }
}

/// Half of `wait`, and of the other half the part that `chance` is of 255.
fn jittered(wait: Duration, chance: u8) -> Duration {
    wait / 2 + wait / 2 * u32::from(chance) / 255
}

fn chance() -> u8 {
    let mut byte = [0];
    // Without chance numbers TLS does not work either; all wait for as long as can be, then.
    if tls::random(&mut byte) { byte[0] } else { 255 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_wait_is_by_chance() {
        let wait = Duration::from_millis(100);
        assert_eq!(jittered(wait, 0), Duration::from_millis(50));
        assert_eq!(jittered(wait, 255), wait);
        assert!(jittered(wait, 100) < jittered(wait, 101));
    }

    #[test]
    fn waits_double_and_end_at_two_seconds() {
        let mut backoff = Backoff::default();
        for most in [100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000, 2000] {
            let most = Duration::from_millis(most);
            let wait = backoff.next();
            assert!(most / 2 <= wait && wait <= most, "{wait:?} of {most:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FROM);
        assert!((FROM / 2..=FROM).contains(&Backoff::when_wanted()));
    }
}
