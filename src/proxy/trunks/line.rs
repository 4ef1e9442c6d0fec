//! One shared connection: the task that reads and writes it, and its riders' way to it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep_until};

use crate::session::{Desync, Load, Rider, Trunk};
use crate::telemetry::Event;
use crate::tls;

use super::{Key, Opened};
use crate::proxy::availability::Tenure;
use crate::proxy::budget::{Budget, LEAST_UNREAD};
use crate::proxy::metrics::{Counted, ThreadMetrics};
use crate::proxy::service::Service;
use crate::proxy::spare;
use crate::proxy::upstream::UpstreamStream;

/// A shared connection, as its riders see it.
#[derive(Debug)]
pub(in crate::proxy) struct Line {
    trunk: RefCell<Trunk>,
    /// What wakes each rider, by its number.
    riders: RefCell<Vec<Waker>>,
    /// What wakes the task.
    task: RefCell<Waker>,
    /// It has been woken, and hasn't looked yet.
    is_awake: Cell<bool>,
    /// Riders that wait until some of what is to be written is gone.
    waiting: RefCell<Vec<u32>>,
    closed: Cell<bool>,
    /// Somebody must read first; or had to, and it hasn't answered since.
    hindered: Cell<bool>,
    /// Something was sent since the last tick.
    active: Cell<bool>,
    /// Nothing was, for a while: it is checked before it is used again.
    stale: Cell<bool>,
    /// When it ends, nobody sends over it any more.
    tenure: Tenure,
}

/// Reads and writes it.
struct Driver {
    line: Rc<Line>,
    stream: UpstreamStream,
    tick: Interval,
    /// Ticks without riders.
    deserted: u32,
    /// Ticks since its master was put out of use.
    retired: u32,
    /// Times that a batch has waited for more.
    yielded: u32,
    slow: Option<Slow>,
    /// The canary whose answer shows that it has outlived its hindrance, by its number.
    proof: Option<u64>,
    /// What a rider may leave unread, unless there is no memory for it.
    most_unread: usize,
    budget: Arc<Budget>,
    metrics: Arc<ThreadMetrics>,
    /// The number of the upstream.
    upstream: usize,
    /// The canary that is timed, by its number, and when it went.
    timed: Option<(u64, Instant)>,
}

/// The rider that the others wait for.
struct Slow {
    rider: Rider,
    taken: u64,
    timer: Pin<Box<Sleep>>,
}

/// Why a shared connection ends.
enum Ending {
    /// The upstream hung up, or the connection broke.
    Closed(Option<io::Error>),
    /// Nobody used it any more.
    Deserted,
    /// It leads to a server that isn't the master any more, or not the one in use.
    Retired,
    /// A session has noticed that its replies can't be its own, and has told so.
    Failed,
    Desync(Desync),
}

/// How often a batch lets the other sessions run, and the system be asked for news, before it is
/// written: what they add goes with it. Without pipelining that is what makes batches at all.
const YIELDS: u32 = 1;

/// A batch of this size is written at once: Redis can work on it while the next one grows. (Pipelines of
/// 64 get 5 to 15 % more through than where they wait for others.)
const ENOUGH: usize = 4 * 1024;

/// Read at once. Replies to many clients come together.
const READ: usize = 64 * 1024;

/// What may wait to be written. Who comes on top of it keeps his requests meanwhile, and is read no
/// further: that is how a busy Redis is felt by clients.
const MOST_UNWRITTEN: usize = 1024 * 1024;

/// Replies that a rider may be owed before its next requests wait. The others come behind what it has
/// sent, so a pipeline goes in pieces, as a Redis takes those of its clients in turn: it reads 16 KB of
/// each, some 500 requests. With twice that it has always something to do.
const MOST_OWED: u32 = 1024;

/// The rhythm of what needs no haste: how long nothing is sent before the connection counts as idle.
const TICK: Duration = Duration::from_secs(1);

/// A connection without riders is closed after so many ticks. A client that connects for each command
/// finds it open.
const DESERTED: u32 = 60;

/// What is owed on a connection to a server that isn't in use any more comes within so many ticks, or
/// never: that server may hang.
const RETIRED: u32 = 5;

