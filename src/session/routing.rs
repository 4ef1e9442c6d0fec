//! Where a client's requests go: to a connection that others use too, or to one of its own.
//!
//! Knows no connection: it says what is needed, and is told what there is. A change of connections
//! waits until all is answered that is owed on the old one, so a client's replies are in order
//! whatever becomes of either.

use crate::command::{Command, CommandId, Gate, Resolved, Sharing};
use crate::resp::{Args, Limits, RequestScanner, Scan};

use super::kind::Kind;
use super::known::{Known, Protocol};
use super::login::Login;
use super::rules::Rules;
use super::shim::Name;
use super::slots::{Slots, Transaction};

/// What tells two connections to one upstream apart, apart from who uses them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Berth {
    /// Whether it speaks RESP3, or else RESP2.
    pub resp3: bool,
    /// The database that is selected.
    pub database: u32,
    /// Whether scripts are run on it: one may take its time, and Redis tells the others so (BUSY) only
    /// where they don't wait behind it.
    pub scripts: bool,
}

/// What a session must be given before it takes another request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// A connection of its own, like this.
    Own(Berth),
    /// The same, for one request that works in every database: nothing needs to be selected, which a
    /// busy server wouldn't do.
    Errand(Berth),
    /// To hear whether there is a connection to share in this database.
    Database(Berth),
}

/// Where the next request goes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Route {
    #[default]
    Own,
    Shared,
}

/// A connection of its own for a single request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Errand {
    #[default]
    No,
    Due,
    Sent,
}

/// What becomes of a request that policy allows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    Go,
    Wait,
    /// It needs a connection of its own, and there is none.
    Refuse(Denial),
}

/// Why there is no connection of its own for a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Denial {
    /// Too many are open.
    Full,
    /// The upstream gives none just now, and this is its error.
    Upstream(Box<str>),
}

/// A request that policy allows, and what it comes into the middle of.
pub(super) struct Asked<'a> {
    pub(super) rules: &'a Rules,
    pub(super) login: &'a Login,
    pub(super) slots: &'a Slots,
    pub(super) known: &'a Known,
    pub(super) command: CommandId,
    pub(super) kind: Kind,
    pub(super) args: Args<'a>,
    /// Whether nothing of a script stays behind its end: since 2.8.12.
    pub(super) scripts_end: bool,
    /// Whether what comes behind a script that took too long is run when it has ended: since 6.0. A 5.0.6
    /// was seen to leave it in its buffer for ever.
    pub(super) scripts_share: bool,
    /// Its bytes, where they are here whole.
    pub(super) len: Option<usize>,
    /// What came behind it.
    pub(super) rest: &'a [u8],
}

/// Where a client's requests go.
#[derive(Debug, Default)]
pub(super) struct Routing {
    /// Whether there are connections that others use too.
    shares: bool,
    route: Route,
    /// Of the connections that are shared, those for scripts.
    scripts: bool,
    need: Option<Need>,
    /// The request at the front waits for all that is owed.
    awaits: bool,
    /// The requests that belong to a transaction which is here whole, and are not taken yet.
    convoy: u32,
    /// Requests between a MULTI and its EXEC that were sent since [`Routing::take_queued`].
    queued: u32,
    /// A database that no connection could be brought to: the upstream tells the client why.
    refused: Option<u32>,
    /// One that there is a connection to share in: the SELECT at the front goes there.
    found: Option<u32>,
    /// Where the client is if the SELECT that is on its way fails.
    came_from: Option<u32>,
    /// The request at the front needs a connection of its own, and there is none.
    denied: Option<Denial>,
    errand: Errand,
    /// Something stays with its own connection that nobody can take away.
    stays: bool,
    /// Its own connection is not for others.
    spent: bool,
    /// Requests that went to connections which others use too, and to its own.
    rode: u64,
    alone: u64,
    /// What the client calls itself.
    pub(super) name: Name,
    /// Looks for the end of a transaction.
    ahead: Option<Box<RequestScanner>>,
}

/// What a request may be long that goes to a connection which others use too: they wait while it is
/// sent. The same for a transaction.
pub(super) const MOST_SHARED: usize = 64 * 1024;

/// The clients' own numbers begin here, where Redis' own never come to, so that one is not taken for
/// the other; and below 2^53, which is as far as JavaScript counts.
const FIRST_ID: u64 = 1 << 52;

// === impl Routing ===

impl Routing {
    /// Whether there are connections that others use too.
    #[inline]
    pub(super) fn shares(&self) -> bool {
        self.shares
    }

    /// From now on there are.
    pub(super) fn share(&mut self) {
        self.shares = true;
    }

    /// What a connection must be like that takes the next request.
    #[inline]
    pub(super) fn berth(&self, known: &Known) -> Berth {
        Berth {
            scripts: self.scripts,
            ..known.berth()
        }
    }

