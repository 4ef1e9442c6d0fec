//! Requests that the policy denies and that go on for shadow mode: told once each, when they are
//! taken.

use crate::policy::Permit;
use crate::resp::Args;
use crate::rewrite::Entry;

use super::host::Host;
use super::judge::judge_enforced;
use super::kind::Kind;
use super::known::Standing;
use super::login::Login;
use super::prepare::{Taking, tell, with_refused};
use super::state::Session;

/// Tells the host why the request would be refused.
#[cold]
pub(super) fn tell_shadow(
    login: &Login,
    standing: Standing<'_>,
    args: &Args<'_>,
    taking: &mut Taking<'_, impl Host>,
) {
    let Taking {
        rules, facts, host, ..
    } = taking;
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
        (permit, kind, entry): (&Permit, Kind, &Entry),
        args: &Args<'_>,
        taking: &mut Taking<'_, impl Host>,
    ) -> bool {
        if self.waits_for_script(kind, taking.facts) {
            return false;
        }
        let (login, standing) = (&self.login, self.standing());
        match permit.is_shadow() {
            true => tell_shadow(login, standing, args, taking),
            false => tell(login, standing, entry, args, true, taking),
        }
        true
    }
}
