//! The ACL command family: the proxy's users are its own, so no upstream ever hears of it.
//!
//! What only reads is answered from the rules; what changes anything is asked of the [`Host`].
//! Replies are those of Redis 8.2, byte for byte where Redis has the thing at all.
//!
//! - `change`: what SETUSER and DELUSER make of the users, and who may do that.
//! - `show`: users, categories and the log as replies; `dryrun`: DRYRUN; `text`: words on the wire.

mod change;
mod dryrun;
mod show;
mod text;

pub use change::{ChangeError, Errand, FilesError, MadeChange, UserChange};

use bytes::BytesMut;

use crate::policy::{DenyReason, SetUserError};
use crate::resp::{Args, encode_bulk, encode_header};

use super::host::Host;
use super::known::Protocol;
use super::login::Login;
use super::outcome::Refusal;
use super::own::Answered;
use super::prepare::Taking;

use text::{error, integer, name_in_error};

/// `ACL GENPASS` without a number.
const DEFAULT_BITS: i64 = 256;

/// What Redis grants.
const MAX_BITS: i64 = 4096;

/// `ACL LOG` without a number.
const DEFAULT_ENTRIES: i64 = 10;

const OK: &[u8] = b"+OK\r\n";

/// Answers into `reply`. Errors that come of the command's own arguments are answers too; a refusal
/// is what the operator is told of.
///
/// # Errors
/// The command is refused; nothing has changed.
pub(super) fn answer(
    login: &Login,
    args: &Args<'_>,
    protocol: Protocol,
    taking: &mut Taking<'_, impl Host>,
    reply: &mut BytesMut,
) -> Result<Answered, Refusal> {
    let rules = taking.rules;
    let table = rules.table();
    let sub = args.get(1).ok_or(Refusal::OwnArity)?;
    let user = login.user().ok_or(Refusal::NotAuthenticated)?;
    let id = table
        .find(b"acl")
        .and_then(|acl| table.find_sub(acl, sub))
        .ok_or(Refusal::UnknownSubcommand)?;
    let command = table.command(id);
    if !command.arity_fits(args.len()) {
        return Err(Refusal::OwnArity);
    }
    match (command.own_name(), args.get(2), args.len()) {
        ("cat", None, _) => show::categories(reply),
        ("cat", Some(category), 3) => show::category(category, table, reply),
        ("users", ..) => show::users(rules.policy(), reply),
        ("list", ..) => show::list(rules.policy(), reply),
        ("getuser", Some(name), _) => show::user(name, rules.policy(), protocol, reply),
        ("whoami", ..) => encode_bulk(user.name().as_bytes(), reply),
        ("help", ..) => show::help(reply),
        ("dryrun", ..) => dryrun::answer(args, rules, reply),
        ("genpass", bits, 2 | 3) => generate(bits, taking.host, reply),
        ("log", None, _) => log(DEFAULT_ENTRIES, protocol, taking.host, reply),
        ("log", Some(word), 3) if word.eq_ignore_ascii_case(b"reset") => {
            taking.host.reset_acl_log();
            reply.extend_from_slice(OK);
        }
        ("log", Some(count), 3) => match integer(count) {
            Some(count) => log(count, protocol, taking.host, reply),
            None => error(&[NOT_A_NUMBER], reply),
        },
        ("setuser", Some(name), _) => {
            let words: Vec<&[u8]> = args.iter().skip(3).collect();
            let change = UserChange::Set {
                name,
                rules: &words,
            };
            return make(user.name(), &change, taking.host, reply);
        }
        ("deluser", ..) => {
            let names: Vec<&[u8]> = args.iter().skip(2).collect();
            let change = UserChange::Delete { names: &names };
            return make(user.name(), &change, taking.host, reply);
        }
        ("load", ..) => return Ok(begin(user.name(), Errand::Load, taking.host, reply)),
        ("save", ..) => return Ok(begin(user.name(), Errand::Save, taking.host, reply)),
        ("cat" | "genpass" | "log", ..) => {
            let parts: [&[u8]; 3] = [
                b"unknown subcommand or wrong number of arguments for '",
                name_in_error(sub),
                b"'. Try ACL HELP.",
            ];
            error(&parts, reply);
        }
        // An upstream's own, which nobody here can answer.
        _ => return Err(Refusal::UnknownSubcommand),
    }
    Ok(Answered::Told)
}

