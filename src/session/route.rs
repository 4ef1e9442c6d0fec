//! From an allowed request to the connection that it goes to, where clients share some.

use bytes::BytesMut;

use crate::resp::Args;

use super::host::Host;
use super::known::{Known, Standing};
use super::login::Login;
use super::outcome::Refusal;
use super::prepare::{Action, Taking, refuse};
use super::routing::{Admission, Asked, Denial, Routing};
use super::scripts::{SCRIPTS_SHARE, SELECT_ENDS_WITH_ITS_SCRIPT};
use super::slots::Slots;

/// What becomes of a request where clients share connections: what policy allows may have to wait for
/// one of its own, or for what is owed. `here`: its length where it is here whole, and what came behind
/// it.
pub(super) fn route<'r>(
    action: Action<'r>,
    args: &Args<'_>,
    (len, rest): (Option<usize>, &[u8]),
    routing: &mut Routing,
    (login, slots, known): (&Login, &Slots, &Known),
    scratch: &mut BytesMut,
    taking: &mut Taking<'r, impl Host>,
) -> Action<'r> {
    let Action::Forward(permit, kind, _) = &action else {
        return action;
    };
    let asked = Asked {
        rules: taking.rules,
        login,
        slots,
        known,
        command: permit.command(),
        kind: *kind,
        scripts_end: taking.facts.version >= SELECT_ENDS_WITH_ITS_SCRIPT,
        scripts_share: taking.facts.version >= SCRIPTS_SHARE,
        args: *args,
        len,
        rest,
    };
    match routing.admit(&asked) {
        Admission::Go => action,
        Admission::Wait => Action::Hold,
        Admission::Refuse(why) => {
            let standing = Standing {
                slots,
                known,
                routing,
            };
            deny(why, scratch, login, standing, args, taking)
        }
    }
}

/// A request that policy allows has no connection to go to.
#[cold]
fn deny<'r>(
    why: Denial,
    scratch: &mut BytesMut,
    login: &Login,
    standing: Standing<'_>,
    args: &Args<'_>,
    taking: &mut Taking<'_, impl Host>,
) -> Action<'r> {
    let refusal = Refusal::NoConnection;
    match why {
        Denial::Full => {
            let entry = taking.rules.names().find(args.name());
            refuse(scratch, login, standing, refusal, entry, args, taking);
        }
        // It is Redis that says no, as to a request that it was sent: nothing to be noted.
        Denial::Upstream(error) => {
            scratch.clear();
            scratch.extend_from_slice(b"-");
            scratch.extend_from_slice(error.as_bytes());
            scratch.extend_from_slice(b"\r\n");
        }
    }
    Action::Refuse(refusal)
}
