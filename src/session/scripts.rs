//! Scripts that the policy names: the proxy sees to it that Redis knows them when they are called
//! by their hash.

use std::sync::Arc;

use crate::command::{CommandId, Gate};
use crate::policy::{DenyReason, Named, Permit, PinnedScript, ScriptHash, User};
use crate::resp::{Args, encode_bulk, encode_header, encode_request};
use crate::rewrite::Entry;

use super::facts::{Facts, Version};
use super::judge::Verdict;
use super::kind::Kind;
use super::outcome::Refusal;
use super::pipe::Pipe;
use super::rules::Rules;
use super::slots::Slot;
use super::state::Session;

/// The scripts that were loaded over one upstream connection.
///
/// Redis may forget them (SCRIPT FLUSH, by anybody); a reply tells, and then all is loaded anew. A
/// restart ends the connection, and these with it.
#[derive(Debug, Default)]
pub(super) struct Loaded(Vec<ScriptHash>);

/// How a call of a pinned script goes upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// As any other request.
    AsItIs,
    /// As EVAL, with the user's pinned script of this number in the place of its hash.
    Spelled(u32),
    /// When there is room for the script.
    NotYet,
}

/// Scripts that may be on their way for one client. A call names in 60 bytes what is sent on in up
/// to 1 MB, so a pipeline of calls would fill the memory; one script may always go.
const MOST_ON_THEIR_WAY: usize = 256 * 1024;

/// Up to here CONFIG, BGSAVE and SHUTDOWN can be called from Lua.
const SCRIPTS_ARE_TAMED: Version = Version::new(5, 0, 0);

/// Up to here a script that selects a database leaves its caller there.
pub(super) const SELECT_ENDS_WITH_ITS_SCRIPT: Version = Version::new(2, 8, 12);

/// Judges a command that runs or loads code, after the policy has allowed it.
#[cold]
pub(super) fn judge_script<'r>(
    user: &User,
    id: CommandId,
    args: &Args<'_>,
    permit: Permit,
    entry: &'r Entry,
    rules: &Rules,
    facts: &Facts,
) -> Verdict<'r> {
    let refuse = |reason| Verdict::Refuse(Refusal::Policy(reason));
    if user.restricts_databases() && facts.version < SELECT_ENDS_WITH_ITS_SCRIPT {
        return refuse(DenyReason::Script);
    }
    if may_run_any(user, rules, facts) {
        return Verdict::Forward(permit, Kind::Plain, entry);
    }
    let gate = rules.table().command(id).gate;
    if gate != Gate::ScriptHash && !user.is_unrestricted() {
        // The policy has looked at the script.
        return Verdict::Forward(permit, Kind::Plain, entry);
    }
    match user.scripts().named_by(gate, args) {
        Named::Pinned(number) => {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let kind = match gate {
                Gate::ScriptHash => Kind::Pinned(number),
                _ => Kind::Plain,
            };
            Verdict::Forward(permit, kind, entry)
        }
        Named::Unnamed => refuse(DenyReason::Script),
        Named::Incomplete => Verdict::Wait,
        Named::Missing => refuse(DenyReason::Arity),
    }
}

/// Whether nobody asks what the user's scripts do. On an old upstream a script is a way to the
/// machine, so `+@all` alone is not enough there.
fn may_run_any(user: &User, rules: &Rules, facts: &Facts) -> bool {
    let may_configure = || {
        let config = rules.table().find(b"config");
        config.is_some_and(|id| user.lethal().allows(id, rules.table()))
    };
    user.scripts().allow_any()
        || user.is_unrestricted() && (facts.version >= SCRIPTS_ARE_TAMED || may_configure())
}

/// Up to here a client whose script took too long may not be served any more.
pub(super) const SCRIPTS_SHARE: Version = Version::new(6, 0, 0);

// === impl Loaded ===

