//! What current client libraries ask when they connect, answered where the upstream is too old for
//! it, so that they connect without special options.
//!
//! HELLO and RESET are the proxy's own in any case, and ACL WHOAMI is.

use bytes::BytesMut;

use crate::resp::{Args, encode_bulk, encode_header};

use super::facts::Facts;
use super::known::Protocol;
use super::outcome::Refusal;

/// A command that has an answer here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shim {
    /// CLIENT ID, since 5.0.
    ClientId,
    /// CLIENT SETNAME, where clients share connections: told to those that it gets for itself.
    ClientSetName,
    /// CLIENT GETNAME, the same.
    ClientGetName,
    /// CLIENT SETINFO, since 7.2: what library the client is. Nobody is told.
    ClientSetInfo,
    /// CLIENT NO-TOUCH, since 7.2. An older server can't leave a key untouched.
    ClientNoTouch,
    /// COMMAND DOCS, since 7.0: no documents.
    CommandDocs,
}

// === impl Shim ===

impl Shim {
    /// By the command's full name, lower case.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "client|id" => Some(Self::ClientId),
            "client|setname" => Some(Self::ClientSetName),
            "client|getname" => Some(Self::ClientGetName),
            "client|setinfo" => Some(Self::ClientSetInfo),
            "client|no-touch" => Some(Self::ClientNoTouch),
            "command|docs" => Some(Self::CommandDocs),
            _ => None,
        }
    }

    /// Whether it is about who the client is, which on a connection that others use too only the
    /// proxy knows.
    pub(super) fn is_of_the_client(self) -> bool {
        match self {
            Self::ClientId | Self::ClientSetName | Self::ClientGetName | Self::ClientSetInfo => {
                true
            }
            Self::ClientNoTouch | Self::CommandDocs => false,
        }
    }

    /// Returns whether the client has another name now, and which. `name`: the one that it has.
    ///
    /// # Errors
    /// As the server's own that has the command.
    pub(super) fn answer(
        self,
        args: &Args<'_>,
        client_id: u64,
        name: Option<&[u8]>,
        protocol: Protocol,
        reply: &mut BytesMut,
    ) -> Result<Option<Name>, Refusal> {
        match self {
            Self::ClientId => encode_header(b':', client_id, reply),
            Self::ClientSetName => {
                let name = args.get(2).unwrap_or_default();
                if !is_printable(name) {
                    return Err(Refusal::HelloName);
                }
                reply.extend_from_slice(OK);
                return Ok(Some((!name.is_empty()).then(|| name.into())));
            }
            Self::ClientGetName => match (name, protocol) {
                (Some(name), _) => encode_bulk(name, reply),
                (None, Protocol::Resp2) => reply.extend_from_slice(b"$-1\r\n"),
                (None, Protocol::Resp3) => reply.extend_from_slice(b"_\r\n"),
            },
            Self::CommandDocs => {
                let kind = match protocol {
                    Protocol::Resp2 => b'*',
                    Protocol::Resp3 => b'%',
                };
                encode_header(kind, 0, reply);
            }
            Self::ClientSetInfo => {
                let is = |index, word: &[u8]| {
                    let given = args.get(index);
                    given.is_some_and(|given| given.eq_ignore_ascii_case(word))
                };
                let name = match () {
                    () if is(2, b"lib-name") => "lib-name",
                    () if is(2, b"lib-ver") => "lib-ver",
                    () => return Err(Refusal::UnknownOption { index: 2 }),
                };
                let value = args.get(3).unwrap_or_default();
                if !is_printable(value) {
                    return Err(Refusal::InfoValue { name });
                }
                reply.extend_from_slice(OK);
            }
            Self::ClientNoTouch => {
                let word = args.get(2).unwrap_or_default();
                if !word.eq_ignore_ascii_case(b"on") && !word.eq_ignore_ascii_case(b"off") {
                    return Err(Refusal::OwnSyntax);
                }
                reply.extend_from_slice(OK);
            }
        }
        Ok(None)
    }
}

/// A client's name.
pub(super) type Name = Option<Box<[u8]>>;

/// What Redis takes for a name: no blanks, no control bytes.
fn is_printable(name: &[u8]) -> bool {
    name.iter().all(|byte| matches!(byte, b'!'..=b'~'))
}

const OK: &[u8] = b"+OK\r\n";

impl Facts {
    /// Whether a server of this version lacks a command that came with version `since`.
    pub(super) fn is_older_than(&self, since: &str) -> bool {
        super::Version::parse(since).is_some_and(|since| self.version < since)
    }
}
