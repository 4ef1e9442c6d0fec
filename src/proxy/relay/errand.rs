//! What a session waits for that a thread of its own does.

use std::sync::mpsc::TryRecvError;

use crate::session::FilesError;

use super::Relay;

// === impl Relay ===

impl Relay<'_> {
    /// Looks whether it is done; the bell rings when it is.
    #[cold]
    pub(super) fn look_at_errand(&mut self) {
        let Some(errand) = &self.host.errand else {
            if !self.service.keeper.is_held() {
                self.session.take_turn();
            }
            return;
        };
        let done = match errand.try_recv() {
            Ok(done) => done,
            Err(TryRecvError::Empty) => return,
            // A panic, which was told by its hook.
            Err(TryRecvError::Disconnected) => Err(FilesError::Failed("it broke off".to_owned())),
        };
        self.host.errand = None;
        self.session.conclude_errand(&done, &mut self.down);
    }
}