/// What came of an errand.
pub(super) fn conclude(errand: Errand, done: &Result<(), FilesError>, reply: &mut BytesMut) {
    match (errand, done) {
        (_, Ok(())) => reply.extend_from_slice(OK),
        (_, Err(FilesError::NoFile)) => error(&[NO_FILE], reply),
        (Errand::Load, Err(FilesError::Failed(problems))) => error(&[problems.as_bytes()], reply),
        (Errand::Save, Err(FilesError::Failed(_))) => error(&[NOT_SAVED], reply),
    }
}

const NOT_A_NUMBER: &[u8] = b"value is not an integer or out of range";

const NOT_SAVED: &[u8] = b"There was an error trying to save the ACLs. Please check the server \
                           logs for more information";

/// Redis' own, and as near to the truth here as it is there.
const NO_FILE: &[u8] =
    b"This Redis instance is not configured to use an ACL file. You may want to \
                         specify users via the ACL SETUSER command and then issue a CONFIG REWRITE \
                         (assuming you have a Redis configuration file set) in order to store \
                         users in the Redis configuration.";

fn begin(caller: &str, errand: Errand, host: &mut impl Host, reply: &mut BytesMut) -> Answered {
    match host.begin(caller, errand) {
        Some(Ok(())) => Answered::Begun(errand),
        Some(failed) => {
            conclude(errand, &failed, reply);
            Answered::Told
        }
        None => Answered::NotNow,
    }
}

fn make(
    caller: &str,
    change: &UserChange<'_>,
    host: &mut impl Host,
    reply: &mut BytesMut,
) -> Result<Answered, Refusal> {
    let Some(made) = host.change_users(caller, change) else {
        return Ok(Answered::NotNow);
    };
    match made {
        Ok(count) => {
            match change {
                UserChange::Set { .. } => reply.extend_from_slice(OK),
                UserChange::Delete { .. } => encode_header(b':', count as u64, reply),
            }
            Ok(Answered::Acl {
                outdated: count > 0,
            })
        }
        Err(ChangeError::Rules(SetUserError::Rule { rule, error: why })) => {
            let why = why.to_string();
            let parts: [&[u8]; 4] = [
                b"Error in ACL SETUSER modifier '",
                name_in_error(rule.as_bytes()),
                b"': ",
                why.as_bytes(),
            ];
            error(&parts, reply);
            Ok(Answered::Told)
        }
        Err(ChangeError::Rules(why)) => {
            error(&[why.to_string().as_bytes()], reply);
            Ok(Answered::Told)
        }
        Err(ChangeError::DefaultUser) => {
            error(&[b"The 'default' user cannot be removed"], reply);
            Ok(Answered::Told)
        }
        Err(ChangeError::Privileged) => Err(Refusal::Privileged),
        Err(ChangeError::NotAllowed) => Err(Refusal::Policy(DenyReason::Command)),
    }
}

fn log(count: i64, protocol: Protocol, host: &mut impl Host, reply: &mut BytesMut) {
    let (entries, now) = host.acl_log(usize::try_from(count).unwrap_or(0));
    show::log(&entries, now, protocol, reply);
}

/// GENPASS: as many hex digits as the bits need.
fn generate(bits: Option<&[u8]>, host: &mut impl Host, reply: &mut BytesMut) {
    let bits = match bits.map(integer) {
        None => DEFAULT_BITS,
        Some(Some(bits)) => bits,
        Some(None) => return error(&[NOT_A_NUMBER], reply),
    };
    if !(1..=MAX_BITS).contains(&bits) {
        return error(
            &[
                b"ACL GENPASS argument must be the number of bits for the output password, a \
                positive number up to 4096",
            ],
            reply,
        );
    }
    let digits = usize::try_from(bits).unwrap_or_default().div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    if !host.random(&mut bytes) {
        return error(&[b"respgate: the system has no random bytes"], reply);
    }
    let mut hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(digits);
    encode_bulk(hex.as_bytes(), reply);
}

#[cfg(test)]
mod tests;