/// While others wait for a large reply's reader, it must take so much in so much time: 1 MB a second.
/// A healthy client takes a thousand times as much, and one that is slower would hold the others up for
/// half a minute before `max_reply_buffer` is free again.
const SLOW_AFTER: Duration = Duration::from_millis(250);
const SLOW_BELOW: u64 = 256 * 1024;

// === impl Line ===

impl Line {
    pub(super) fn start(
        service: &Arc<Service>,
        metrics: &Arc<ThreadMetrics>,
        key: Key,
        opened: Opened,
        counted: Counted,
    ) -> Rc<Self> {
        let Opened {
            stream,
            permit,
            tenure,
        } = opened;
        let mut seed = [0; 16];
        // Without chance numbers a canary is still one that no client knows of.
        let _ = tls::random(&mut seed);
        let most_unread = service.keeper.rules().settings().max_reply_buffer;
        let line = Rc::new(Self {
            trunk: RefCell::new(Trunk::new(seed, most_unread, key.1.scripts)),
            riders: RefCell::default(),
            task: RefCell::new(Waker::noop().clone()),
            is_awake: Cell::new(false),
            waiting: RefCell::default(),
            closed: Cell::new(false),
            hindered: Cell::new(false),
            active: Cell::new(false),
            stale: Cell::new(false),
            tenure,
        });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut driver = Driver {
            line: Rc::clone(&line),
            stream,
            tick,
            deserted: 0,
            retired: 0,
            yielded: 0,
            slow: None,
            proof: None,
            most_unread,
            budget: Arc::clone(&service.budget),
            metrics: Arc::clone(metrics),
            upstream: key.0,
            timed: None,
        };
        let service = Arc::clone(service);
        tokio::task::spawn_local(async move {
            let ending = std::future::poll_fn(|cx| driver.poll(cx)).await;
            if let Ending::Desync(error) = &ending
                && *error != Desync::Credential
            {
                driver.metrics.upstreams[key.0].desyncs.add(1);
            }
            tell(&service, key, &ending);
            driver.line.close();
            drop((permit, counted));
        });
        line
    }

    /// A place for one more.
    pub(super) fn board(&self) -> Rider {
        let rider = self.trunk.borrow_mut().board();
        let mut riders = self.riders.borrow_mut();
        let index = rider.index() as usize;
        if riders.len() <= index {
            riders.resize(index + 1, Waker::noop().clone());
        }
        rider
    }

    /// Whom to wake when something has come for this rider.
    pub(in crate::proxy) fn listen(&self, rider: Rider, waker: &Waker) {
        if let Some(place) = self.riders.borrow_mut().get_mut(rider.index() as usize) {
            place.clone_from(waker);
        }
    }

    pub(super) fn leave(&self, rider: Rider) {
        let mut trunk = self.trunk.borrow_mut();
        if trunk.taken(rider).is_none() {
            return;
        }
        trunk.leave(rider);
        if let Some(place) = self.riders.borrow_mut().get_mut(rider.index() as usize) {
            *place = Waker::noop().clone();
        }
        if self.hindered.get() {
            self.wake();
        }
    }

    /// Sends whole requests. Returns whether there was room for them; if not, the rider is woken when
    /// there is.
    pub(in crate::proxy) fn send(&self, rider: Rider, load: Load<'_>) -> bool {
        let mut trunk = self.trunk.borrow_mut();
        if trunk.unwritten().len() > MOST_UNWRITTEN {
            let mut waiting = self.waiting.borrow_mut();
            // It may ask at each byte that its client sends.
            if !waiting.contains(&rider.index()) {
                waiting.push(rider.index());
            }
            return false;
        }
        if trunk.owed(rider) > MOST_OWED {
            // Each of these wakes it.
            return false;
        }
        if self.stale.take() {
            trunk.check();
        }
        self.active.set(true);
        trunk.send(rider, load);
        drop(trunk);
        self.wake();
        true
    }

    /// Takes what has come for a rider, or the next piece of it.
    pub(in crate::proxy) fn take(&self, rider: Rider) -> Option<BytesMut> {
        let taken = self.trunk.borrow_mut().take(rider);
        if taken.is_some() && self.hindered.get() {
            self.wake();
        }
        taken
    }

    /// Bytes that wait here for a rider.
    #[inline]
    pub(in crate::proxy) fn unread(&self, rider: Rider) -> usize {
        self.trunk.borrow().unread(rider)
    }

