//! From the client to the upstream: scan, judge, and forward, rewrite or refuse.

use bytes::BytesMut;

use crate::command::{CommandId, Resolved};
use crate::policy::{Decision, Permit, decide};
use crate::resp::{
    Args, ProtocolError, RequestScanner, Scan, encode_bulk, encode_header, encode_request,
    split_inline,
};
use crate::rewrite::Entry;

use super::facts::Facts;
use super::hello::{self, Hello, HelloError};
use super::kind::Kind;
use super::outcome::{Context, Refusal};
use super::pipe::Pipe;
use super::rules::Rules;
use super::slots::Slot;
use super::state::{Flow, Phase, Session};

/// A refusal, as the operator is told of it. Arguments may hold values and passwords: a witness
/// takes nothing of them but what `explain` says are keys.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The user, if the client is anybody yet; for a failed AUTH the name that it gave.
    pub user: Option<&'a str>,
    /// The command as the client names it; a name that nobody knows is as it came.
    pub command: &'a [u8],
    /// The command that was judged, where there is one.
    pub id: Option<CommandId>,
    /// What was judged, as far as it is here.
    pub args: Args<'a>,
    /// Why.
    pub refusal: Refusal,
}

/// Where a session tells of what it refuses.
pub trait Witness {
    /// One request was refused, or the connection for its bytes.
    fn refused(&mut self, refused: &Refused<'_>);
}

/// A request that is this long and not whole gets its verdict early, so that large values stream.
/// Smaller ones are waited for: they nearly always end in the next read, and one that breaks off
/// after its first bytes were forwarded costs the upstream connection.
const STREAM_AT: usize = 16 * 1024;

/// Replies of our own that a client may leave untaken before it is not read any more: room for the
/// refusals of a pipeline of 100,000 commands.
const MAX_HELD: usize = 16 * 1024 * 1024;

/// A command that fails in every version and does nothing: inside MULTI it stands for a refused
/// one, so that Redis itself spoils the transaction.
const POISON: &[u8] = b"*1\r\n$4\r\nECHO\r\n";

/// What is to be done with one request.
enum Verdict {
    Forward(Permit, Kind),
    Refuse(Refusal),
    /// The proxy's own to answer.
    Own(Kind),
    Wait,
}

/// A verdict and what it is about.
struct Judged<'r> {
    entry: Option<&'r Entry>,
    id: Option<CommandId>,
    verdict: Verdict,
}

// === impl Session ===

impl Session {
    /// Takes what has come from the client: forwards to `up`, answers into `down`.
    pub fn receive(
        &mut self,
        rules: &Rules,
        facts: &Facts,
        up: &mut Pipe,
        down: &mut Pipe,
        witness: &mut impl Witness,
    ) {
        while self.takes_requests() {
            match &mut self.flow {
                Flow::Forwarding(tail) | Flow::Draining(tail) => {
                    let step = match tail.advance(up.unscanned()) {
                        Ok(step) => step,
                        Err(error) => return self.break_off(error, facts, up, down, witness),
                    };
                    if matches!(self.flow, Flow::Forwarding(_)) {
                        up.forward(step.consumed);
                    } else {
                        up.skip(step.consumed);
                    }
                    if !step.done {
                        return;
                    }
                    self.flow = Flow::Requests;
                }
                Flow::Requests => match self.scanner.scan(up.unscanned()) {
                    Ok(Scan::Request) => self.take_request(true, rules, facts, up, down, witness),
                    Ok(Scan::Empty) => {
                        up.skip(self.scanner.consumed());
                        self.scanner.reset();
                    }
                    Ok(Scan::Inline) => self.take_inline(rules, facts, up, down, witness),
                    Ok(Scan::Incomplete) => {
                        let held = up.unscanned().len();
                        if self.scanner.declared() == 0 || held < self.inspect_at.max(STREAM_AT) {
                            return;
                        }
                        self.take_request(false, rules, facts, up, down, witness);
                        if self.flow == Flow::Requests {
                            return;
                        }
                    }
                    Err(error) => return self.break_off(error, facts, up, down, witness),
                },
            }
        }
    }

    /// Whether more of the client's bytes are of use now.
    pub fn takes_requests(&self) -> bool {
        let phase = match self.phase {
            Phase::Attached => true,
            Phase::Detached => !self.is_authenticated(),
            Phase::Resetting | Phase::Ended => false,
        };
        phase && self.slots.held() < MAX_HELD
    }

    /// The request at the front of `up`, or its beginning.
    #[inline]
    fn take_request(
        &mut self,
        whole: bool,
        rules: &Rules,
        facts: &Facts,
        up: &mut Pipe,
        down: &mut Pipe,
        witness: &mut impl Witness,
    ) {
        let args = self.scanner.args(up.unscanned());
        let mut judged = self.judge(&args, rules, facts);
        if matches!(judged.verdict, Verdict::Wait | Verdict::Own(_)) && !whole {
            let held = up.unscanned().len();
            if held < rules.max_inspect {
                // Asking again at every read would be quadratic in the request's length.
                self.inspect_at = (held * 2).min(rules.max_inspect);
                return;
            }
            judged.verdict = Verdict::Refuse(Refusal::TooLarge);
        }
        let len = self.scanner.consumed();
        let name_end = args.name().as_ptr_range().end as usize - up.unscanned().as_ptr() as usize + 2;
        match judged.verdict {
            Verdict::Forward(permit, kind) => {
                self.forward(permit, kind, judged.entry, args.len(), name_end, len, up);
            }
            Verdict::Refuse(refusal) => {
                self.scratch.clear();
                let refused = self.refused(&judged, refusal, args, facts, rules);
                witness.refused(&refused);
                up.skip(len);
                self.refuse(refusal, up, down);
            }
            Verdict::Own(kind) => {
                let outcome = self.own(kind, up.unscanned(), rules, facts, witness);
                up.skip(len);
                self.conclude(outcome, facts, up, down);
            }
            Verdict::Wait => {}
        }
    }
}
