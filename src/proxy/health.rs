//! Whether an upstream is there: what its control connection has seen, as one of three states.
//!
//! Pure: time is an argument, nothing is opened or told here.
//!
//! | state | means | who wants a connection |
//! |---|---|---|
//! | Up | it was asked what it is, and its last PING is answered, or not long out | connects |
//! | Suspect | something is wrong, and nobody knows yet what | waits for the verdict, so that a hanging upstream isn't met by a connect of every client |
//! | Down | nobody can be served | is closed at once (see [`super::availability`]) |
//!
//! | from | to | when |
//! |---|---|---|
//! | Down | Suspect | it gives a first answer: it is there again, and is being asked what it is |
//! | any | Up | it has said what it is |
//! | Up | Suspect | a PING is unanswered for [`SUSPECT_AFTER`]; the control connection ends; it is no master any more |
//! | Suspect | Up | the PING is answered, by an error too (`-BUSY`, `-LOADING`); a new control connection gets such an excuse |
//! | any | Down | a connect is refused, or hung up on, or our login is |
//! | Suspect | Down | nothing was answered for [`DOWN_AFTER`] since it became doubtful |
//!
//! So one slow answer is no death, and an open port that doesn't answer isn't life.

use std::time::{Duration, Instant};

/// What is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It serves.
    Up,
    /// It may.
    Suspect,
    /// It doesn't.
    Down,
}

/// The state, and what it will turn into.
#[derive(Debug)]
pub(super) struct Health {
    state: State,
    since: Instant,
    /// Since when an answer is due.
    unanswered: Option<Instant>,
    /// It is suspect because it was down, and has begun to answer.
    stirring: bool,
}

/// A PING that waits for so long stands behind something slow. New connections wait then, which costs
/// them nothing: they would stand behind the same.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// Redis lets a script run for 5 seconds before it answers others (`-BUSY`), so twice that is a silence
/// which no healthy Redis keeps; Sentinel's own default (`down-after-milliseconds`) is 30.
const DOWN_AFTER: Duration = Duration::from_secs(10);

// === impl State ===

impl State {
    /// The label used in metrics and status. Stable.
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

// === impl Health ===

impl Health {
    /// Nothing is known: nobody is served.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Down,
            since: now,
            unanswered: None,
            stirring: false,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Since when it is so.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// A PING is sent.
    pub(super) fn asked(&mut self, now: Instant) {
        self.unanswered.get_or_insert(now);
    }

    /// It is answered, by whatever; or a new connection is told that nobody can be served just now.
    pub(super) fn heard(&mut self, now: Instant) {
        self.unanswered = None;
        match self.state {
            State::Suspect if self.stirring => self.turn(State::Down, now),
            State::Suspect => self.turn(State::Up, now),
            State::Up | State::Down => {}
        }
    }

    /// The control connection has ended, or leads to no master any more.
    pub(super) fn lost(&mut self, now: Instant) {
        if self.state == State::Up {
            self.turn(State::Suspect, now);
        }
        self.unanswered.get_or_insert(now);
    }

    /// A new control connection has got a first answer.
    pub(super) fn stirred(&mut self, now: Instant) {
        if self.state == State::Down {
            self.turn(State::Suspect, now);
            self.stirring = true;
            self.unanswered = Some(now);
        }
    }

    /// It has said what it is, and that is what it should be.
    pub(super) fn introduced(&mut self, now: Instant) {
        self.unanswered = None;
        self.turn(State::Up, now);
    }

    /// An attempt was refused, hung up on, or led to what can't be served.
    pub(super) fn refused(&mut self, now: Instant) {
        self.unanswered = None;
        self.turn(State::Down, now);
    }

    /// An attempt has met silence.
    pub(super) fn unheard(&mut self, now: Instant) {
        if self.stirring {
            self.refused(now);
        } else {
            self.tick(now);
        }
    }

