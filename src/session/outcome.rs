//! The one place where a refusal becomes bytes for the client, a label and a log level.
//!
//! The texts are Redis' own wherever Redis has one: client libraries test them.

use bytes::BytesMut;

use crate::policy::DenyReason;
use crate::resp::{Args, ProtocolError};

use super::facts::{Facts, Version};

/// Why a request, or the whole connection, is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The policy says no.
    Policy(DenyReason),
    /// Nobody knows a command of this name.
    UnknownCommand,
    /// The configuration hides the command: to the client it is unknown.
    HiddenCommand,
    /// The container has no such subcommand.
    UnknownSubcommand,
    /// The client must log in first.
    NotAuthenticated,
    /// AUTH or HELLO with a wrong password, or as somebody whom this client can't be.
    LoginFailed,
    /// AUTH or HELLO after too many failures; the password was not looked at.
    LoginThrottled,
    /// AUTH or HELLO as a user who has all the connections that it may have.
    UserConnections,
    /// HELLO by a client that must log in, without AUTH.
    HelloNotAuthenticated,
    /// Wrong number of arguments for a command that the proxy answers itself.
    OwnArity,
    /// HELLO with a version that is no number.
    HelloVersion,
    /// HELLO with a version that nobody speaks.
    HelloNoProto,
    /// HELLO with an option that doesn't exist.
    HelloOption {
        /// Its position.
        index: usize,
    },
    /// HELLO SETNAME with a name that Redis would refuse.
    HelloName,
    /// AUTH with more arguments than it has.
    OwnSyntax,
    /// AUTH with a password alone, where any would do: Redis takes that for a misconfiguration.
    NoPassword,
    /// A command whose replies respgate can't follow yet.
    NotBuilt,
    /// What the proxy answers itself, or what has no single reply, inside MULTI.
    InMulti,
    /// What the proxy answers itself, to a subscriber that speaks RESP2.
    Subscriber,
    /// An option that the command doesn't have.
    UnknownOption {
        /// Its position.
        index: usize,
    },
    /// CLIENT SETINFO with a value that Redis would refuse.
    InfoValue {
        /// Of what.
        name: &'static str,
    },
    /// REPLCONF with an option that no replica introduces itself with.
    ReplconfOption {
        /// Its position.
        index: usize,
    },
    /// A replica sent something else than acknowledgements.
    Replicating,
    /// What may answer anything, to a client whose lines of MONITOR it couldn't be told from.
    Monitoring,
    /// WAIT, where a client's writes go over connections that others use too.
    Shared,
    /// What needs a connection of its own, when too many are open.
    NoConnection,
    /// A change of a user that holds rules which only who holds `lethal=acl` may give.
    Privileged,
    /// A form of a substituted command that the substitute doesn't stand for.
    SubstituteForm,
    /// The upstream doesn't have the substitute, so nothing may run in its place.
    SubstituteUnknown,
    /// More of the request would have to be held back than `max_inspect_buffer`.
    TooLarge,
    /// Nobody could be told of it, and what nobody is told of is not served.
    Unaudited,
    /// An HTTP request: a browser was made to talk to us.
    Http,
    /// A PROXY header, from a peer that may not send one.
    ProxyHeader,
    /// The bytes aren't requests.
    Protocol(ProtocolError),
}

/// Why a connection is refused after its handshake, in one line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionRefusal {
    /// No identity rule matches, or the one that does can't name a user.
    NoIdentity,
    /// The identity's user is unknown or off.
    NoUser,
}

/// How loud a refusal is in the log. Denials aren't failures: the audit has them all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// Routine.
    Debug,
    /// A peer that does what it should not.
    Info,
}

/// What a refusal's text may mention.
pub(super) struct Context<'a> {
    pub(super) user: &'a str,
    /// The command as the client names it, lower case, with its subcommand if it is a container.
    pub(super) command: &'a str,
    pub(super) args: Args<'a>,
    pub(super) facts: &'a Facts,
}

/// Redis echoes at most so many bytes of a name, and of the arguments together. (Up to 6.2 it
/// echoed names uncut.)
const MAX_ECHO: usize = 128;

// === impl Refusal ===

