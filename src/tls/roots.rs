//! The roots that client certificates must chain to, and the verification against them.
//!
//! Takes certificates and a time, gives facts or a refusal. Knows neither connections nor users.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use tokio_rustls::rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, RevocationOptions, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Version;

use super::facts;
use super::files::{self, Source, TlsProblem};
use super::revocation::Revocations;
use crate::identity::Certificate;

/// Why a client certificate that was shown in a finished handshake is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateRefusal {
    /// The listener requires a certificate and the connection has none. rustls refuses such a
    /// handshake itself; this is the second lock.
    #[error("no client certificate")]
    Missing,
    /// The certificate, or one that its chain needs, is past its end. Also what a session meets that
    /// was opened in time and resumed too late.
    #[error("the client certificate or one of its issuers has expired")]
    Expired,
    /// The certificate, or one that its chain needs, is not valid yet: a clock is wrong here or at
    /// the authority.
    #[error("the client certificate or one of its issuers is not valid yet")]
    NotYetValid,
    /// No chain to a root of the listener, or the certificate is meant for something else.
    #[error("the client certificate is not trusted: {0}")]
    Untrusted(String),
    /// Its issuer has revoked the certificate, or an issuer of it.
    #[error("the client certificate or one of its issuers is revoked")]
    Revoked,
    /// Whether it is revoked can't be told: an issuer of its chain has no revocation list here.
    #[error("one of the client certificate's issuers has no revocation list in crl")]
    RevocationUnknown,
    /// Whether it is revoked can't be told any more: a revocation list is past its end.
    #[error("a revocation list has expired")]
    RevocationListExpired,
    /// The certificate is signed well but says something that must not be matched against rules.
    #[error("the client certificate is malformed: {0}")]
    Malformed(&'static str),
}

/// The trust roots of one listener.
#[derive(Debug)]
pub(super) struct Roots {
    store: Arc<RootCertStore>,
    /// What the anchors in `store.roots` don't keep of their certificates, by the same index.
    details: Vec<RootDetails>,
    algorithms: WebPkiSupportedAlgorithms,
    revocations: Option<Revocations>,
}

#[derive(Debug)]
struct RootDetails {
    not_before: i64,
    not_after: i64,
    spki_sha256: String,
    name: String,
}

// === impl CertificateRefusal ===

impl CertificateRefusal {
    /// The label used in metrics. Stable: dashboards depend on it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "certificate_missing",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Untrusted(_) => "certificate_untrusted",
            Self::Revoked => "certificate_revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::RevocationListExpired => "crl_expired",
            Self::Malformed(_) => "certificate_malformed",
        }
    }
}

impl From<webpki::Error> for CertificateRefusal {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error;

        match error {
            Error::CertExpired { .. } => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotYetValid,
            Error::UnknownIssuer => Self::Untrusted("unknown issuer".to_owned()),
            Error::CertRevoked => Self::Revoked,
            Error::UnknownRevocationStatus => Self::RevocationUnknown,
            Error::CrlExpired { .. } => Self::RevocationListExpired,
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Self::Untrusted(
                "its extended key usage does not allow this use (a client needs clientAuth)"
                    .to_owned(),
            ),
            Error::InvalidSignatureForPublicKey => {
                Self::Untrusted("not signed by the issuer that it names".to_owned())
            }
            Error::UnsupportedCertVersion => {
                Self::Untrusted("not an X.509 version 3 certificate".to_owned())
            }
            error => Self::Untrusted(error.to_string()),
        }
    }
}

// === impl Roots ===

