//! What a verified client certificate says, as plain values.

/// The attributes of a verified leaf certificate that identity rules can match.
///
/// Filled by `tls` after the chain was verified. Every list is in the certificate's own order and
/// holds only values without NUL or control bytes: a certificate with others is refused.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificate {
    /// Common names of the subject.
    pub cn: Vec<String>,
    /// Organisational units of the subject.
    pub ou: Vec<String>,
    /// Organisations of the subject.
    pub o: Vec<String>,
    /// DNS names of the subject alternative name, lower-cased.
    pub dns: Vec<String>,
    /// URIs of the subject alternative name.
    pub uri: Vec<String>,
    /// Mail addresses of the subject alternative name.
    pub email: Vec<String>,
    /// SHA-256 over the DER of the subject's public key info, lower-case hex.
    pub spki_sha256: String,
    /// Common names of the issuer.
    pub issuer_cn: Vec<String>,
    /// SHA-256 over the DER of the public key info of the certificate that really signed the leaf,
    /// lower-case hex.
    pub issuer_spki_sha256: String,
    /// The whole subject, RFC 4514 order and escaping, for the audit.
    pub subject: String,
    /// The issuer's whole name, in the same form, for the audit.
    pub issuer: String,
    /// The serial number, lower-case hex, for the audit.
    pub serial: String,
    /// Seconds since the Unix epoch after which the certificate, or one of its chain, is expired.
    pub not_after: i64,
}