    /// Whether the next request goes to one of them.
    #[inline]
    pub(super) fn rides(&self) -> bool {
        self.route == Route::Shared
    }

    pub(super) fn need(&self) -> Option<Need> {
        self.need
    }

    /// Whether no request can be taken now.
    #[inline]
    pub(super) fn holds_up(&self, slots: &Slots) -> bool {
        // What an errand is not for waits until that connection is gone.
        self.need.is_some() || self.awaits && !(slots.is_empty() && self.errand == Errand::No)
    }

    /// The request at the front is looked at anew.
    #[inline]
    pub(super) fn look_again(&mut self) {
        self.awaits = false;
    }

    /// Whether a transaction has been taken in part.
    pub(super) fn is_in_convoy(&self) -> bool {
        self.convoy > 0
    }

    /// A request was taken, forwarded or not.
    #[inline]
    pub(super) fn took(&mut self) {
        self.convoy = self.convoy.saturating_sub(1);
    }

    /// How many of the replies that are owed may tell that a command is queued.
    pub(super) fn take_queued(&mut self) -> u32 {
        std::mem::take(&mut self.queued)
    }

    /// How many requests went to connections that others use too, and to its own.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.rode, self.alone)
    }

    /// The number that the client is told as its own.
    pub(super) fn client_id(&self, session: u64) -> u64 {
        if self.shares {
            FIRST_ID + session
        } else {
            session
        }
    }

    /// Whether the request may be forwarded now, to where requests go now. If not, what it waits for
    /// is noted.
    pub(super) fn admit(&mut self, asked: &Asked<'_>) -> Admission {
        if self.convoy > 0 || self.can_go(asked) {
            // More of it has come, and now it needs none of its own.
            self.denied = None;
            match self.route {
                Route::Shared => self.rode += 1,
                Route::Own => self.alone += 1,
            }
            Admission::Go
        } else if self.need.is_some()
            && let Some(denial) = self.denied.take()
        {
            self.need = None;
            Admission::Refuse(denial)
        } else {
            Admission::Wait
        }
    }

    fn can_go(&mut self, asked: &Asked<'_>) -> bool {
        let command = asked.rules.table().command(asked.command);
        let sharing = command.sharing.of_request(&asked.args);
        let is_script = is_script(command);
        if self.route == Route::Own {
            let sharing = match sharing {
                Sharing::Shared if is_script && !asked.scripts_end => Sharing::Stays,
                sharing => sharing,
            };
            return self.admit_own(asked.kind, sharing);
        }
        let berth = asked.known.berth();
        let need = match asked.kind {
            // An argument too many is an error wherever it is asked.
            Kind::Select(_) if asked.args.len() != 2 => Need::Own(berth),
            Kind::Select(target) => match target.number() {
                Some(database) if database == berth.database => return true,
                Some(database) if self.found.take() == Some(database) => {
                    // A server that is busy refuses it: where the next request goes is known then.
                    self.awaits = true;
                    self.came_from = Some(berth.database);
                    return true;
                }
                Some(database) if self.refused != Some(database) => {
                    Need::Database(Berth { database, ..berth })
                }
                _ => Need::Own(berth),
            },
            Kind::Transaction(Transaction::Multi) => match self.find_end(asked) {
                Some(requests) => {
                    let goes = self.turn_to(false, asked.slots);
                    if goes {
                        self.convoy = requests;
                        self.queued += requests - 2;
                    }
                    return goes;
                }
                None => Need::Own(berth),
            },
            _ => match sharing {
                // Once, a script that selected a database left its caller there.
                Sharing::Shared if is_script && !asked.scripts_share => Need::Own(berth),
                Sharing::Shared if asked.len.is_some_and(|len| len <= MOST_SHARED) => {
                    return self.turn_to(is_script, asked.slots);
                }
                Sharing::AtOnce => Need::Errand(berth),
                _ => Need::Own(berth),
            },
        };
        if asked.slots.is_empty() {
            self.need = Some(need);
        } else {
            self.awaits = true;
        }
        false
    }

    /// Goes on with those connections of the shared ones that are for scripts, or with the others.
    /// Returns whether it can, or waits.
    #[inline]
    fn turn_to(&mut self, scripts: bool, slots: &Slots) -> bool {
        if self.scripts != scripts && !slots.is_empty() {
            self.awaits = true;
            return false;
        }
        self.scripts = scripts;
        true
    }

    /// The same where the session has a connection of its own; notes what that holds from then on.
    fn admit_own(&mut self, kind: Kind, sharing: Sharing) -> bool {
        match self.errand {
            Errand::No => {}
            Errand::Due if sharing == Sharing::AtOnce => self.errand = Errand::Sent,
            // It has another database, and goes back or is closed first.
            Errand::Due | Errand::Sent => {
                self.awaits = true;
                return false;
            }
        }
        match (kind, sharing) {
            // What these leave is known from their replies.
            (Kind::Transaction(_) | Kind::Watch(_) | Kind::Select(_), _) => {}
            (_, Sharing::Shared | Sharing::Waits) => {}
            (_, Sharing::AtOnce) => self.spent = true,
            _ => self.stays = true,
        }
        true
    }

    /// The requests behind a MULTI up to its EXEC, and the MULTI, if they are here whole and each
    /// could be shared on its own. What can't be is found out before the first of them is sent.
    fn find_end(&mut self, multi: &Asked<'_>) -> Option<u32> {
        let first = multi.len.filter(|_| multi.args.len() == 1)?;
        let (rules, user) = (multi.rules, multi.login.user()?);
        let ahead = self.ahead.get_or_insert_with(|| {
            // As many as the client's own scanner takes, which finds out what is wrong with them.
            Box::new(RequestScanner::new(Limits::UNAUTHENTICATED))
        });
        ahead.set_limits(rules.limits());
        let mut bytes = &multi.rest[..multi.rest.len().min(MOST_SHARED - first)];
        for requests in 2.. {
            ahead.reset();
            let Ok(Scan::Request) = ahead.scan(bytes) else {
                return None;
            };
            let args = ahead.args(bytes);
            let entry = rules.names().find(args.name())?;
            let judged = entry.judged(&args)?;
            let Resolved::Command(id) = entry.resolve(&judged, rules.table()) else {
                return None;
            };
            match rules.kinds().get(id) {
                Kind::Transaction(Transaction::Exec) => {
                    let mut selectors = user.selectors().iter();
                    let may = selectors.any(|selector| selector.allows_command(id));
                    return (may && args.len() == 1).then_some(requests);
                }
                Kind::Plain | Kind::Answer(_) => {}
                _ => return None,
            }
            let command = rules.table().command(id);
            // A script would run where those wait that run none.
            if command.sharing != Sharing::Shared || is_script(command) {
                return None;
            }
            bytes = bytes.get(ahead.consumed()..)?;
        }
        None
    }

    /// Its requests go to connections that others use too.
    pub(super) fn ride(&mut self) {
        self.begin(Route::Shared, Errand::No);
    }

    /// The session has a connection of its own.
    pub(super) fn attach(&mut self) {
        let errand = matches!(self.need, Some(Need::Errand(_)));
        self.begin(Route::Own, if errand { Errand::Due } else { Errand::No });
    }

    fn begin(&mut self, route: Route, errand: Errand) {
        *self = Self {
            shares: self.shares,
            route,
            errand,
            rode: self.rode,
            alone: self.alone,
            queued: self.queued,
            name: self.name.take(),
            ahead: self.ahead.take(),
            ..Self::default()
        };
    }

    /// Whether it has a connection of its own where others share theirs.
    pub(super) fn is_own(&self) -> bool {
        self.shares && self.route == Route::Own
    }

    /// Its own connection is not for others.
    pub(super) fn spend(&mut self) {
        self.spent = true;
    }

    /// There is a connection to share in the database that was asked for.
    pub(super) fn found(&mut self, database: u32) {
        self.need = None;
        self.found = Some(database);
    }

    /// There is none in this one.
    pub(super) fn refused(&mut self, database: u32) {
        self.need = None;
        self.refused = Some(database);
    }

    /// Whether the SELECT that was just admitted goes to a connection in its database.
    pub(super) fn is_moving(&self) -> bool {
        self.came_from.is_some()
    }

    /// That SELECT is answered. Returns where the client was before.
    pub(super) fn arrived(&mut self) -> Option<u32> {
        self.came_from.take()
    }

    /// None of its own is to be had just now.
    pub(super) fn deny(&mut self, why: Denial) {
        self.need = None;
        self.denied = Some(why);
    }

    pub(super) fn keep_own(&mut self) {
        self.stays = true;
    }

    /// Whether nothing holds it on the connection that it has of its own.
    pub(super) fn may_leave(&self) -> bool {
        self.shares && self.route == Route::Own && !self.stays
    }

    /// Whether that connection is as good as a fresh one.
    pub(super) fn is_clean(&self) -> bool {
        !self.spent && self.errand == Errand::No
    }
}

/// Whether it may take its time, and leave its caller in another database.
fn is_script(command: &Command) -> bool {
    matches!(command.gate, Gate::Script | Gate::ScriptHash | Gate::Code)
}

// === impl Known ===

impl Known {
    /// What a connection must be to take this one's place. Where more than one database is possible
    /// it is none of them.
    pub(super) fn berth(&self) -> Berth {
        Berth {
            resp3: self.protocol == Protocol::Resp3,
            database: self.place.single().unwrap_or_default(),
            scripts: false,
        }
    }
}
