//! What the host takes its time for. Meanwhile the session takes no more requests, so that replies stay
//! in order; what is owed goes on.

use super::acl::{self, Errand, FilesError};
use super::pipe::Pipe;
use super::state::{OUTDATED, Session};

/// What a session waits for that only its host knows of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Waiting {
    /// The end of its own errand, whose request is taken.
    Errand(Errand),
    /// The end of somebody else's. The request is still at the front, and is judged anew.
    Turn,
}

// === impl Session ===

impl Session {
    /// Whether it waits for its own errand, of which it must be told, or for the end of another's.
    #[inline]
    pub fn waits_for_host(&self) -> bool {
        self.waiting.is_some()
    }

    /// Its errand is done. Where that worked, the rules are others.
    pub fn conclude_errand(&mut self, done: &Result<(), FilesError>, down: &mut Pipe) {
        let Some(Waiting::Errand(errand)) = self.waiting else {
            return;
        };
        self.waiting = None;
        // Who has lost his own user by it has adopted them already.
        if done.is_ok() && !self.has_ended() {
            self.generation = OUTDATED;
        }
        self.scratch.clear();
        acl::conclude(errand, done, &mut self.scratch);
        self.reply_local(down);
        self.silence.spend(&mut self.slots);
    }

    /// Nobody's errand is under way.
    pub fn take_turn(&mut self) {
        if self.waiting == Some(Waiting::Turn) {
            self.waiting = None;
        }
    }
}
