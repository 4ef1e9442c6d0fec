//! The certificate attributes that a rule can match, by the key that the configuration uses.

use std::slice;

use super::Certificate;

/// One attribute of a verified certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Attribute {
    /// A common name of the subject.
    Cn,
    /// An organisational unit of the subject.
    Ou,
    /// An organisation of the subject.
    O,
    /// A DNS name of the subject alternative name.
    Dns,
    /// A URI of the subject alternative name.
    Uri,
    /// A mail address of the subject alternative name.
    Email,
    /// The SHA-256 of the subject's public key info.
    SpkiSha256,
    /// A common name of the issuer.
    IssuerCn,
    /// The SHA-256 of the public key info of the certificate that signed the leaf.
    IssuerSpkiSha256,
}

// === impl Attribute ===

impl Attribute {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Cn,
        Self::Ou,
        Self::O,
        Self::Dns,
        Self::Uri,
        Self::Email,
        Self::SpkiSha256,
        Self::IssuerCn,
        Self::IssuerSpkiSha256,
    ];

    /// Its key in the `match` table of a rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cn => "cn",
            Self::Ou => "ou",
            Self::O => "o",
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Email => "email",
            Self::SpkiSha256 => "spki_sha256",
            Self::IssuerCn => "issuer_cn",
            Self::IssuerSpkiSha256 => "issuer_spki_sha256",
        }
    }

    /// Whether it speaks of the authority that signed the certificate, not of its holder.
    pub fn is_issuer(self) -> bool {
        matches!(self, Self::IssuerCn | Self::IssuerSpkiSha256)
    }

    /// What `certificate` says of it; empty where it says nothing.
    pub(super) fn values(self, certificate: &Certificate) -> &[String] {
        match self {
            Self::Cn => &certificate.cn,
            Self::Ou => &certificate.ou,
            Self::O => &certificate.o,
            Self::Dns => &certificate.dns,
            Self::Uri => &certificate.uri,
            Self::Email => &certificate.email,
            Self::SpkiSha256 => slice::from_ref(&certificate.spki_sha256),
            Self::IssuerCn => &certificate.issuer_cn,
            Self::IssuerSpkiSha256 => slice::from_ref(&certificate.issuer_spki_sha256),
        }
    }
}
