//! SYNC, PSYNC and REPLCONF: a client that is a replica.
//!
//! Once the upstream has begun to send its data, what it sends is no RESP: it is passed on as it is,
//! to the end of the connection. In the other direction nothing but acknowledgements may follow.

use crate::command::CommandId;
use crate::policy::{Permit, User};
use crate::resp::Args;
use crate::rewrite::Entry;

use super::judge::Verdict;
use super::kind::Kind;
use super::known::Mode;
use super::outcome::Refusal;

/// The options that a replica introduces itself with, each of which is answered. ACK and GETACK are
/// not, and up to 6.2 Redis reads `ACK\0` and a tail of any kind as ACK.
const INTRODUCTIONS: [&str; 8] = [
    "listening-port",
    "ip-address",
    "capa",
    "version",
    "rdb-only",
    "rdb-filter-only",
    "rdb-channel",
    "main-ch-client-id",
];

/// Judges REPLCONF, which the policy has allowed.
pub(super) fn judge_replconf<'r>(
    args: &Args<'_>,
    mode: Mode,
    permit: Permit,
    entry: &'r Entry,
) -> Verdict<'r> {
    if !args.is_whole() {
        return Verdict::Wait;
    }
    let is = |index: usize, word: &str| {
        let given = args.get(index);
        given.is_some_and(|given| given.eq_ignore_ascii_case(word.as_bytes()))
    };
    if mode == Mode::Replicating {
        // Any other would be answered, in the midst of the data.
        return match is(1, "ack") && args.len() % 2 == 1 {
            true => Verdict::Forward(permit, Kind::Unanswered, entry),
            false => Verdict::Refuse(Refusal::Replicating),
        };
    }
    let mut options = (1..args.len()).step_by(2);
    match options.find(|&index| !INTRODUCTIONS.iter().any(|word| is(index, word))) {
        Some(index) => Verdict::Refuse(Refusal::ReplconfOption { index }),
        None => Verdict::Forward(permit, Kind::Plain, entry),
    }
}

/// Whether the user may run this one, SYNC or PSYNC, and have all that it sends.
pub(super) fn may_sync(user: &User, id: CommandId) -> bool {
    let mut selectors = user.selectors().iter();
    selectors.any(|one| one.allows_command(id) && one.allows_all_keys())
}
