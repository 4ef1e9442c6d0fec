//! Names what went wrong with TLS towards an upstream, for the log.
//!
//! The words are the operator's: which file or setting to look at, on which side.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// What TLS says is wrong between us and an upstream; `None` where the error is the socket's.
pub fn upstream_failure(error: &io::Error) -> Option<String> {
    let tls = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match tls {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => alert_text(*alert),
        // The first byte of a record is one of five, and no reply of Redis begins with any.
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => "what answers is no TLS: is this the upstream's plaintext port?".to_owned(),
        error => format!("{error}"),
    })
}

/// Why the upstream's certificate isn't accepted.
fn certificate(error: &CertificateError) -> String {
    let text = match error {
        CertificateError::UnknownIssuer => {
            "the upstream's certificate is signed by no authority that is trusted here: is tls.ca \
             its authority's?"
        }
        CertificateError::BadSignature => {
            "the upstream's certificate has a signature that does not hold: its issuer is another \
             one of the same name, or signs with an RSA key below 2048 bits"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the upstream's certificate, or an issuer's, has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the upstream's certificate, or an issuer's, is not valid yet: is a clock wrong?"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the upstream's certificate is not meant for servers (extended key usage)"
        }
        CertificateError::NotValidForName => {
            "the upstream's certificate is for another name: tls.server_name says which one is \
             expected"
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            return format!(
                "the upstream's certificate is not for {:?} but for {}: tls.server_name says which \
                 name is expected",
                expected.to_str(),
                presented_names(presented)
            );
        }
        // A pinned one is no way round: what may sign others should not lie on a server.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the upstream shows an authority's own certificate (self-signed?) as its own: let that \
             authority sign one for the server"
        }
        other if format!("{other:?}").contains("UnsupportedCertVersion") => {
            "the upstream's certificate is X.509 version 1; only version 3 is accepted"
        }
        other => return format!("the upstream's certificate is not accepted: {other}"),
    };
    text.to_owned()
}

/// The certificate's names, as rustls writes them; a certificate may hold hundreds.
fn presented_names(names: &[String]) -> String {
    const MOST: usize = 8;
    if names.is_empty() {
        return "no name at all".to_owned();
    }
    let shown: Vec<String> = names.iter().take(MOST).map(|name| shown(name)).collect();
    let more = if names.len() > MOST { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// `DnsName("localhost")` and `IpAddress(127.0.0.1)` without their wrapping; control bytes escaped.
fn shown(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(name);
    inner.trim_matches('"').escape_debug().to_string()
}

/// What the upstream holds against us.
fn alert_text(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CertificateRequired => {
            "the upstream wants a client certificate: set tls.cert and tls.key"
        }
        AlertDescription::UnknownCA => {
            "the upstream refuses our certificate: it doesn't trust who signed it"
        }
        AlertDescription::CertificateExpired => {
            "the upstream refuses our certificate: it has expired"
        }
        AlertDescription::CertificateRevoked => {
            "the upstream refuses our certificate: it was revoked"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => {
            return format!("the upstream refuses our certificate ({alert:?})");
        }
        AlertDescription::ProtocolVersion => "the upstream speaks neither TLS 1.2 nor TLS 1.3",
        // OpenSSL says so too, in TLS 1.2, to a client without a certificate.
        AlertDescription::HandshakeFailure => {
            "the upstream finds no cipher in common, or wants a client certificate (tls.cert)"
        }
        AlertDescription::UnrecognisedName => {
            "the upstream does not know the name that it was asked for: see tls.server_name"
        }
        alert => return format!("the upstream ends TLS with the alert {alert:?}"),
    };
    text.to_owned()
}
