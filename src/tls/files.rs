//! Reads PEM files: certificate chains, private keys, bundles of roots.
//!
//! Never repeats the content of a key file in a message. Knows no configuration but the name of the
//! key that a file was given under.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, CertificateError, Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// A server certificate that ends sooner than this is worth a warning: two weeks are enough to renew
/// by hand, and renewal by machine (30 days ahead with ACME) has failed by then.
pub(super) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Why a file of a TLS table cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{key} = {:?}: {reason}", path.display())]
pub struct TlsProblem {
    /// The configuration key that names the file: `cert`, `key`, `client_ca`, `crl` or `ca`; or
    /// `server_name`, which is no file.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and where it helps, what to do about it. Never holds key material.
    pub reason: String,
}

/// One file, and the configuration key that names it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) key: &'static str,
    pub(super) path: &'a Path,
}

/// A chain and the key that belongs to its first certificate.
pub(super) struct KeyPair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) warnings: Vec<String>,
}

/// A digest over settings and all files that they name.
pub(super) fn fingerprint<'a>(
    settings: &impl fmt::Debug,
    files: impl Iterator<Item = &'a PathBuf>,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("{settings:?}"));
    for path in files {
        // What can't be read is a problem elsewhere.
        let content = fs::read(path).unwrap_or_default();
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

/// Reads a chain and its key, checks that they belong together and that the leaf is in date.
pub(super) fn key_pair(
    cert: Source<'_>,
    key: Source<'_>,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<KeyPair, Vec<TlsProblem>> {
    let mut warnings = Vec::new();
    let chain = certificates(cert).and_then(|chain| {
        check_dates(cert, &chain, now, &mut warnings)?;
        Ok(chain)
    });
    let signing_key = private_key(key).and_then(|der| {
        // rustls' own text is left out: it is about encodings, and nothing of a key may leak.
        provider.key_provider.load_private_key(der).map_err(|_| {
            vec![key.problem(
                "not a key that can be used: RSA with at least 2048 bits, ECDSA over P-256, P-384 or \
                 P-521, or Ed25519",
            )]
        })
    });
    let (chain, signing_key) = match (chain, signing_key) {
        (Ok(chain), Ok(signing_key)) => (chain, signing_key),
        (chain, signing_key) => {
            let problems = [chain.err(), signing_key.err()];
            return Err(problems.into_iter().flatten().flatten().collect());
        }
    };

    if let Some(warning) = readable_by_others(key.path) {
        warnings.push(warning);
    }
    let certified = CertifiedKey::new(chain, signing_key);
    check_match(cert, key, &certified)?;
    Ok(KeyPair {
        certified: Arc::new(certified),
        warnings,
    })
}

/// Every certificate of a file, in its order; at least one.
pub(super) fn certificates(
    source: Source<'_>,
) -> Result<Vec<CertificateDer<'static>>, Vec<TlsProblem>> {
    let certificates = of_kind(source, SectionKind::Certificate, "certificate")?;
    Ok(certificates.into_iter().map(CertificateDer::from).collect())
}

/// The content of every section of one kind in a file, in its order; at least one.
pub(super) fn of_kind(
    source: Source<'_>,
    kind: SectionKind,
    what: &str,
) -> Result<Vec<Vec<u8>>, Vec<TlsProblem>> {
    let sections = sections(source)?;
    let found = describe(&sections);
    let wanted = sections.into_iter().filter(|(found, _)| *found == kind);
    let wanted: Vec<_> = wanted.map(|(_, der)| der).collect();
    if wanted.is_empty() {
        return Err(vec![source.problem(format!("holds no {what} ({found})"))]);
    }
    Ok(wanted)
}

/// Parses one certificate to its end.
pub(super) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

/// Seconds since the Unix epoch; a clock before 1970 reads as 0, where no certificate is valid yet.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn private_key(source: Source<'_>) -> Result<PrivateKeyDer<'static>, Vec<TlsProblem>> {
    let bytes = read(source)?;
    // Looked for before parsing: the parser skips the first form and calls the second bad base64.
    for marker in [
        &b"-----BEGIN ENCRYPTED PRIVATE KEY"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ] {
        if bytes.windows(marker.len()).any(|window| window == marker) {
            return Err(vec![source.problem(
                "the key is encrypted; decrypt it (openssl pkey -in OLD -out NEW) and guard the file \
                 by its mode",
            )]);
        }
    }
    let sections = split(source, &bytes)?;
    let found = describe(&sections);
    let mut keys: Vec<_> = sections
        .into_iter()
        .filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der))
        .collect();
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), more) => {
            Err(vec![source.problem(format!(
                "holds {} private keys, not one",
                more + 1
            ))])
        }
        (None, _) => Err(vec![
            source.problem(format!("holds no private key ({found})")),
        ]),
    }
}

fn sections(source: Source<'_>) -> Result<Vec<(SectionKind, Vec<u8>)>, Vec<TlsProblem>> {
    let bytes = read(source)?;
    split(source, &bytes)
}

fn read(source: Source<'_>) -> Result<Vec<u8>, Vec<TlsProblem>> {
    fs::read(source.path).map_err(|error| vec![source.problem(format!("cannot be read: {error}"))])
}

fn split(source: Source<'_>, bytes: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, Vec<TlsProblem>> {
    let sections: Result<Vec<_>, _> = PemObject::pem_slice_iter(bytes).collect();
    match sections {
        // The parser's own text may quote the file.
        Err(_) => Err(vec![source.problem("holds a damaged PEM section")]),
        // 0x30 opens a DER sequence: the commonest binary file in this place.
        Ok(sections) if sections.is_empty() && bytes.first() == Some(&0x30) => {
            Err(vec![source.problem(
                "is DER, not PEM; convert it with openssl (-inform der)",
            )])
        }
        Ok(sections) => Ok(sections),
    }
}