    /// Whether the rider is owed replies, or hasn't taken all that have come.
    pub(in crate::proxy) fn owes(&self, rider: Rider) -> bool {
        let trunk = self.trunk.borrow();
        trunk.owed(rider) > 0 || trunk.has_left(rider)
    }

    /// Whether it leads to where nobody should send anything any more.
    pub(in crate::proxy) fn is_retired(&self) -> bool {
        self.tenure.is_over()
    }

    /// Whether the rider was put off: the others have waited long enough for it.
    pub(in crate::proxy) fn has_cut(&self, rider: Rider) -> bool {
        self.trunk.borrow().taken(rider).is_none()
    }

    /// Whether nothing more comes.
    pub(in crate::proxy) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether a rider that takes its time holds up the replies of the others, or has until just now.
    pub(in crate::proxy) fn is_hindered(&self) -> bool {
        self.hindered.get()
    }

    /// Asks whether all is well: a rider was told that it isn't.
    pub(in crate::proxy) fn doubt(&self) {
        self.trunk.borrow_mut().check();
        self.wake();
    }

    /// Ends it: what a rider was told there can't be true.
    pub(in crate::proxy) fn fail(&self) {
        self.close();
        self.wake();
    }

    fn close(&self) {
        self.closed.set(true);
        self.riders.borrow().iter().for_each(Waker::wake_by_ref);
    }

    fn wake(&self) {
        if !self.is_awake.replace(true) {
            self.task.borrow().wake_by_ref();
        }
    }
}

/// Asks a connection that nobody hinders any more whether it is still there; returns whether it has said
/// so. While it wasn't read its server may have died: what that had sent before is still on its way then,
/// and looks like life.
fn prove(proof: &mut Option<u64>, trunk: &mut Trunk) -> bool {
    let (sent, seen) = trunk.canaries();
    match *proof {
        Some(number) => seen > number,
        None => {
            *proof = Some(sent);
            trunk.check();
            false
        }
    }
}

/// Writes why a shared connection has ended.
fn tell(service: &Service, (upstream, _): Key, ending: &Ending) {
    let upstream = service.upstreams[upstream].name();
    match ending {
        Ending::Deserted => {
            tracing::debug!(upstream, "a shared connection is closed: nobody uses it")
        }
        Ending::Retired => {
            tracing::debug!(
                upstream,
                "a shared connection is closed: the master is elsewhere"
            );
        }
        Ending::Failed => {
            tracing::warn!(
                upstream,
                "a shared connection is closed: a session's replies were out of step"
            );
        }
        Ending::Closed(error) => {
            let error = error.as_ref().map(tracing::field::display);
            tracing::warn!(
                upstream,
                error,
                "the upstream has closed a shared connection"
            );
        }
        Ending::Desync(Desync::Credential) => {
            tracing::warn!(
                upstream,
                "a shared connection is closed: the upstream asks for our AUTH"
            );
        }
        Ending::Desync(error) => {
            tracing::error!(
                upstream,
                %error,
                "replies out of step on a shared connection: it is closed, and every session that it owes"
            );
            service.audit.write(&Event {
                event: "desync",
                reason: "desync",
                detail: Some(format!("upstream {upstream}: {error}")),
                ..Event::default()
            });
        }
    }
}

