//! Handshakes take turns, so that however many come at once, who is in is served between them.
//!
//! A step of a handshake is some 0.2 ms of arithmetic. A thousand that are due at once would hold up
//! every session of the worker for as long as all of them take.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

/// A worker's turns.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

/// Steps between two looks at everything else: 2 ms at most. With one alone, clients that all connect
/// anew to a busy worker would not be in before their deadline.
const AT_ONCE: usize = 8;

/// Remembers that a future wants to be polled.
struct Wanted(Notify);

// === impl Turns ===

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Turns {
    /// Does the work to its end, each step in its turn.
    pub(super) async fn take<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let wanted = Arc::new(Wanted(Notify::new()));
        let waker = Waker::from(Arc::clone(&wanted));
        loop {
            // Never closed; if it were, nobody would have to wait.
            let turn = self.0.acquire().await;
            let step = work.as_mut().poll(&mut Context::from_waker(&waker));
            // The turn is given up only when all that was ready has been served, and sockets looked at.
            yield_now().await;
            drop(turn);
            match step {
                Poll::Ready(done) => return done,
                Poll::Pending => wanted.0.notified().await,
            }
        }
    }
}

// === impl Wanted ===

impl Wake for Wanted {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// A worker with so many handshakes of three steps, and the most steps that one session has seen
    /// between two turns of its own.
    async fn most_steps_between(handshakes: usize) -> usize {
        let turns = Rc::new(Turns::default());
        let steps = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..handshakes)
            .map(|_| {
                let (turns, steps) = (Rc::clone(&turns), Rc::clone(&steps));
                spawn_local(async move {
                    let mut left = 3;
                    let work = poll_fn(|cx| {
                        steps.set(steps.get() + 1);
                        left -= 1;
                        cx.waker().wake_by_ref();
                        if left == 0 {
                            Poll::Ready(7)
                        } else {
                            Poll::Pending
                        }
                    });
                    assert_eq!(turns.take(work).await, 7);
                })
            })
            .collect();
        let (mut seen, mut most) = (0, 0);
        while steps.get() < 3 * handshakes {
            yield_now().await;
            most = most.max(steps.get() - seen);
            seen = steps.get();
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(steps.get(), 3 * handshakes);
        most
    }

    #[tokio::test]
    async fn a_session_is_served_between_a_few_steps_of_handshakes() {
        let local = LocalSet::new();
        let most = local.run_until(most_steps_between(500)).await;
        assert!((1..=2 * AT_ONCE).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn who_gives_up_gives_his_turn_back() {
        let turns = Turns::default();
        for _ in 0..3 * AT_ONCE {
            let never = turns.take(std::future::pending::<()>());
            let wait = std::time::Duration::from_millis(1);
            assert!(tokio::time::timeout(wait, never).await.is_err());
        }
        assert_eq!(turns.take(async { 1 }).await, 1);
    }
}