fn describe(sections: &[(SectionKind, Vec<u8>)]) -> &'static str {
    let has = |wanted: &[SectionKind]| sections.iter().any(|(kind, _)| wanted.contains(kind));
    if sections.is_empty() {
        "nothing in PEM form is there"
    } else if has(&[
        SectionKind::PrivateKey,
        SectionKind::RsaPrivateKey,
        SectionKind::EcPrivateKey,
    ]) {
        "it holds a private key"
    } else if has(&[SectionKind::Certificate]) {
        "it holds a certificate"
    } else if has(&[SectionKind::Csr]) {
        "it holds a certificate request"
    } else if has(&[SectionKind::Crl]) {
        "it holds a revocation list"
    } else {
        "it holds something else"
    }
}

fn check_dates(
    source: Source<'_>,
    chain: &[CertificateDer<'_>],
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<(), Vec<TlsProblem>> {
    let parsed: Option<Vec<_>> = chain.iter().map(|der| parse(der)).collect();
    let Some(parsed) = parsed else {
        return Err(vec![
            source.problem("holds a certificate that cannot be parsed"),
        ]);
    };
    let seconds = unix_seconds(now);
    for (index, certificate) in parsed.iter().enumerate() {
        let validity = certificate.validity();
        let reason = if is_past(validity.not_after, seconds) {
            format!("expired on {}", validity.not_after)
        } else if is_ahead(validity.not_before, seconds) {
            format!("is not valid before {}", validity.not_before)
        } else if is_past(
            validity.not_after,
            seconds.saturating_add(EXPIRES_SOON.as_secs()),
        ) {
            warnings.push(format!(
                "{}: expires on {}",
                source.path.display(),
                validity.not_after
            ));
            continue;
        } else {
            continue;
        };
        if index == 0 {
            return Err(vec![source.problem(format!("the certificate {reason}"))]);
        }
        // Not fatal: the client may know a newer issuer with the same name and key.
        warnings.push(format!(
            "{}: certificate {} of the chain {reason}",
            source.path.display(),
            index + 1
        ));
    }
    for pair in parsed.windows(2) {
        if let [certificate, issuer] = pair
            && certificate.issuer().as_raw() != issuer.subject().as_raw()
        {
            warnings.push(format!(
                "{}: the chain is out of order: {} was not issued by {}, which follows it",
                source.path.display(),
                certificate.subject(),
                issuer.subject(),
            ));
        }
    }
    Ok(())
}

pub(super) fn is_past(time: ASN1Time, seconds: u64) -> bool {
    i64::try_from(seconds).map_or(true, |seconds| seconds > time.timestamp())
}

pub(super) fn is_ahead(time: ASN1Time, seconds: u64) -> bool {
    i64::try_from(seconds).is_ok_and(|seconds| seconds < time.timestamp())
}

fn check_match(
    cert: Source<'_>,
    key: Source<'_>,
    certified: &CertifiedKey,
) -> Result<(), Vec<TlsProblem>> {
    let problem = match certified.keys_match() {
        Ok(()) => return Ok(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let elsewhere = certified.cert.iter().skip(1).any(|other| {
                CertifiedKey::new(vec![other.clone()], Arc::clone(&certified.key))
                    .keys_match()
                    .is_ok()
            });
            if elsewhere {
                cert.problem("the server's own certificate must come first, then its issuers")
            } else {
                key.problem(format!(
                    "does not belong to the certificate in {:?}",
                    cert.path.display()
                ))
            }
        }
        Err(Error::InvalidCertificate(CertificateError::Other(other))) => {
            cert.problem(format!("the certificate cannot be used: {other}"))
        }
        // What cannot be shown to match is refused: a server with the wrong key fails every handshake.
        Err(error) => cert.problem(format!("the certificate cannot be used: {error}")),
    };
    Err(vec![problem])
}

/// A warning where the mode lets more than the owner read a private key.
///
/// Group is left alone: a key that root owns and the service's group reads is good practice.
#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        format!(
            "{}: every user of this machine may read the private key (mode {:04o}); chmod o-r",
            path.display(),
            mode & 0o7777
        )
    })
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> Option<String> {
    None
}

/// Those ends of certificates that there are.
pub(super) fn known<const N: usize>(
    expiry: [(&'static str, Option<i64>); N],
) -> Vec<(&'static str, i64)> {
    let expiry = expiry.into_iter();
    expiry
        .filter_map(|(what, ends)| Some((what, ends?)))
        .collect()
}

// === impl Source ===

impl Source<'_> {
    pub(super) fn problem(&self, reason: impl Into<String>) -> TlsProblem {
        TlsProblem {
            key: self.key,
            path: self.path.to_owned(),
            reason: reason.into(),
        }
    }
}

// === impl KeyPair ===

impl KeyPair {
    /// When the first certificate of its chain ends, Unix seconds.
    pub(super) fn expires(&self) -> Option<i64> {
        let ends = |der| Some(parse(der)?.validity().not_after.timestamp());
        let ders = self.certified.cert.iter();
        ders.filter_map(|der| ends(der)).min()
    }

    pub(super) fn resolver(&self) -> Arc<rustls::sign::SingleCertAndKey> {
        Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(
            &self.certified,
        )))
    }
}

#[cfg(test)]
mod tests;