impl Roots {
    /// Reads a bundle. Each certificate in it that cannot serve as a root is a problem of its own;
    /// one that is out of date is a warning, as long as another is left: bundles carry the old root
    /// along while a new one takes over.
    pub(super) fn load(
        key: &'static str,
        path: &Path,
        provider: &CryptoProvider,
        now: SystemTime,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Vec<TlsProblem>> {
        let source = Source { key, path };
        let ders = files::certificates(source)?;
        let mut roots = Self {
            store: Arc::new(RootCertStore::empty()),
            details: Vec::new(),
            algorithms: provider.signature_verification_algorithms,
            revocations: None,
        };
        let mut store = RootCertStore::empty();
        let mut problems = Vec::new();
        let mut out_of_date = Vec::new();
        for (index, der) in ders.iter().enumerate() {
            if ders.iter().take(index).any(|earlier| earlier == der) {
                continue;
            }
            match root(der, &mut store) {
                Ok(details) => {
                    if let Some(reason) = details.out_of_date(files::unix_seconds(now)) {
                        out_of_date.push(source.problem(format!("root {}: {reason}", index + 1)));
                    }
                    roots.details.push(details);
                }
                Err(reason) => {
                    problems.push(source.problem(format!("certificate {}: {reason}", index + 1)));
                }
            }
        }
        if out_of_date.len() == roots.details.len() {
            problems.append(&mut out_of_date);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        warnings.extend(out_of_date.iter().map(ToString::to_string));
        roots.store = Arc::new(store);
        Ok(roots)
    }

    /// From now on a chain must have a list of each issuer, and be on none. Returns the names of the
    /// roots that have none here.
    pub(super) fn revoke(&mut self, revocations: Revocations) -> Vec<String> {
        let anchors = self.store.roots.iter().zip(&self.details);
        let bare = anchors.filter(|(anchor, _)| {
            // The anchor's name has lost its outer tag; a list's issuer has it not either.
            !revocations.covers(anchor.subject.as_ref())
        });
        let bare = bare.map(|(_, details)| details.name.clone()).collect();
        self.revocations = Some(revocations);
        bare
    }

    /// The lists that [`Roots::revoke`] was given.
    pub(super) fn revocations(&self) -> Option<&Revocations> {
        self.revocations.as_ref()
    }

    /// When the first of those ends that are in date now, Unix seconds: a bundle may carry an old one
    /// along.
    pub(super) fn expires(&self, now: SystemTime) -> Option<i64> {
        let seconds = files::unix_seconds(now);
        let good = self.details.iter();
        let good = good.filter(|root| root.out_of_date(seconds).is_none());
        good.map(|root| root.not_after).min()
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }

    /// How many authorities these are: a renewed certificate of the same name and key is no other.
    pub(super) fn len(&self) -> usize {
        let anchors = &self.store.roots;
        let same = |a: &TrustAnchor<'_>, b: &TrustAnchor<'_>| {
            a.subject == b.subject && a.subject_public_key_info == b.subject_public_key_info
        };
        let known_before = |(index, anchor): &(usize, &TrustAnchor<'_>)| {
            anchors.iter().take(*index).any(|other| same(other, anchor))
        };
        anchors
            .iter()
            .enumerate()
            .filter(|entry| !known_before(entry))
            .count()
    }

    /// Verifies `chain`, leaf first, as a client's at time `now`, and says what it states.
    ///
    /// An extended key usage must allow clientAuth where there is one. A certificate without that
    /// extension is good for any purpose (RFC 5280, 4.2.1.12), and Redis' own gen-test-certs.sh,
    /// which many a deployment began with, writes none.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Certificate, CertificateRefusal> {
        let (leaf, intermediates) = chain.split_first().ok_or(CertificateRefusal::Missing)?;
        let entity = EndEntityCert::try_from(leaf)?;
        let path = self.path(&entity, intermediates, now, KeyUsage::client_auth())?;

        let mut certificate = facts::certificate(leaf)?;
        let unknown = || CertificateRefusal::from(webpki::Error::UnknownIssuer);
        let anchor = self.details_of(&path).ok_or_else(unknown)?;
        // The issuer's name is in the leaf; its key is not, and two authorities may share a name.
        // The path says whose signature was really checked.
        match path.intermediate_certificates().next() {
            Some(issuer) => {
                certificate.issuer_spki_sha256 = sha256_hex(&issuer.subject_public_key_info());
            }
            None => certificate
                .issuer_spki_sha256
                .clone_from(&anchor.spki_sha256),
        }
        for issuer in path.intermediate_certificates() {
            let der = issuer.der();
            let issuer = files::parse(&der)
                .ok_or(CertificateRefusal::Malformed("an issuer cannot be parsed"))?;
            let not_after = issuer.validity().not_after.timestamp();
            certificate.not_after = certificate.not_after.min(not_after);
        }
        certificate.not_after = certificate.not_after.min(anchor.not_after);
        Ok(certificate)
    }

    /// A path from `entity` to one of the roots that is good for `usage` at time `now`.
    pub(super) fn path<'p>(
        &'p self,
        entity: &'p EndEntityCert<'p>,
        intermediates: &'p [CertificateDer<'p>],
        now: SystemTime,
        usage: KeyUsage,
    ) -> Result<VerifiedPath<'p>, CertificateRefusal> {
        let seconds = files::unix_seconds(now);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        // webpki looks at no root's dates. Judged here and not afterwards, so that the search goes on
        // to a renewed root of the same name and key.
        let root_in_date = |path: &VerifiedPath<'_>| {
            let details = self.details_of(path).ok_or(webpki::Error::UnknownIssuer)?;
            details.check(seconds, time)
        };
        let verify = |revocation: Option<RevocationOptions<'_>>| {
            entity.verify_for_usage(
                self.algorithms.all,
                &self.store.roots,
                intermediates,
                time,
                usage,
                revocation,
                Some(&root_in_date),
            )
        };
        let path = match &self.revocations {
            Some(revocations) => revocations.with(verify)?,
            None => verify(None)?,
        };
        Ok(path)
    }

    fn details_of(&self, path: &VerifiedPath<'_>) -> Option<&RootDetails> {
        // By address: names and keys may repeat. webpki hands out references into our own slice.
        let anchor = path.anchor();
        let index = self
            .store
            .roots
            .iter()
            .position(|root| std::ptr::eq(root, anchor))?;
        self.details.get(index)
    }
}