impl Refusal {
    /// The label used in metrics and the audit. Stable: dashboards depend on it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Policy(reason) => reason.label(),
            Self::UnknownCommand => "unknown_command",
            Self::HiddenCommand => "hidden_command",
            Self::UnknownSubcommand => "unknown_subcommand",
            Self::NotAuthenticated | Self::HelloNotAuthenticated => "not_authenticated",
            Self::LoginFailed => "auth",
            Self::LoginThrottled => "auth_throttled",
            Self::UserConnections => "user_connections",
            Self::OwnArity | Self::OwnSyntax => "arity",
            Self::NoPassword => "auth",
            Self::HelloVersion
            | Self::HelloNoProto
            | Self::HelloOption { .. }
            | Self::HelloName => "hello",
            Self::NotBuilt => "not_supported",
            Self::InMulti => "in_multi",
            Self::Subscriber => "subscriber",
            Self::UnknownOption { .. } | Self::InfoValue { .. } => "syntax",
            Self::ReplconfOption { .. } | Self::Replicating => "replication",
            Self::Monitoring => "monitoring",
            Self::Shared => "shared",
            Self::NoConnection => "max_connections",
            Self::Privileged => "lethal",
            Self::SubstituteForm => "substitute_form",
            Self::SubstituteUnknown => "substitute_unknown",
            Self::TooLarge => "too_large",
            Self::Unaudited => "unaudited",
            Self::Http => "http",
            Self::ProxyHeader => "proxy_header",
            Self::Protocol(error) => error.label(),
        }
    }

    /// How loud it is in the log.
    pub fn severity(self) -> Severity {
        match self {
            Self::LoginFailed | Self::Privileged => Severity::Info,
            // Of failed logins there are only so many, of these as many as anybody likes to ask for.
            Self::LoginThrottled => Severity::Debug,
            Self::UserConnections => Severity::Info,
            Self::Http | Self::ProxyHeader | Self::Protocol(_) => Severity::Info,
            Self::TooLarge | Self::Replicating => Severity::Info,
            _ => Severity::Debug,
        }
    }

    /// Whether nothing can follow on this connection.
    pub fn is_fatal(self) -> bool {
        matches!(
            self,
            Self::Protocol(_) | Self::Http | Self::ProxyHeader | Self::Replicating
        )
    }

    /// Whether shadow mode may let the request go on: it tries the policy's verdict on the request,
    /// and nothing else. Who the client is, what it can't be told apart from, what has no place where
    /// it stands, and what nobody knows, is refused as ever.
    pub fn yields_to_shadow(self) -> bool {
        match self {
            Self::Policy(reason) => reason.yields_to_shadow(),
            // A verdict that can't be given.
            Self::TooLarge => true,
            // How many replies they have, and what they change, nobody knows; or Redis lacks them.
            Self::UnknownCommand | Self::HiddenCommand | Self::UnknownSubcommand => false,
            Self::NotAuthenticated
            | Self::LoginFailed
            | Self::LoginThrottled
            | Self::UserConnections
            | Self::NoPassword
            | Self::HelloNotAuthenticated
            | Self::HelloVersion
            | Self::HelloNoProto
            | Self::HelloOption { .. }
            | Self::HelloName => false,
            Self::OwnArity
            | Self::OwnSyntax
            | Self::UnknownOption { .. }
            | Self::InfoValue { .. } => false,
            Self::NotBuilt
            | Self::InMulti
            | Self::Subscriber
            | Self::ReplconfOption { .. }
            | Self::Replicating
            | Self::Monitoring
            | Self::Shared
            | Self::NoConnection => false,
            Self::Privileged => false,
            Self::SubstituteForm | Self::SubstituteUnknown => false,
            // Without its line nothing is served, whatever the policy says.
            Self::Unaudited => false,
            Self::Http | Self::ProxyHeader | Self::Protocol(_) => false,
        }
    }

    /// Appends the error reply.
    pub(super) fn reply(self, context: &Context<'_>, out: &mut BytesMut) {
        let Context {
            user,
            command,
            args,
            facts,
        } = context;
        let mut line = |parts: &[&str]| {
            parts
                .iter()
                .for_each(|part| out.extend_from_slice(part.as_bytes()));
            out.extend_from_slice(b"\r\n");
        };
        match self {
            Self::Policy(DenyReason::Command | DenyReason::Lethal { .. })
            | Self::SubstituteForm => line(&[
                "-NOPERM User ",
                user,
                " has no permissions to run the '",
                command,
                "' command",
            ]),
            Self::Policy(DenyReason::Script) => line(&[
                "-NOPERM User ",
                user,
                " has no permissions to run the '",
                command,
                "' command with a script that its policy does not name",
            ]),
            // Valkey's, since 9.1: Redis has no such rules.
            Self::Policy(DenyReason::Database { .. }) => {
                line(&["-NOPERM No permissions to access database"]);
            }
            // A number that versions read differently.
            Self::Policy(DenyReason::Unparsable { .. }) if *command == "select" => {
                line(&["-NOPERM No permissions to access database"]);
            }
            // Redis' own ACL lets DEBUG reach any key; only SORT has a text of its own.
            Self::Policy(
                DenyReason::Key { .. }
                | DenyReason::Unparsable { .. }
                | DenyReason::AllKeys {
                    why: "DEBUG" | "SYNC",
                    ..
                },
            ) => {
                line(&["-NOPERM No permissions to access a key"]);
            }
            Self::Policy(DenyReason::Channel { .. }) => {
                line(&["-NOPERM No permissions to access a channel"]);
            }
            Self::Policy(DenyReason::AllKeys { why, .. }) => line(&[
                "-ERR ",
                why,
                " option of SORT denied due to insufficient ACL permissions.",
            ]),
            Self::Policy(DenyReason::Arity) | Self::OwnArity => {
                line(&["-ERR wrong number of arguments for '", command, "' command"]);
            }
            Self::UnknownCommand | Self::HiddenCommand => unknown_command(args, facts.version, out),
            Self::UnknownSubcommand => unknown_subcommand(args, command, facts.version, out),
            Self::NotAuthenticated => line(&["-NOAUTH Authentication required."]),
            Self::LoginFailed => line(&[login_failed(args, facts.version)]),
            Self::LoginThrottled => line(&[
                "-ERR respgate: too many failed logins from this address or as this user, try \
                 again later",
            ]),
            // Redis' own, for whom it has no room.
            Self::UserConnections => line(&["-ERR max number of clients reached"]),
            Self::HelloNotAuthenticated => line(&[
                "-NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                 HELLO ",
                if facts.version < Version::new(7, 2, 0) {
                    ""
                } else {
                    "<proto> "
                },
                "AUTH <user> <pass> option can be used to authenticate the client and select the \
                 RESP protocol version at the same time",
            ]),
            // 6.0 doesn't tell the two apart.
            Self::HelloVersion if !facts.has_hello() || facts.version >= Version::new(6, 2, 0) => {
                line(&["-ERR Protocol version is not an integer or out of range"]);
            }
            Self::HelloVersion | Self::HelloNoProto => {
                line(&["-NOPROTO unsupported protocol version"])
            }
            Self::HelloOption { index } => {
                out.extend_from_slice(b"-ERR Syntax error in HELLO option '");
                echo(args.get(index).unwrap_or_default(), MAX_ECHO, out);
                out.extend_from_slice(b"'\r\n");
            }
            Self::HelloName => {
                line(&["-ERR Client names cannot contain spaces, newlines or special characters."])
            }
            // Before there were user names, one argument was all that AUTH had.
            Self::OwnSyntax if facts.has_hello() => line(&["-ERR syntax error"]),
            Self::OwnSyntax => {
                line(&["-ERR wrong number of arguments for '", command, "' command"])
            }
            Self::NoPassword if facts.has_hello() => line(&[
                "-ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ]),
            Self::NoPassword => line(&["-ERR Client sent AUTH, but no password is set"]),
            Self::NotBuilt => line(&["-ERR respgate: not supported yet: '", command, "'"]),
            Self::InMulti => line(&["-ERR respgate: '", command, "' is not allowed inside MULTI"]),
            Self::Subscriber => subscriber(command, facts.version, out),
            Self::UnknownOption { index } => {
                out.extend_from_slice(b"-ERR Unrecognized option '");
                echo(args.get(index).unwrap_or_default(), MAX_ECHO, out);
                out.extend_from_slice(b"'\r\n");
            }
            Self::InfoValue { name } => line(&[
                "-ERR ",
                name,
                " cannot contain spaces, newlines or special characters.",
            ]),
            Self::ReplconfOption { index } => {
                out.extend_from_slice(b"-ERR Unrecognized REPLCONF option: ");
                echo(args.get(index).unwrap_or_default(), MAX_ECHO, out);
                out.extend_from_slice(b"\r\n");
            }
            // Redis' own, since 6.2, which spells it worse.
            Self::Monitoring => line(&[
                "-ERR Replica can't ",
                match facts.version {
                    version if version < Version::new(7, 0, 0) => "interract",
                    _ => "interact",
                },
                " with the keyspace",
            ]),
            Self::Shared => line(&[
                "-ERR respgate: '",
                command,
                "' tells what was written on one connection, and clients share theirs here \
                 (upstream.connections = \"dedicated\" gives each its own)",
            ]),
            Self::NoConnection => line(&[
                "-ERR respgate: '",
                command,
                "' needs a connection of its own, and upstream.max_connections are open",
            ]),
            Self::Privileged => line(&[
                "-NOPERM respgate: changing a user that holds lethal= or script= rules needs lethal=acl",
            ]),
            Self::SubstituteUnknown => line(&[
                "-ERR respgate: the command that stands for '",
                command,
                "' here is unknown to the upstream",
            ]),
            Self::TooLarge => {
                line(&["-ERR respgate: the request is too large to tell which keys it touches"])
            }
            // Redis' word for "I can't keep what I should", which client libraries know.
            Self::Unaudited => line(&[
                "-MISCONF respgate can't write its audit, and is configured to refuse commands then",
            ]),
            // Redis too hangs up without a word (since 3.2.7).
            Self::Http
            | Self::ProxyHeader
            | Self::Protocol(ProtocolError::TlsHandshake | ProtocolError::ProxyHeader)
            | Self::Replicating => {}
            Self::Protocol(error) => line(&["-ERR Protocol error: ", &error.to_string()]),
        }
    }
}

// === impl ConnectionRefusal ===

impl ConnectionRefusal {
    /// The label used in metrics and the audit. Stable: dashboards depend on it.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoIdentity => "identity",
            Self::NoUser => "user",
        }
    }

    /// What the client reads before the connection closes. Who it is taken for, and which rules
    /// there are, only the audit says.
    pub fn line(self) -> &'static [u8] {
        match self {
            Self::NoIdentity => b"-NOPERM respgate: no user is mapped to this connection\r\n",
            Self::NoUser => b"-NOPERM respgate: the user of this connection can't log in\r\n",
        }
    }
}

