//! Requests that the policy denies and that go on for shadow mode: told once each, when they are
//! taken.

use crate::policy::Permit;
use crate::resp::Args;
use crate::rewrite::Entry;

use super::host::{Host, Oversight};
use super::judge::judge_enforced;
use super::kind::Kind;
use super::known::Standing;
use super::login::Login;
use super::prepare::{Action, Taking, tell, with_refused};
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
    /// Tells of what becomes of a request, where it is forwarded and that is to be told. Returns whether shadow mode
    /// lets it go on; `None`: it is not taken yet.
    #[inline]
    pub(super) fn tell_action(
        &self,
        action: &Action<'_>,
        args: &Args<'_>,
        taking: &mut Taking<'_, impl Host>,
    ) -> Option<bool> {
        let Action::Forward(permit, kind, entry) = action else {
            return Some(false);
        };
        let is_shadow = permit.is_shadow();
        if (is_shadow || taking.oversight == Oversight::Each)
            && !self.tell_forwarded((permit, *kind, entry), args, taking)
        {
            return None;
        }
        Some(is_shadow)
    }

    /// Tells of a request that is about to be forwarded, before anything is noted of it: where it runs
    /// must look as it did when it was judged. Returns `false` if it is not taken yet.
    #[cold]
    fn tell_forwarded(
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