// === impl Driver ===

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.line.is_awake.set(false);
        {
            let mut task = self.line.task.borrow_mut();
            if !task.will_wake(cx.waker()) {
                task.clone_from(cx.waker());
            }
        }
        while self.tick.poll_tick(cx).is_ready() {
            if self.is_deserted() {
                return Poll::Ready(Ending::Deserted);
            }
            if self.is_retired() {
                return Poll::Ready(Ending::Retired);
            }
        }
        if self.line.closed.get() {
            return Poll::Ready(Ending::Failed);
        }
        if let Poll::Ready(ending) = self.poll_read(cx) {
            return Poll::Ready(ending);
        }
        self.write(cx)
    }

    /// Once a second.
    fn is_deserted(&mut self) -> bool {
        let trunk = self.line.trunk.borrow();
        if !self.line.active.take() && trunk.is_idle() {
            self.line.stale.set(true);
        }
        self.deserted = if trunk.riders() == 0 {
            self.deserted + 1
        } else {
            0
        };
        self.deserted > DESERTED
    }

    /// Once a second.
    fn is_retired(&mut self) -> bool {
        if !self.line.is_retired() {
            return false;
        }
        self.retired += 1;
        self.retired > RETIRED || self.line.trunk.borrow().is_idle()
    }

    /// Reads and hands over until there is nothing more, or somebody must read first.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            let mut trunk = self.line.trunk.borrow_mut();
            let is_short = self.budget.is_used_up();
            trunk.set_max_unread(match is_short {
                true => self.most_unread.min(LEAST_UNREAD),
                false => self.most_unread,
            });
            let hindrance = trunk.hindrance();
            if is_short && hindrance.is_some() {
                self.budget.want();
            }
            if let Some(rider) = hindrance {
                self.line.hindered.set(true);
                self.proof = None;
                let put_off = self.slow.as_mut().is_some_and(|slow| slow.rider == rider);
                if !put_off {
                    // It may leave its replies here because of its own limits: no longer now.
                    if let Some(waker) = self.line.riders.borrow().get(rider.index() as usize) {
                        waker.wake_by_ref();
                    }
                    self.slow = Some(Slow {
                        rider,
                        taken: trunk.taken(rider).unwrap_or_default(),
                        timer: Box::pin(sleep_until(Instant::now() + SLOW_AFTER)),
                    });
                }
                let Some(slow) = &mut self.slow else {
                    return Poll::Pending;
                };
                ready!(slow.timer.as_mut().poll(cx));
                let taken = trunk.taken(rider).unwrap_or_default();
                if taken - slow.taken < SLOW_BELOW && trunk.owes_others(rider) {
                    trunk.leave(rider);
                    self.slow = None;
                    drop(trunk);
                    if let Some(waker) = self.line.riders.borrow().get(rider.index() as usize) {
                        waker.wake_by_ref();
                    }
                    continue;
                }
                slow.taken = taken;
                slow.timer.as_mut().reset(Instant::now() + SLOW_AFTER);
                continue;
            }
            if self
                .slow
                .as_ref()
                .is_some_and(|slow| slow.timer.is_elapsed())
            {
                self.slow = None;
            }
            match spare::read(&mut self.stream, trunk.input(), READ, cx) {
                Poll::Pending => {
                    if self.line.hindered.get() {
                        let proven = prove(&mut self.proof, &mut trunk);
                        self.line.hindered.set(!proven);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(len)) if len > 0 => {
                    let riders = self.line.riders.borrow();
                    let delivered = trunk.deliver(spare::lend, |index| {
                        if let Some(waker) = riders.get(index as usize) {
                            waker.wake_by_ref();
                        }
                    });
                    if let Err(error) = delivered {
                        return Poll::Ready(Ending::Desync(error));
                    }
                    if let Some((number, sent)) = self.timed
                        && trunk.canaries().1 > number
                    {
                        let latency = &self.metrics.upstreams[self.upstream].latency;
                        latency.observe(sent.elapsed());
                        self.timed = None;
                    }
                }
                Poll::Ready(end) => return Poll::Ready(Ending::Closed(end.err())),
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let mut trunk = self.line.trunk.borrow_mut();
        if trunk.unwritten().is_empty() {
            return Poll::Pending;
        }
        if self.yielded < YIELDS && trunk.unwritten().len() < ENOUGH {
            self.yielded += 1;
            drop(trunk);
            // Nobody needs to wake it for more.
            self.line.is_awake.set(true);
            // Not before the others have run and the sockets were looked at.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        self.yielded = 0;
        trunk.batch();
        let (sent, seen) = trunk.canaries();
        if self.timed.is_none() && sent > seen {
            // The clock is read twice a canary, and so once in some dozens of commands.
            self.timed = Some((sent - 1, Instant::now()));
        }
        while !trunk.unwritten().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, trunk.unwritten()) {
                Poll::Ready(Ok(len)) if len > 0 => trunk.wrote(len),
                Poll::Pending => break,
                Poll::Ready(end) => return Poll::Ready(Ending::Closed(end.err())),
            }
        }
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
        if trunk.unwritten().len() <= MOST_UNWRITTEN {
            let riders = self.line.riders.borrow();
            for index in self.line.waiting.borrow_mut().drain(..) {
                if let Some(waker) = riders.get(index as usize) {
                    waker.wake_by_ref();
                }
            }
        }
        Poll::Pending
    }
}
