//! Why there is no upstream, and what that says of whether it lives.

use std::io;

use crate::tls::upstream_failure;

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It can't be reached, or the connection broke.
    #[error("can't reach the upstream: {0}")]
    Io(io::Error),
    /// It hung up.
    #[error("the upstream closed the connection")]
    Closed,
    /// One of us two doesn't accept the other.
    #[error("TLS: {0}")]
    Tls(String),
    /// It didn't answer within `connect_timeout`; and what was waited for.
    #[error("the upstream did not answer in time ({0})")]
    Timeout(&'static str),
    /// It refuses our own AUTH.
    #[error("the upstream refuses our AUTH: {0}")]
    Credential(String),
    /// It wants a password, and there is none for it.
    #[error("the upstream asks for a password: set its password_file")]
    NoCredential,
    /// It no longer takes us for who we logged in as.
    #[error("the upstream has forgotten our login: {0}")]
    LoggedOut(String),
    /// It doesn't let us into this database.
    #[error("the upstream refuses SELECT: {0}")]
    Database(String),
    /// It doesn't answer ECHO, by which connections that clients share are checked.
    #[error("the upstream refuses ECHO, so clients can't share connections to it: {0}")]
    NoEcho(String),
    /// It was the master, and is something else now.
    #[error("it is the master no more: its role is {0}")]
    Demoted(String),
    /// None of several addresses can be used.
    #[error(transparent)]
    Nobody(Nobody),
    /// It says something that no Redis says here.
    #[error("unexpected answer of the upstream: {0}")]
    Answer(String),
}

/// None of several addresses is what is wanted.
#[derive(Debug, thiserror::Error)]
#[error("no {wanted} among {among}")]
pub struct Nobody {
    /// A master, or a Sentinel.
    pub wanted: &'static str,
    /// The addresses, each with what is in its way.
    pub among: String,
    /// One of them doesn't answer.
    pub silent: bool,
    /// The one in use has only said that nobody can be served just now.
    pub excused: bool,
    /// The one in use is none any more.
    pub demoted: bool,
}

/// Whether an error says that nobody can be served just now.
pub(in crate::proxy) fn is_excuse(error: &str) -> bool {
    let excuses = ["LOADING ", "BUSY ", "MASTERDOWN "];
    excuses.iter().any(|excuse| error.starts_with(excuse))
}

// === impl UpstreamError ===

impl UpstreamError {
    /// Whether it was there and ended the connection.
    pub(in crate::proxy) fn is_hangup(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }

    /// Whether nothing was said at all.
    pub(in crate::proxy) fn is_silence(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Io(error) => error.kind() == io::ErrorKind::TimedOut,
            Self::Nobody(nobody) => nobody.silent,
            _ => false,
        }
    }

    /// The label used in metrics. Stable: dashboards depend on it.
    pub(in crate::proxy) fn label(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Closed => "closed",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Credential(_) => "credential",
            Self::NoCredential => "no_credential",
            Self::LoggedOut(_) => "logged_out",
            Self::Database(_) => "database",
            Self::NoEcho(_) => "no_echo",
            Self::Demoted(_) => "demoted",
            Self::Nobody(_) => "no_master",
            Self::Answer(_) => "answer",
        }
    }

    /// Whether it lives, and said that it can't serve us just now.
    pub(in crate::proxy) fn is_excuse(&self) -> bool {
        match self {
            // Full it may be of connections that are ours.
            Self::Answer(text) | Self::Credential(text) => {
                is_excuse(text) || text.starts_with("ERR max number of clients")
            }
            Self::Nobody(nobody) => nobody.excused,
            _ => false,
        }
    }
}

impl From<io::Error> for UpstreamError {
    fn from(error: io::Error) -> Self {
        match upstream_failure(&error) {
            Some(text) => Self::Tls(text),
            // Also an end of TLS without close_notify, of which rustls has much more to say.
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(kind: io::ErrorKind) -> UpstreamError {
        UpstreamError::Io(kind.into())
    }

    fn nobody(silent: bool, excused: bool) -> UpstreamError {
        UpstreamError::Nobody(Nobody {
            wanted: "master",
            among: String::new(),
            silent,
            excused,
            demoted: false,
        })
    }

    #[test]
    fn silence_is_told_from_a_refusal() {
        for silent in [
            UpstreamError::Timeout("connect"),
            io_error(io::ErrorKind::TimedOut),
            nobody(true, false),
        ] {
            assert!(silent.is_silence() && !silent.is_excuse(), "{silent:?}");
        }
        for refused in [
            io_error(io::ErrorKind::ConnectionRefused),
            UpstreamError::Closed,
            UpstreamError::Credential("WRONGPASS x".to_owned()),
            UpstreamError::Answer("ERR x".to_owned()),
            nobody(false, false),
        ] {
            assert!(!refused.is_silence() && !refused.is_excuse(), "{refused:?}");
        }
    }

    #[test]
    fn who_cannot_serve_us_just_now_lives() {
        for excuse in [
            UpstreamError::Answer("BUSY Redis is busy (INFO)".to_owned()),
            UpstreamError::Answer("ERR max number of clients reached".to_owned()),
            UpstreamError::Credential("ERR max number of clients reached".to_owned()),
            nobody(false, true),
        ] {
            assert!(excuse.is_excuse(), "{excuse:?}");
        }
    }
}
