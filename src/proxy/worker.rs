//! Worker threads, each a single-threaded runtime: a session never migrates, so its buffers stay in
//! one core's cache and nothing on its path is contended.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::LocalSet;
use tokio::time::interval;

use super::acceptor::Arrival;
use super::connection;
use super::service::Service;
use super::trunks::Trunks;

/// The threads and the way to them.
#[derive(Debug)]
pub(super) struct Workers {
    dealer: Dealer,
    threads: Vec<JoinHandle<()>>,
}

/// Deals connections to the worker that has the fewest.
#[derive(Clone, Debug)]
pub(super) struct Dealer(Arc<[Lane]>);

/// One worker's inbox.
#[derive(Debug)]
struct Lane {
    sender: Sender<Arrival>,
    load: Arc<AtomicUsize>,
}

/// Connections that wait for their worker. It takes them between two sessions' turns; a worker that
/// is behind by more leaves the rest to the kernel's backlog.
const INBOX: usize = 256;

/// How long a connection to the upstream is kept that nobody uses, once to twice. Redis itself closes
/// none that was used in the last second (`timeout`).
const ROUND: Duration = Duration::from_secs(5);

/// A thread ends between two turns of its sessions. One that doesn't is stuck, as in a file system that
/// hangs, and must not keep the process from ending.
const LAST: Duration = Duration::from_secs(1);
const LAST_STEP: Duration = Duration::from_millis(1);

/// A connection's weight on its worker.
struct Load(Arc<AtomicUsize>);

// === impl Workers ===

impl Workers {
    /// Starts `count` threads; 0 is half of the cores and at least one. Redis runs its commands on
    /// one core; beside it, a proxy with as many threads as cores takes that core away from it. (On
    /// two cores that also run Redis and the load, two workers lost 30 % against one.)
    pub(super) fn start(service: &Arc<Service>, count: usize) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if count == 0 {
            (cores / 2).max(1)
        } else {
            count
        };
        let mut lanes = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count {
            // event_interval and global_queue_interval are tokio's own: with 50 clients and no
            // pipelines, 16 and 256 for the one and 8 and 255 for the other cost a command as much
            // processor time, or up to 8 % more (16).
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (sender, receiver) = channel(INBOX);
            let load = Arc::new(AtomicUsize::new(0));
            let lane = Lane {
                sender,
                load: Arc::clone(&load),
            };
            let service = Arc::clone(service);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let local = LocalSet::new();
                    local.spawn_local(service.heart.join().keep());
                    runtime.block_on(local.run_until(serve(service, receiver, load)));
                })?;
            lanes.push(lane);
            threads.push(thread);
        }
        Ok(Self {
            dealer: Dealer(lanes.into()),
            threads,
        })
    }

    pub(super) fn dealer(&self) -> Dealer {
        self.dealer.clone()
    }

    /// Ends the threads; sessions that are still open are dropped where they are, and what they have told
    /// the audit is written when the last thread is gone. One that hangs is left alone.
    pub(super) fn stop(self) {
        drop(self.dealer);
        let deadline = Instant::now() + LAST;
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(LAST_STEP);
            }
            if thread.is_finished() {
                // A panic was told by its thread's hook.
                let _ = thread.join();
            }
        }
    }
}

async fn serve(service: Arc<Service>, mut receiver: Receiver<Arrival>, load: Arc<AtomicUsize>) {
    let trunks = Trunks::new(Arc::clone(&service));
    let mut round = interval(ROUND);
    loop {
        let arrival = tokio::select! {
            arrival = receiver.recv() => match arrival {
                Some(arrival) => arrival,
                None => return,
            },
            _ = round.tick() => {
                trunks.tidy_up();
                continue;
            }
        };
        let weight = Load(Arc::clone(&load));
        let (service, trunks) = (Arc::clone(&service), Rc::clone(&trunks));
        tokio::task::spawn_local(connection::serve(service, trunks, arrival, weight));
    }
}

// === impl Dealer ===

impl Dealer {
    pub(super) async fn deal(&self, arrival: Arrival) {
        let Some(lane) = self
            .0
            .iter()
            .min_by_key(|lane| lane.load.load(Ordering::Relaxed))
        else {
            return;
        };
        lane.load.fetch_add(1, Ordering::Relaxed);
        // Fails only when the worker has ended; then the connection closes with the process.
        let _ = lane.sender.send(arrival).await;
    }
}

// === impl Load ===

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