    /// Time has passed. Returns whether that has changed the state.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        match self.deadline() {
            Some(deadline) if deadline <= now => {
                let next = match self.state {
                    State::Up => State::Suspect,
                    State::Suspect | State::Down => State::Down,
                };
                self.turn(next, now);
                true
            }
            _ => false,
        }
    }

    /// When the state changes unless something is heard.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let patience = match self.state {
            State::Up => SUSPECT_AFTER,
            State::Suspect => DOWN_AFTER,
            State::Down => return None,
        };
        Some(self.unanswered? + patience)
    }

    fn turn(&mut self, state: State, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
        self.stirring = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A health that is up, and a way to say when.
    fn up() -> (Health, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let mut health = Health::new(start);
        health.introduced(start);
        (health, move |ms| start + Duration::from_millis(ms))
    }

    #[test]
    fn nobody_is_served_before_it_has_said_what_it_is() {
        let start = Instant::now();
        let mut health = Health::new(start);
        assert_eq!((health.state(), health.deadline()), (State::Down, None));
        health.stirred(start);
        assert_eq!(health.state(), State::Suspect);
        health.introduced(start);
        assert_eq!((health.state(), health.deadline()), (State::Up, None));
    }

    #[test]
    fn a_slow_answer_is_no_death() {
        let (mut health, at) = up();
        health.asked(at(0));
        assert!(!health.tick(at(999)));
        assert!(health.tick(at(1000)));
        assert_eq!((health.state(), health.since()), (State::Suspect, at(1000)));
        // Still the same PING, however often it is asked for.
        health.asked(at(5000));
        assert!(!health.tick(at(9999)));
        health.heard(at(9999));
        assert_eq!((health.state(), health.since()), (State::Up, at(9999)));
        // Between two PINGs nothing is due.
        assert!(!health.tick(at(60_000)));
    }

    #[test]
    fn silence_is_death_in_the_end() {
        let (mut health, at) = up();
        health.asked(at(0));
        health.tick(at(1000));
        // It is given up for a new connection, which meets the same silence.
        health.lost(at(5000));
        health.unheard(at(9000));
        assert_eq!(health.state(), State::Suspect);
        assert_eq!(health.deadline(), Some(at(10_000)));
        assert!(health.tick(at(10_000)));
        assert_eq!((health.state(), health.deadline()), (State::Down, None));
        assert!(!health.tick(at(99_000)));
    }

    #[test]
    fn a_clock_that_jumps_goes_by_way_of_suspicion() {
        let (mut health, at) = up();
        health.asked(at(0));
        assert!(health.tick(at(60_000)));
        assert_eq!(health.state(), State::Suspect);
        assert!(health.tick(at(60_000)));
        assert_eq!(health.state(), State::Down);
    }

    #[test]
    fn an_end_of_the_connection_alone_proves_nothing_and_a_refused_one_does() {
        let (mut health, at) = up();
        health.lost(at(0));
        assert_eq!(health.state(), State::Suspect);
        health.introduced(at(1));
        assert_eq!((health.state(), health.deadline()), (State::Up, None));
        health.lost(at(2));
        health.refused(at(3));
        assert_eq!(health.state(), State::Down);
        // And who is down isn't made suspect by losing what it hasn't.
        health.lost(at(4));
        assert_eq!(health.state(), State::Down);
    }

    #[test]
    fn an_excuse_is_a_sign_of_life_of_whom_we_know() {
        let (mut health, at) = up();
        health.lost(at(0));
        health.heard(at(1));
        assert_eq!(health.state(), State::Up);
        // Of whom we don't know it is none.
        health.refused(at(2));
        health.heard(at(3));
        assert_eq!(health.state(), State::Down);
        health.stirred(at(4));
        health.heard(at(5));
        assert_eq!(health.state(), State::Down);
    }

    #[test]
    fn who_was_down_and_falls_silent_again_is_down_at_once() {
        let (mut health, at) = up();
        health.refused(at(0));
        health.stirred(at(1));
        health.unheard(at(2));
        assert_eq!(health.state(), State::Down);
        health.stirred(at(3));
        assert_eq!(health.state(), State::Suspect);
        assert_eq!(health.deadline(), Some(at(10_003)));
    }
}
