//! Names what went wrong in a handshake that failed, for the log and the metrics.
//!
//! The peer gets a TLS alert from rustls and nothing from us.

use std::io;

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
};

/// A failed handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HandshakeFailure {
    /// What kind of failure.
    pub kind: HandshakeFailureKind,
    /// The whole story, for the log.
    pub text: String,
}

/// What made a handshake fail. Closed on purpose: every kind has a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandshakeFailureKind {
    /// The client showed no certificate where one is required.
    NoClientCertificate,
    /// The client's certificate was signed by nobody we trust, or not really by whom it says.
    UnknownAuthority,
    /// The client's certificate has expired.
    ExpiredClientCertificate,
    /// The client's certificate is not valid yet; often a wrong clock.
    ClientCertificateNotYetValid,
    /// The client's certificate may not be used by clients (extended key usage).
    WrongPurpose,
    /// The client's certificate, or an issuer of it, is revoked.
    RevokedClientCertificate,
    /// No revocation list says whether it is, or the one that would has expired.
    RevocationUnknown,
    /// The client's certificate is bad in another way.
    BadClientCertificate,
    /// What came was no TLS; mostly a client that speaks plain Redis.
    NotTls,
    /// No protocol version in common.
    Version,
    /// No cipher suite, key exchange or signature scheme in common.
    NothingInCommon,
    /// The client does not trust our certificate, or does not find its name in it.
    Rejected,
    /// The client went away. Port scanners, health checks and balancers do that all day.
    Closed,
    /// The deadline passed.
    Timeout,
    /// The client broke the protocol in another way.
    Protocol,
    /// The socket failed.
    Io,
}

/// Sorts the error that [`tokio_rustls::TlsAcceptor::accept`] gave.
pub fn handshake_failure(error: &io::Error) -> HandshakeFailure {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let kind = tls.map_or_else(|| io_kind(error.kind()), tls_kind);
    let text = match kind {
        HandshakeFailureKind::NotTls => {
            format!(
                "not TLS; does the client speak plain Redis, or a balancer send a PROXY header? \
                 ({error})"
            )
        }
        HandshakeFailureKind::Closed => "the client closed the connection".to_owned(),
        _ => tls
            .and_then(certificate_text)
            .unwrap_or_else(|| error.to_string()),
    };
    HandshakeFailure { kind, text }
}

/// What to do about a certificate that old tools write, in place of a dump of what was expected.
fn certificate_text(error: &Error) -> Option<String> {
    let Error::InvalidCertificate(error) = error else {
        return None;
    };
    let dump = format!("{error:?}");
    let text = match error {
        CertificateError::BadSignature => {
            "the client certificate's signature does not hold: its issuer is another one of the same \
             name, or signs with an RSA key below 2048 bits"
        }
        _ if dump.contains("UnsupportedSignatureAlgorithm") => {
            "the client certificate is signed with an algorithm that is not accepted (SHA-1 or MD5?)"
        }
        _ if dump.contains("UnsupportedCertVersion") => {
            "the client certificate is X.509 version 1; only version 3 is accepted (openssl x509 \
             -req writes version 1 without -extfile)"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn io_kind(kind: io::ErrorKind) -> HandshakeFailureKind {
    match kind {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => HandshakeFailureKind::Closed,
        io::ErrorKind::TimedOut => HandshakeFailureKind::Timeout,
        _ => HandshakeFailureKind::Io,
    }
}

fn tls_kind(error: &Error) -> HandshakeFailureKind {
    match error {
        Error::NoCertificatesPresented => HandshakeFailureKind::NoClientCertificate,
        Error::InvalidCertificate(error) => certificate_kind(error),
        // The first byte of a record is one of five; no Redis command begins with any of them. The
        // other two are what is found further on in a record that is none.
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => HandshakeFailureKind::NotTls,
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => HandshakeFailureKind::Version,
        Error::PeerIncompatible(_) => HandshakeFailureKind::NothingInCommon,
        Error::AlertReceived(alert) => alert_kind(*alert),
        _ => HandshakeFailureKind::Protocol,
    }
}

fn certificate_kind(error: &CertificateError) -> HandshakeFailureKind {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            HandshakeFailureKind::UnknownAuthority
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            HandshakeFailureKind::ExpiredClientCertificate
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            HandshakeFailureKind::ClientCertificateNotYetValid
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            HandshakeFailureKind::WrongPurpose
        }
        CertificateError::Revoked => HandshakeFailureKind::RevokedClientCertificate,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            HandshakeFailureKind::RevocationUnknown
        }
        _ => HandshakeFailureKind::BadClientCertificate,
    }
}

fn alert_kind(alert: AlertDescription) -> HandshakeFailureKind {
    match alert {
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => HandshakeFailureKind::Rejected,
        AlertDescription::ProtocolVersion => HandshakeFailureKind::Version,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            HandshakeFailureKind::NothingInCommon
        }
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => {
            HandshakeFailureKind::Closed
        }
        _ => HandshakeFailureKind::Protocol,
    }
}

// === impl HandshakeFailureKind ===

impl HandshakeFailureKind {
    /// The label used in metrics. Stable: dashboards depend on it.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoClientCertificate => "no_client_certificate",
            Self::UnknownAuthority => "unknown_ca",
            Self::ExpiredClientCertificate => "expired_client_certificate",
            Self::ClientCertificateNotYetValid => "client_certificate_not_yet_valid",
            Self::WrongPurpose => "wrong_purpose",
            Self::RevokedClientCertificate => "revoked_client_certificate",
            Self::RevocationUnknown => "revocation_unknown",
            Self::BadClientCertificate => "bad_client_certificate",
            Self::NotTls => "not_tls",
            Self::Version => "version_mismatch",
            Self::NothingInCommon => "nothing_in_common",
            Self::Rejected => "rejected_by_client",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Io => "io",
        }
    }
}