/// The upstream's own text, so that a hidden command looks like one that was never there.
fn unknown_command(args: &Args<'_>, version: Version, out: &mut BytesMut) {
    let old = version <= Version::new(4, 0, 10);
    let (open, close) = if version >= Version::new(7, 0, 0) || old {
        ("'", "'")
    } else {
        ("`", "`")
    };
    out.extend_from_slice(b"-ERR unknown command ");
    out.extend_from_slice(open.as_bytes());
    echo(args.name(), MAX_ECHO, out);
    out.extend_from_slice(close.as_bytes());
    if !old {
        out.extend_from_slice(b", with args beginning with: ");
        let separator: &[u8] = if version >= Version::new(7, 0, 0) {
            b" "
        } else {
            b", "
        };
        let mut left = MAX_ECHO;
        for arg in args.iter().skip(1) {
            if left == 0 {
                break;
            }
            let before = out.len();
            out.extend_from_slice(open.as_bytes());
            echo(arg, left, out);
            out.extend_from_slice(close.as_bytes());
            out.extend_from_slice(separator);
            left = left.saturating_sub(out.len() - before);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// What a subscriber is told that asks for anything else. Names are told since 6.0, RESET since 6.2,
/// sharded channels and subcommands since 7.0.
fn subscriber(command: &str, version: Version, out: &mut BytesMut) {
    let container = command.split('|').next().unwrap_or(command);
    let parts: [&str; 4] = match () {
        () if version >= Version::new(7, 0, 0) => [
            "Can't execute '",
            command,
            "': ",
            "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        ],
        () if version >= Version::new(6, 2, 0) => [
            "Can't execute '",
            container,
            "': ",
            "only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        ],
        () if version >= Version::new(6, 0, 0) => [
            "Can't execute '",
            container,
            "': ",
            "only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT are allowed in this context",
        ],
        () => [
            "",
            "",
            "",
            "only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context",
        ],
    };
    out.extend_from_slice(b"-ERR ");
    parts
        .iter()
        .for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

fn unknown_subcommand(args: &Args<'_>, command: &str, version: Version, out: &mut BytesMut) {
    let container = command
        .split('|')
        .next()
        .unwrap_or(command)
        .to_ascii_uppercase();
    // ACL is the proxy's own, and so the same in front of every version.
    let text: &[u8] = if version >= Version::new(7, 0, 0) || container == "ACL" {
        b"-ERR unknown subcommand '"
    } else {
        b"-ERR Unknown subcommand or wrong number of arguments for '"
    };
    out.extend_from_slice(text);
    echo(args.get(1).unwrap_or_default(), MAX_ECHO, out);
    out.extend_from_slice(b"'. Try ");
    out.extend_from_slice(container.as_bytes());
    out.extend_from_slice(b" HELP.\r\n");
}

/// The text of the upstream's version. One with no user names (before 6) is only ever told a
/// password; a client that names a user reads the newer text.
fn login_failed(args: &Args<'_>, version: Version) -> &'static str {
    let names_user = args.len() > 2;
    if version < Version::new(6, 0, 0) && !names_user {
        "-ERR invalid password"
    } else if version < Version::new(6, 2, 0) && version >= Version::new(6, 0, 0) {
        "-WRONGPASS invalid username-password pair"
    } else {
        "-WRONGPASS invalid username-password pair or user is disabled."
    }
}

/// Appends a client's bytes to an error line as Redis does: up to a NUL, with line ends turned to
/// blanks, cut to `most`.
fn echo(bytes: &[u8], most: usize, out: &mut BytesMut) {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    for &byte in text.iter().take(most) {
        let shown = if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            byte
        };
        out.extend_from_slice(&[shown]);
    }
}
