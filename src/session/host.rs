//! What a session needs of the world that it lives in.
//!
//! Knows no socket and no file: who hosts a session does.

use std::sync::Arc;

use crate::command::CommandId;
use crate::policy::{LogEntry, User, Whereabouts};
use crate::resp::Args;

use super::acl::{ChangeError, Errand, FilesError, UserChange};
use super::outcome::Refusal;
use super::rules::Rules;
use super::tally::Tally;

/// A refusal, as the operator is told of it. Arguments may hold values and passwords: a host
/// takes nothing of them but what `explain` says are keys.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The user, if the client is anybody yet; for a failed AUTH the user that it was before.
    pub user: Option<&'a str>,
    /// The command as the client names it; a name that nobody knows is as it came.
    pub command: &'a [u8],
    /// The command that was judged, where there is one.
    pub id: Option<CommandId>,
    /// What was judged, as far as it is here.
    pub args: Args<'a>,
    /// The databases that it may have been meant for.
    pub whereabouts: Whereabouts<'a>,
    /// Why.
    pub refusal: Refusal,
    /// What it was judged by.
    pub rules: &'a Rules,
    /// Whether it may stand in a transaction.
    pub in_multi: bool,
    /// The name that a failed login tried.
    pub tried: Option<&'a [u8]>,
}

/// A request that is forwarded, or was answered by the proxy itself, as the operator is told of it who
/// wants to know of each. Arguments are what they are in [`Refused`].
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    /// The user; of an AUTH that succeeded, the one that the client is now.
    pub user: Option<&'a str>,
    /// The command as the client names it.
    pub command: &'a str,
    /// The command that was judged.
    pub id: Option<CommandId>,
    /// What was judged, as far as it is here.
    pub args: Args<'a>,
    /// The databases that it may be meant for.
    pub whereabouts: Whereabouts<'a>,
    /// What it was judged by.
    pub rules: &'a Rules,
    /// Whether the policy was asked: AUTH, HELLO, QUIT and RESET are everybody's.
    pub is_judged: bool,
}

/// What the operator wants to know of requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Oversight {
    /// Of those that are refused.
    #[default]
    Refused,
    /// Of each.
    Each,
    /// Nobody can be told just now, and what nobody is told of is not served.
    Suspended,
}

/// What a session needs of the world that it lives in.
pub trait Host {
    /// What it is to be told. Asked once a batch; and of each request again, where it wants to hear of
    /// each.
    #[inline]
    fn oversight(&self) -> Oversight {
        Oversight::Refused
    }

    /// One request is served. For who wants to hear of each.
    fn allowed(&mut self, _allowed: &Allowed<'_>) {}

    /// One request was refused, or the connection for its bytes.
    fn refused(&mut self, refused: &Refused<'_>);

    /// These were allowed to the user of whom it was told last. Told once a batch.
    fn counted(&mut self, _tally: &Tally) {}

    /// From now on the client is this user; `None`: nobody. Told when AUTH, HELLO or RESET may have
    /// changed it; whom it begins as, the host knows.
    fn acts_as(&mut self, _user: Option<&Arc<User>>) {}
    /// The policy denies a request, and shadow mode lets it go on. Told once a request, when it is
    /// taken; `refused` is what would have been told.
    fn would_refuse(&mut self, refused: &Refused<'_>);

    /// Whether another password for this user is looked at. The name is empty where the client
    /// can't be whom it names.
    fn may_log_in(&mut self, user: &str) -> bool;

    /// One was, and it was right or not.
    fn logged_in(&mut self, user: &str, ok: bool);

    /// The password was right: whether the client may be this user now. If so, it is from here on.
    fn may_become(&mut self, _user: &str) -> bool {
        true
    }

    /// ACL SETUSER and DELUSER: when this returns, the change is in force for everybody. Returns how
    /// many users it touched, or why it isn't made; `None`: not while somebody's errand is under way.
    fn change_users(
        &mut self,
        _caller: &str,
        _change: &UserChange<'_>,
    ) -> Option<Result<usize, ChangeError>> {
        Some(Err(ChangeError::NotAllowed))
    }

    /// ACL LOAD and SAVE. Once it has begun, [`Session::conclude_errand`] is told what came of it; or
    /// why it can't begin. `None`: not while another is under way.
    ///
    /// [`Session::conclude_errand`]: super::Session::conclude_errand
    fn begin(&mut self, _caller: &str, _errand: Errand) -> Option<Result<(), FilesError>> {
        Some(Err(FilesError::NoFile))
    }

    /// ACL LOG: the newest refusals, and the time now, in milliseconds since 1970.
    fn acl_log(&mut self, _count: usize) -> (Vec<LogEntry>, u64) {
        (Vec::new(), 0)
    }

    /// ACL LOG RESET.
    fn reset_acl_log(&mut self) {}

    /// ACL GENPASS: fills `bytes` with what nobody can guess. Returns whether it could.
    fn random(&mut self, _bytes: &mut [u8]) -> bool {
        false
    }
}
