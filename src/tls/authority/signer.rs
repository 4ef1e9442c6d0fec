//! The development authority itself: found in files or made, it signs.
//!
//! Checks everything it signed against itself before a byte of it is written.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::ParsedExtension;

use super::{AuthorityError, Pair, Report, named};
use crate::tls::roots::{CertificateRefusal, Roots};
use crate::tls::{facts, files, provider};

/// As long as a development machine lives.
const AUTHORITY_DAYS: i64 = 3650;
/// The most that Apple's TLS stack accepts of a server certificate from an authority that the user
/// added; nobody else asks for less.
const LEAF_DAYS: i64 = 825;
/// Clocks of containers and virtual machines lag behind that of the machine which signs.
const CLOCK_LAG: Duration = Duration::hours(1);

/// What signs.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority as a root, to check what it signed.
    roots: Roots,
    not_after: OffsetDateTime,
}

// === impl Authority ===

impl Authority {
    pub(super) fn create(pair: &Pair, report: &mut Report) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        let id = facts::hex(&params.key_identifier(&key));
        // With a part of its key in its name, because chains between two authorities of one name fail
        // with errors that nobody understands.
        params.distinguished_name = named(&format!(
            "respgate development CA {}",
            id.get(..8).unwrap_or(&id)
        ));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        params.not_before = OffsetDateTime::now_utc() - CLOCK_LAG;
        params.not_after = params.not_before + Duration::days(AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?;
        pair.write(&certificate.pem(), &key, report)?;
        Self::load(pair)
    }

    /// From files in either case, so that a fresh authority takes the same way as an old one.
    pub(super) fn load(pair: &Pair) -> Result<Self, AuthorityError> {
        let refuse = |path: &Path, reason: &str| AuthorityError::Authority {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let read = |path: &Path| {
            fs::read(path).map_err(|source| AuthorityError::File {
                path: path.to_owned(),
                source,
            })
        };
        let roots = Roots::load(
            "ca",
            &pair.pem,
            &provider(),
            SystemTime::now(),
            &mut Vec::new(),
        )
        .map_err(|problems| {
            let reasons: Vec<_> = problems.into_iter().map(|p| p.reason).collect();
            refuse(&pair.pem, &reasons.join("; "))
        })?;
        let certificate = CertificateDer::from_pem_slice(&read(&pair.pem)?)
            .map_err(|_| refuse(&pair.pem, "holds no certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&pair.key)?)
            .map_err(|_| refuse(&pair.key, "holds no private key, or an encrypted one"))?;
        let key = KeyPair::try_from(&key)
            .map_err(|_| refuse(&pair.key, "holds a key that cannot be used"))?;

        let parsed = files::parse(&certificate)
            .ok_or_else(|| refuse(&pair.pem, "holds a certificate that cannot be parsed"))?;
        let mut params = CertificateParams::default();
        for attribute in parsed.subject().iter_attributes() {
            let kind: Vec<u64> = attribute
                .attr_type()
                .iter()
                .map(Iterator::collect)
                .unwrap_or_default();
            let value = attribute.attr_value();
            let text = std::str::from_utf8(value.data).ok();
            let value = match (value.tag(), text) {
                (Tag::Utf8String, Some(text)) => DnValue::from(text),
                (Tag::PrintableString, Some(text)) => DnValue::PrintableString(text.try_into()?),
                (Tag::Ia5String, Some(text)) => DnValue::Ia5String(text.try_into()?),
                _ => return Err(refuse(&pair.pem, "its subject cannot be reproduced")),
            };
            params
                .distinguished_name
                .push(DnType::from_oid(&kind), value);
        }
        for extension in parsed.extensions() {
            if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
                params.key_identifier_method = KeyIdMethod::PreSpecified(id.0.to_vec());
            }
        }
        let not_after = parsed.validity().not_after.to_datetime();
        let issuer = Issuer::new(params, key);
        Ok(Self {
            issuer,
            roots,
            not_after,
        })
    }

    /// Signs a certificate for a fresh key, or leaves a pair alone that is there.
    pub(super) fn issue(
        &self,
        mut params: CertificateParams,
        usage: KeyUsage,
        pair: &Pair,
        report: &mut Report,
    ) -> Result<(), AuthorityError> {
        if pair.exists()? {
            pair.keep(report);
            if let Err(reason) = self.check_kept(&pair.pem, usage) {
                report.stale.push((pair.pem.clone(), reason));
            }
            return Ok(());
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        // Strict verifiers (OpenSSL's -x509_strict, Python since 3.13) ask for each of these.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = OffsetDateTime::now_utc() - CLOCK_LAG;
        // A leaf that outlives its authority would promise what it cannot hold.
        params.not_after = (params.not_before + Duration::days(LEAF_DAYS)).min(self.not_after);
        let certificate = params.signed_by(&key, &self.issuer)?;
        // An authority that another tool made may have a name that cannot be written byte for byte as
        // it stands there, or a key that isn't its own. Found out here, not by the first client.
        self.check(certificate.der(), usage)
            .map_err(|reason| AuthorityError::Authority {
                path: pair.pem.clone(),
                reason: format!("ca.pem and ca.key cannot sign: {reason}"),
            })?;
        pair.write(&certificate.pem(), &key, report)
    }

    fn check_kept(&self, path: &Path, usage: KeyUsage) -> Result<(), String> {
        let pem = fs::read(path).map_err(|error| error.to_string())?;
        let leaf = CertificateDer::from_pem_slice(&pem).map_err(|_| "holds no certificate")?;
        self.check(&leaf, usage)
    }

    fn check(&self, leaf: &CertificateDer<'_>, usage: KeyUsage) -> Result<(), String> {
        let entity = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
        let path = self.roots.path(&entity, &[], SystemTime::now(), usage);
        match path {
            Ok(_) => Ok(()),
            Err(CertificateRefusal::Expired) => Err("has expired".to_owned()),
            Err(CertificateRefusal::NotYetValid) => Err("is not valid yet".to_owned()),
            Err(CertificateRefusal::Untrusted(reason)) => Err(reason),
            Err(refusal) => Err(refusal.to_string()),
        }
    }
}
