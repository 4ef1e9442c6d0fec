//! The lethal few: commands that lead from Redis to the machine, or end it.
//!
//! `+@all` doesn't open them: they need `lethal=command`, or `lethal=*`, besides. docs/policy.md has
//! the list with its reasons; `command` says which ones they are.

use crate::command::{CommandId, Gate, Table};
use crate::resp::Args;

/// Which lethal commands a user may run, if it may run them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lethal {
    any: bool,
    /// Each with its full name.
    commands: Vec<(CommandId, Box<str>)>,
}

/// Parameters of CONFIG SET that write files, load code, change who may connect, or send the data
/// elsewhere. Any `tls-`, `enable-` or `…-announce-…` parameter is one too.
const PARAMETERS: &[&str] = &[
    "aclfile",
    "appenddirname",
    "appendfilename",
    "bind",
    "dbfilename",
    "dir",
    "include",
    "loadmodule",
    "logfile",
    "masterauth",
    "masteruser",
    "pidfile",
    "port",
    "protected-mode",
    "replicaof",
    "requirepass",
    "slaveof",
    "unixsocket",
    "unixsocketperm",
];

// === impl Lethal ===

impl Lethal {
    /// Whether the name in a `lethal=` rule is a lethal command, or a container of some.
    pub(super) fn names(id: CommandId, table: &Table) -> bool {
        let lethal = |id| {
            matches!(
                table.command(id).gate,
                Gate::Lethal | Gate::LethalOnLegacy | Gate::LethalParameters | Gate::LethalChannel
            )
        };
        // ACL is answered by the proxy: see `User::may_administer`.
        &*table.command(id).name == "acl" || lethal(id) || table.subcommands(id).any(lethal)
    }

    pub(super) fn allow_any(&mut self) {
        self.any = true;
    }

    pub(super) fn allow(&mut self, id: CommandId, table: &Table) {
        if !self.contains(id) {
            self.commands.push((id, (&*table.command(id).name).into()));
        }
    }

    fn contains(&self, id: CommandId) -> bool {
        self.commands.iter().any(|(known, _)| *known == id)
    }

    /// Whether nothing lethal is allowed.
    pub fn is_empty(&self) -> bool {
        !self.any && self.commands.is_empty()
    }

    /// Whether a rule names the command, or its container.
    pub fn allows(&self, id: CommandId, table: &Table) -> bool {
        let parent = table.command(id).parent;
        self.any || self.contains(id) || parent.is_some_and(|parent| self.contains(parent))
    }

    /// The rules that make this, each with a blank behind it.
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        let names = self.commands.iter().map(|(_, name)| &**name);
        for name in self.any.then_some("*").into_iter().chain(names) {
            out.extend_from_slice(b"lethal=");
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
        }
    }
}

/// The first parameter of a CONFIG SET that is lethal; `Err`: not all of them are here.
pub(super) fn lethal_parameter(args: &Args<'_>) -> Result<Option<usize>, ()> {
    for index in (2..args.len()).step_by(2) {
        if is_lethal(args.get(index).ok_or(())?) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Where Sentinels tell each other who is master: each believes a message with a higher epoch than
/// its own, whoever sent it and through whichever Redis it came (seen with 7.0.15 and 8.2.3).
const HELLO: &[u8] = b"__sentinel__:hello";

/// The channel of a PUBLISH, if it is lethal; `Err`: it isn't here. Sentinel itself compares it up
/// to a NUL byte, so what only begins like it is lethal, too.
pub(super) fn lethal_channel(args: &Args<'_>) -> Result<Option<usize>, ()> {
    if args.len() < 2 {
        return Ok(None);
    }
    let channel = args.get(1).ok_or(())?;
    Ok(channel.starts_with(HELLO).then_some(1))
}

/// Up to 6.2 a NUL byte ends a parameter's name (`strcasecmp`): what is no plain name is lethal.
fn is_lethal(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.iter().all(plain) {
        return true;
    }
    let name = name.to_ascii_lowercase();
    name.starts_with(b"tls-")
        || name.starts_with(b"enable-")
        // `replica-announce-ip` and its like send clients and replicas elsewhere.
        || name.windows(9).any(|part| part == b"announce-")
        || PARAMETERS.iter().any(|known| known.as_bytes() == name)
}
