//! One budget for the memory that all clients make us hold: requests that wait for their verdict or for
//! the upstream, and replies that nobody takes.
//!
//! It is counted by what each session holds at the end of a poll, and only where that is more than what
//! everybody may: most sessions hold nothing then, and never come here. While it is used up who holds
//! more than that is read no further, so it goes over by no more than what is read at once.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::service::Service;

/// What is held, and how much may be.
#[derive(Debug)]
pub(super) struct Budget {
    most: AtomicUsize,
    used: AtomicUsize,
    /// Times that somebody wanted more, and there was none.
    wanted: AtomicU64,
    /// The session that may go over it, to end a request that has begun; 0: nobody. Where all had their
    /// even share, none of them would ever have a whole one.
    turn: AtomicU64,
    /// Who holds some of it, or has held, by session.
    accounts: Mutex<HashMap<u64, Arc<Account>>>,
}

/// What one session holds.
#[derive(Debug, Default)]
struct Account {
    held: AtomicUsize,
    /// Bytes that it has passed on since ever.
    passed: AtomicU64,
    /// It would take more of its client's request, and there is no memory: it isn't its fault that it
    /// passes nothing on.
    waits: AtomicBool,
    /// It is to end.
    cut: AtomicBool,
}

/// One session's part of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Holding {
    budget: Arc<Budget>,
    session: u64,
    /// `None`: it has never held more than [`FREE`].
    account: Option<Arc<Account>>,
    booked: usize,
    /// It isn't read, for want of memory.
    waits: bool,
    /// It is its turn to go over the budget.
    has_turn: bool,
}

/// How much memory clients make us hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// Bytes that count.
    pub used: usize,
    /// How many these may be.
    pub most: usize,
    /// Sessions that hold some of them.
    pub holders: usize,
}

/// What every session may hold uncounted, in each direction: the largest request that goes over a shared
/// connection, and a batch of replies. With so much anybody makes progress, whatever others do.
pub(super) const FREE: usize = 64 * 1024;

/// Who could not be read because of the others looks again after so long: nobody tells it.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// What a client may leave unread on a shared connection while the budget is used up, before the others'
/// replies wait for it: the least that `max_reply_buffer` can be.
pub(super) const LEAST_UNREAD: usize = 256 * 1024;

/// How often somebody looks whether it goes on.
const LOOK: Duration = Duration::from_millis(250);

/// Looks in a row that find it used up, and somebody who waits, before a client is cut: a healthy one
/// has taken all that waits for it long before.
const PATIENCE: u32 = 4;

/// Who passes on so much from look to look gets its time: 1 MB a second, as on a shared connection.
const SLOW_BELOW: u64 = 256 * 1024;

