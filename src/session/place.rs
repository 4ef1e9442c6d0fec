//! Which database a session is in. Redis tells it only by its replies, so while one is owed there
//! may be several.

use crate::command::database;
use crate::policy::Whereabouts;
use crate::resp::Args;

use super::slots::Transaction;

/// The database that a SELECT names.
///
/// A plain number for the sake of the slots' size: `Option<u32>` would make each of them half as
/// large again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Target(u32);

/// Every database that the next request may run in.
///
/// After every reply, the server is in one of `now`, and in one of `now` and `queued` after an
/// EXEC. A SELECT that is on its way may or may not have been taken, so its database counts from
/// the moment it is forwarded, and is struck off no earlier than when the last of them is answered:
/// between two replies the set only grows. That keeps it right without a look at the queue, and
/// costs a pipeline of many SELECTs nothing but waiting.
#[derive(Debug)]
pub(super) struct Place {
    /// By the replies that came.
    now: Set,
    /// What is selected once the open transaction is run.
    queued: Set,
    /// All of that, and what is on its way.
    possible: Set,
    /// SELECTs that are not answered yet.
    in_flight: u32,
}

/// A few databases, without a heap.
#[derive(Clone, Copy, Debug)]
struct Set {
    members: [u32; MOST],
    len: u8,
    /// More than `MOST`, or one that nobody can tell.
    any: bool,
}

/// Redis has 16 databases unless it is told otherwise. A client that plays with more of them in one
/// pipeline waits for its replies.
const MOST: usize = 16;

// === impl Target ===

impl Target {
    /// For SELECTs whose argument nobody has looked at.
    pub(super) const UNKNOWN: Self = Self(u32::MAX);

    /// What a SELECT asks for. 2.8 and 3.0 take `+1`, `01` and `1\0x` too: those are nobody's
    /// guess.
    pub(super) fn of(args: &Args<'_>) -> Self {
        args.get(1).and_then(database).map_or(Self::UNKNOWN, Self)
    }

    /// The database's number, where it can be told.
    pub(super) fn number(self) -> Option<u32> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

// === impl Place ===

impl Default for Place {
    /// Where every connection begins.
    fn default() -> Self {
        Self {
            now: Set::ZERO,
            queued: Set::EMPTY,
            possible: Set::ZERO,
            in_flight: 0,
        }
    }
}

impl Place {
    /// On a connection that has selected this database.
    pub(super) fn at(database: u32) -> Self {
        let mut place = Self {
            now: Set::EMPTY,
            ..Self::default()
        };
        place.now.insert(Target(database));
        place.settle();
        place
    }

    /// The one database that it can be. A SELECT of it may be on its way: whatever comes of that, it is
    /// this one.
    pub(super) fn single(&self) -> Option<u32> {
        match self.possible.members() {
            [database] if !self.possible.any => Some(*database),
            _ => None,
        }
    }

    /// What a request is judged by.
    #[inline]
    pub(super) fn whereabouts(&self) -> Whereabouts<'_> {
        self.possible.whereabouts()
    }

    /// Whether a SELECT is not answered yet.
    pub(super) fn is_settling(&self) -> bool {
        self.in_flight > 0
    }

    /// A SELECT is forwarded.
    pub(super) fn ask(&mut self, target: Target) {
        self.in_flight += 1;
        self.possible.insert(target);
    }

    /// A SELECT is answered; `line` is how its reply begins. Only the reply tells whether a MULTI
    /// before it was taken.
    pub(super) fn selected(&mut self, target: Target, line: &[u8]) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match line {
            b"+OK" => {
                self.now = Set::EMPTY;
                self.now.insert(target);
                // There is no transaction, or it would have been queued.
                self.queued = Set::EMPTY;
            }
            b"+QUEUED" => self.queued.insert(target),
            // An error leaves the database as it is.
            _ => {}
        }
        self.settle();
    }

    /// MULTI, EXEC or DISCARD is answered.
    pub(super) fn transacted(&mut self, transaction: Transaction, line: &[u8]) {
        if self.queued.is_empty() {
            return;
        }
        match transaction {
            Transaction::Multi => return,
            Transaction::Discard if line == b"+OK" => {}
            Transaction::Exec
                if line == b"*-1"
                    || line == b"_"
                    || line.starts_with(b"-EXECABORT")
                    || line.starts_with(b"-ERR Transaction contains write") => {}
            // Which of them worked is told in the middle of the array. Later ones are tried where
            // an earlier one failed, so each may be the last that did.
            Transaction::Exec if line.starts_with(b"*") => self.now.insert_all(self.queued),
            // The transaction is still open, as after an arity error up to 5.0; or there is none,
            // against all that was said before, and they may have run.
            Transaction::Exec | Transaction::Discard => return,
        }
        self.queued = Set::EMPTY;
        self.settle();
    }

    fn settle(&mut self) {
        if self.in_flight == 0 {
            self.possible = self.now;
            self.possible.insert_all(self.queued);
        }
    }
}

// === impl Set ===

impl Set {
    const EMPTY: Self = Self {
        members: [0; MOST],
        len: 0,
        any: false,
    };

    /// Database 0 alone.
    const ZERO: Self = Self {
        len: 1,
        ..Self::EMPTY
    };

    fn is_empty(&self) -> bool {
        self.len == 0 && !self.any
    }

    fn members(&self) -> &[u32] {
        self.members.get(..usize::from(self.len)).unwrap_or(&[])
    }

    #[inline]
    fn whereabouts(&self) -> Whereabouts<'_> {
        if self.any {
            Whereabouts::Anywhere
        } else {
            Whereabouts::Among(self.members())
        }
    }

    fn insert(&mut self, target: Target) {
        if target == Target::UNKNOWN {
            self.any = true;
        }
        if self.any || self.members().contains(&target.0) {
            return;
        }
        match self.members.get_mut(usize::from(self.len)) {
            Some(free) => {
                *free = target.0;
                self.len += 1;
            }
            None => self.any = true,
        }
    }

    fn insert_all(&mut self, others: Self) {
        self.any |= others.any;
        for database in others.members() {
            self.insert(Target(*database));
        }
    }
}