/// Adds one certificate to `store`, or says why it cannot be a root.
fn root(der: &CertificateDer<'_>, store: &mut RootCertStore) -> Result<RootDetails, String> {
    let certificate = files::parse(der).ok_or("cannot be parsed")?;
    check_authority(&certificate)?;
    store
        .add(der.clone())
        .map_err(|error| format!("cannot be a root: {error}"))?;
    Ok(RootDetails {
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        spki_sha256: sha256_hex(certificate.public_key().raw),
        name: facts::distinguished_name(certificate.subject()),
    })
}

/// webpki takes any certificate as a root. Then the holder of a mere client certificate that strayed
/// into the bundle could sign others.
fn check_authority(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let subject = facts::distinguished_name(certificate.subject());
    // Version 1 has no extensions that could say what it is for; a root of that age is trusted
    // because the operator put it here, if it is a root at all.
    if certificate.version() == X509Version::V1 {
        return if certificate.subject().as_raw() == certificate.issuer().as_raw() {
            Ok(())
        } else {
            Err(format!("{subject} is not a certificate authority"))
        };
    }
    if !certificate.is_ca() {
        return Err(format!("{subject} is not a certificate authority"));
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => {
            Err(format!("{subject} may not sign certificates (key usage)"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{subject} has a damaged key usage")),
    }
}

/// The digest that `openssl x509 -pubkey | openssl pkey -pubin -outform der | sha256sum` prints.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    facts::hex(&Sha256::digest(bytes))
}

// === impl RootDetails ===

impl RootDetails {
    fn check(&self, seconds: u64, time: UnixTime) -> Result<(), webpki::Error> {
        let bound = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            UnixTime::since_unix_epoch(Duration::from_secs(seconds))
        };
        let now = i64::try_from(seconds).unwrap_or(i64::MAX);
        if now > self.not_after {
            let not_after = bound(self.not_after);
            return Err(webpki::Error::CertExpired { time, not_after });
        }
        if now < self.not_before {
            let not_before = bound(self.not_before);
            return Err(webpki::Error::CertNotValidYet { time, not_before });
        }
        Ok(())
    }

    fn out_of_date(&self, seconds: u64) -> Option<&'static str> {
        let now = i64::try_from(seconds).unwrap_or(i64::MAX);
        if now > self.not_after {
            Some("has expired")
        } else if now < self.not_before {
            Some("is not valid yet")
        } else {
            None
        }
    }
}