// === impl Budget ===

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most),
            used: AtomicUsize::new(0),
            wanted: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            accounts: Mutex::default(),
        })
    }

    /// Another size from now on.
    pub(super) fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Whether there is nothing left.
    #[inline]
    pub(super) fn is_used_up(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed)
    }

    /// Somebody wants more, and must wait.
    pub(super) fn want(&self) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether this session may go over it.
    fn take_turn(&self, session: u64) -> bool {
        let taken = self
            .turn
            .compare_exchange(0, session, Ordering::Relaxed, Ordering::Relaxed);
        taken.is_ok() || taken == Err(session)
    }

    /// The next one may.
    fn end_turn(&self, session: u64) {
        // Another one has it, or nobody.
        let _ = self
            .turn
            .compare_exchange(session, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What is held now.
    pub(super) fn memory(&self) -> Memory {
        // Who has held some keeps his account, to hold more.
        let holds = |account: &&Arc<Account>| account.held.load(Ordering::Relaxed) > 0;
        Memory {
            used: self.used.load(Ordering::Relaxed),
            most: self.most.load(Ordering::Relaxed),
            holders: self.lock().values().filter(holds).count(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Account>>> {
        // No step in here can be half done.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Holding ===

impl Holding {
    pub(super) fn new(budget: &Arc<Budget>, session: u64) -> Self {
        Self {
            budget: Arc::clone(budget),
            session,
            account: None,
            booked: 0,
            waits: false,
            has_turn: false,
        }
    }

    /// The session holds so many bytes now, and has passed on so many since it began.
    #[inline]
    pub(super) fn book(&mut self, held: usize, passed: u64) {
        if held > FREE || self.booked > 0 {
            self.book_much(held, passed);
        }
    }

    #[inline(never)]
    fn book_much(&mut self, held: usize, passed: u64) {
        // In steps: a session at work doesn't come to what all share for every few bytes.
        let booked = match held > FREE {
            true => held.next_multiple_of(FREE),
            false => 0,
        };
        if booked == 0 {
            self.end_turn();
        }
        let account = match &self.account {
            Some(account) => account,
            None => {
                let account = Arc::default();
                self.budget
                    .lock()
                    .insert(self.session, Arc::clone(&account));
                self.account.insert(account)
            }
        };
        account.passed.store(passed, Ordering::Relaxed);
        account.waits.store(self.waits, Ordering::Relaxed);
        if booked > self.booked {
            self.budget
                .used
                .fetch_add(booked - self.booked, Ordering::Relaxed);
        } else if booked < self.booked {
            self.budget
                .used
                .fetch_sub(self.booked - booked, Ordering::Relaxed);
        }
        if booked != self.booked {
            account.held.store(booked, Ordering::Relaxed);
            self.booked = booked;
        }
    }

    /// Whether a session that has so much in one direction must not have more there now.
    #[inline]
    pub(super) fn must_wait(&self, held: usize) -> bool {
        let waits = held > FREE && self.budget.is_used_up();
        if waits {
            self.budget.want();
        }
        waits
    }

    /// The same for what its client sends, of which so much is a request that isn't whole enough to be
    /// judged.
    #[inline]
    pub(super) fn must_wait_to_read(&mut self, held: usize, begun: usize) -> bool {
        self.waits = held > FREE && self.budget.is_used_up();
        if self.waits && begun > FREE && self.budget.take_turn(self.session) {
            self.has_turn = true;
            self.waits = false;
            return false;
        }
        // Where there is memory again, or something else is waited for.
        self.end_turn();
        if self.waits {
            self.budget.want();
        }
        self.waits
    }

    fn end_turn(&mut self) {
        if std::mem::take(&mut self.has_turn) {
            self.budget.end_turn(self.session);
        }
    }

    /// Whether it is to end, for the others' sake.
    #[inline]
    pub(super) fn is_cut(&self) -> bool {
        let cut = |account: &Arc<Account>| account.cut.load(Ordering::Relaxed);
        self.account.as_ref().is_some_and(cut)
    }

    /// Bytes that count.
    pub(super) fn booked(&self) -> usize {
        self.booked
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.end_turn();
        if self.account.take().is_some() {
            self.budget.used.fetch_sub(self.booked, Ordering::Relaxed);
            self.budget.lock().remove(&self.session);
        }
    }
}

/// Looks for as long as the process lives whether the budget moves, and cuts who holds most where it
/// doesn't.
pub(super) async fn watch(service: Arc<Service>) {
    let mut judge = Judge::default();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for session in judge.look(&service.budget) {
            service.bell.wake(session);
        }
    }
}

/// Says who is to be cut.
#[derive(Debug, Default)]
struct Judge {
    /// Looks in a row that found it used up.
    looks: u32,
    wanted: u64,
    /// What each holder had passed on when it was used up first.
    passed: HashMap<u64, u64>,
    /// Whose turn it was then.
    turn: u64,
}

// === impl Judge ===

impl Judge {
    /// The sessions that must end: the largest that pass on too little, until the rest fits. Who had its
    /// turn all the time comes first, who only waits for memory last.
    fn look(&mut self, budget: &Budget) -> Vec<u64> {
        let wanted = budget.wanted.load(Ordering::Relaxed);
        let is_wanted = std::mem::replace(&mut self.wanted, wanted) != wanted;
        if !budget.is_used_up() || !is_wanted {
            self.looks = 0;
            return Vec::new();
        }
        let accounts = budget.lock();
        let passed = |account: &Account| account.passed.load(Ordering::Relaxed);
        if self.looks == 0 {
            let all = accounts.iter();
            self.passed = all.map(|(id, account)| (*id, passed(account))).collect();
            self.turn = budget.turn.load(Ordering::Relaxed);
        }
        self.looks += 1;
        if self.looks <= PATIENCE {
            return Vec::new();
        }
        let enough = SLOW_BELOW * u64::from(self.looks - 1);
        let mut slow: Vec<_> = accounts
            .iter()
            // Who has come meanwhile has had no time yet.
            .filter(|(id, account)| {
                let before = self.passed.get(id);
                before.is_some_and(|before| passed(account) - before < enough)
            })
            .map(|(id, account)| (account.held.load(Ordering::Relaxed), *id, account))
            .filter(|(held, ..)| *held > 0)
            .collect();
        let turn = budget.turn.load(Ordering::Relaxed);
        slow.sort_unstable_by_key(|(held, id, account)| {
            let idles = *id == turn && turn == self.turn;
            let waits = account.waits.load(Ordering::Relaxed);
            (!idles, waits, Reverse(*held), *id)
        });
        let mut used = budget.used.load(Ordering::Relaxed);
        let most = budget.most.load(Ordering::Relaxed);
        let mut cut = Vec::new();
        for (held, id, account) in slow {
            if used < most {
                break;
            }
            used = used.saturating_sub(held);
            account.cut.store(true, Ordering::Relaxed);
            cut.push(id);
        }
        self.looks = 0;
        cut
    }
}

#[cfg(test)]
mod tests;
