//! ACL DRYRUN: what policy would say to a command, which is not run.

use bytes::BytesMut;

use crate::command::{CommandId, Resolved, Table};
use crate::policy::{Decision, DenyReason, User, Whereabouts, decide};
use crate::resp::{Args, OwnedArgs, encode_bulk};

use super::super::rules::Rules;
use super::text::{error, name_in_error};

/// Judges the command by its real name, as nothing renames it, in database 0.
pub(super) fn answer(args: &Args<'_>, rules: &Rules, reply: &mut BytesMut) {
    let table = rules.table();
    let name = args.get(2).unwrap_or_default();
    let user = std::str::from_utf8(name)
        .ok()
        .and_then(|name| rules.policy().user(name));
    let Some(user) = user else {
        return error(&[b"User '", name_in_error(name), b"' not found"], reply);
    };
    let request: OwnedArgs = args.iter().skip(3).collect();
    let request = request.as_args();
    let Resolved::Command(id) = table.resolve(&request) else {
        let name = name_in_error(request.name());
        return error(&[b"Command '", name, b"' not found"], reply);
    };
    let command = table.command(id);
    if !command.arity_fits(request.len()) {
        return wrong_arity(&command.name, reply);
    }
    match decide(user, id, &request, Whereabouts::START, table) {
        Decision::Allow(_) => reply.extend_from_slice(b"+OK\r\n"),
        Decision::Deny(denial) | Decision::Unsettled(denial) => match denial.reason {
            DenyReason::Arity => wrong_arity(&command.name, reply),
            reason => encode_bulk(&explain(user, id, reason, &request, table), reply),
        },
        // The request is whole: there is nothing to wait for but what can't be read.
        Decision::Wait => {
            let reason = DenyReason::Unparsable { index: 0 };
            encode_bulk(&explain(user, id, reason, &request, table), reply);
        }
    }
}

fn wrong_arity(command: &str, reply: &mut BytesMut) {
    let parts: [&[u8]; 3] = [
        b"wrong number of arguments for '",
        command.as_bytes(),
        b"' command",
    ];
    error(&parts, reply);
}

/// Redis' texts, and ours in their style for what Redis doesn't have.
fn explain(
    user: &User,
    id: CommandId,
    reason: DenyReason,
    args: &Args<'_>,
    table: &Table,
) -> Vec<u8> {
    let command = table.command(id).name.as_bytes();
    let word = |index| name_in_error(args.get(index).unwrap_or_default());
    let run = |why: &str| {
        let parts: [&[u8]; 4] = [b"run the '", command, b"' command", why.as_bytes()];
        parts.concat()
    };
    let what = match reason {
        DenyReason::Command | DenyReason::Arity => run(""),
        DenyReason::Key { index } => [b"access the '", word(index), b"' key"].concat(),
        DenyReason::Channel { index } => [b"access the '", word(index), b"' channel"].concat(),
        DenyReason::Database { index: 0 } => b"access database 0".to_vec(),
        DenyReason::Database { index } => [b"access database ", word(index)].concat(),
        DenyReason::AllKeys { why, .. } => run(&format!(
            " with {why}: it reaches keys that it does not name"
        )),
        DenyReason::Unparsable { .. } => run(": which keys it touches can't be told"),
        DenyReason::Lethal { index: 0 } => {
            run(&format!(" without lethal={}", table.command(id).name))
        }
        DenyReason::Lethal { index } => run(&format!(
            " for '{}' without lethal={}",
            String::from_utf8_lossy(word(index)),
            table.command(id).name
        )),
        DenyReason::Script => run(" with a script that its policy does not name"),
    };
    let head: [&[u8]; 4] = [
        b"User ",
        user.name().as_bytes(),
        b" has no permissions to ",
        &what,
    ];
    head.concat()
}