impl Loaded {
    /// Nobody knows what Redis still has.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

// === impl Session ===

impl Session {
    /// Prepares for the call by its hash of the user's pinned script of this number, and says how
    /// it goes upstream.
    #[cold]
    pub(super) fn owe_pinned(&mut self, number: u32, facts: &Facts, up: &mut Pipe) -> Way {
        let user = self.login.user().map(Arc::clone);
        let Some((hash, body)) = pinned(user.as_deref(), number) else {
            // Only its hash is known: whether it is loaded is the client's affair.
            self.slots.push_upstream();
            return Way::AsItIs;
        };
        let spelled = self.must_spell(facts);
        if !spelled && self.loaded.0.contains(hash) {
            self.slots.push(Slot::Script(0));
            return Way::AsItIs;
        }
        if self.has_no_room_for(body) {
            return Way::NotYet;
        }
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if spelled {
            self.slots.push(Slot::Script(len));
            return Way::Spelled(number);
        }
        encode_request([&b"SCRIPT"[..], b"LOAD", body].into_iter(), up.staging());
        self.slots.push(Slot::Load(len));
        self.slots.push(Slot::Script(0));
        self.loaded.0.push(*hash);
        Way::AsItIs
    }

    /// Whether [`Session::owe_pinned`] would say that a request of this kind can't go yet.
    #[cold]
    pub(super) fn waits_for_script(&self, kind: Kind, facts: &Facts) -> bool {
        let Kind::Pinned(number) = kind else {
            return false;
        };
        let user = self.login.user().map(|user| &**user);
        pinned(user, number).is_some_and(|(hash, body)| {
            let sends = self.must_spell(facts) || !self.loaded.0.contains(hash);
            sends && self.has_no_room_for(body)
        })
    }

    /// In a transaction there is no place for a command of our own, and what EXEC says of a script that
    /// is gone wouldn't be noticed.
    fn must_spell(&self, facts: &Facts) -> bool {
        self.may_be_in_multi() || !facts.knows("script")
    }

    fn has_no_room_for(&self, body: &[u8]) -> bool {
        let on_their_way = self.slots.scripts();
        on_their_way > 0 && on_their_way + body.len() > MOST_ON_THEIR_WAY
    }

    /// Forwards the request at the front of `up`, a call of a pinned script, as EVAL.
    #[cold]
    pub(super) fn forward_spelled(
        &mut self,
        script: u32,
        entry: &Entry,
        rules: &Rules,
        up: &mut Pipe,
    ) {
        let (declared, consumed) = (self.scanner.declared(), self.scanner.consumed());
        // A substitute with arguments stands for the bare command, which is here whole.
        if declared == 1 {
            up.skip(consumed);
            self.send_spelled(script, entry, &Args::new(&[], &[], declared), rules, up);
            return;
        }
        let hash_end = self.scanner.arg_end(1);
        up.skip(hash_end);
        self.send_head(script, entry, declared, rules, up);
        up.forward(consumed - hash_end);
    }

    /// The same for arguments that were taken off `up` before, or that a substitute brings along.
    #[cold]
    pub(super) fn send_spelled(
        &self,
        script: u32,
        entry: &Entry,
        args: &Args<'_>,
        rules: &Rules,
        up: &mut Pipe,
    ) {
        let Some(args) = entry.judged(args) else {
            return;
        };
        self.send_head(script, entry, args.len(), rules, up);
        args.iter()
            .skip(2)
            .for_each(|arg| encode_bulk(arg, up.staging()));
    }

    /// EVAL and the script, of a request with so many arguments.
    fn send_head(&self, script: u32, entry: &Entry, len: usize, rules: &Rules, up: &mut Pipe) {
        let user = self.login.user().map(|user| &**user);
        // It was there when this way was chosen.
        let body = pinned(user, script).map_or(&[][..], |(_, body)| body);
        let name: &[u8] = match &*rules.table().command(entry.run()).name {
            "evalsha_ro" => b"EVAL_RO",
            _ => b"EVAL",
        };
        encode_header(b'*', len as u64, up.staging());
        encode_bulk(name, up.staging());
        encode_bulk(body, up.staging());
    }
}

/// The hash and the text of a pinned script whose text is known.
fn pinned(user: Option<&User>, number: u32) -> Option<(&ScriptHash, &[u8])> {
    let script: &PinnedScript = user?.scripts().get(number as usize)?;
    Some((script.hash(), script.body()?))
}
