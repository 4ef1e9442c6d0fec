//! Wakes every session at once: a policy has changed, or the proxy drains.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Who is to be woken.
///
/// A channel's receiver would have to listen anew after each message, and ask for that at every
/// command. A waker is left here once, is there for every ring, and costs nothing in between.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<HashMap<u64, Waker>>);

// === impl Bell ===

impl Bell {
    /// From now on `waker` is woken at every ring. Whoever looks for news after this misses none.
    pub(super) fn listen(&self, session: u64, waker: &Waker) {
        self.wakers().insert(session, waker.clone());
    }

    /// The session is gone.
    pub(super) fn leave(&self, session: u64) {
        self.wakers().remove(&session);
    }

    /// Wakes all, after the news is there to be seen.
    pub(super) fn ring(&self) {
        // Copied first: waking takes a system call each, and sessions come and go meanwhile.
        let wakers: Vec<Waker> = self.wakers().values().cloned().collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Wakes one, after what it is to see is there.
    pub(super) fn wake(&self, session: u64) {
        if let Some(waker) = self.wakers().get(&session) {
            waker.wake_by_ref();
        }
    }

    fn wakers(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        // No step in here can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_ring_wakes_who_listens_and_nobody_else() {
        let bell = Bell::default();
        let (stays, leaves) = (Arc::new(Count::default()), Arc::new(Count::default()));
        bell.listen(1, &Waker::from(Arc::clone(&stays)));
        bell.listen(2, &Waker::from(Arc::clone(&leaves)));
        bell.ring();
        bell.leave(2);
        bell.ring();
        assert_eq!(stays.0.load(Ordering::Relaxed), 2);
        assert_eq!(leaves.0.load(Ordering::Relaxed), 1);
    }
}
