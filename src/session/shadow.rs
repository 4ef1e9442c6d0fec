//! Requests that the policy denies and that go on for shadow mode: told once each, when they are
//! taken.

use crate::resp::Args;

use super::facts::Facts;
use super::host::Host;
use super::judge::judge_enforced;
use super::kind::Kind;
use super::known::Standing;
use super::login::Login;
use super::prepare::{Taking, with_refused};
use super::state::Session;

/// Tells the host why the request would be refused.
#[cold]
pub(super) fn tell_shadow(
    login: &Login,
    standing: Standing<'_>,
    args: &Args<'_>,
    taking: &mut Taking<'_, impl Host>,
) {
    let Taking { rules, facts, host } = taking;
    let refusal = judge_enforced(login, args, standing, rules, facts);
    let entry = rules.names().find(args.name());
    with_refused(
        login,
        standing,
        refusal,
        entry,
        args,
        rules,
        |refused, _| {
            host.would_refuse(refused);
        },
    );
}

// === impl Session ===

impl Session {
    /// Tells of a request that is about to be forwarded, before anything is noted of it: where it runs
    /// must look as it did when it was judged. Returns `false` if it is not taken yet.
    #[cold]
    pub(super) fn tell_forwarded(
        &self,
        kind: Kind,
        args: &Args<'_>,
        taking: &mut Taking<'_, impl Host>,
    ) -> bool {
        let facts: &Facts = taking.facts;
        if matches!(kind, Kind::Pinned(script) if self.must_wait_to_call(script, facts)) {
            return false;
        }
        tell_shadow(&self.login, self.standing(), args, taking);
        true
    }
}
