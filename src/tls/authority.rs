//! A certificate authority for development: `respgate certs`, the demo and the tests.
//!
//! Never for production: its key lies unencrypted beside the certificates. Makes and writes files;
//! knows nothing of how they are served.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::ParsedExtension;

use super::files;
use super::provider;
use super::roots::{CertificateRefusal, Roots};

/// The names that a server certificate holds unless others are asked for: all of loopback.
pub const DEFAULT_SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// As long as a development machine lives.
const AUTHORITY_DAYS: i64 = 3650;
/// The most that Apple's TLS stack accepts of a server certificate from an authority that the user
/// added; nobody else asks for less.
const LEAF_DAYS: i64 = 825;
/// Clocks of containers and virtual machines lag behind that of the machine which signs.
const CLOCK_LAG: Duration = Duration::hours(1);

/// What [`make_certificates`] did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Files that were there and were left alone.
    pub kept: Vec<PathBuf>,
    /// Kept certificates that this authority doesn't vouch for today, with the reason: remove the
    /// pair and ask again.
    pub stale: Vec<(PathBuf, String)>,
}

/// Why no certificates were made, or not all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A client's name becomes a file's name, and must not lead elsewhere or hide another file.
    #[error(
        "{0:?} cannot be a client's name: letters, digits, \"_\", \".\" and \"-\", not beginning with \
         \".\" or \"-\", at most 64, and neither \"ca\" nor \"server\""
    )]
    Name(String),
    /// A server name that is neither a DNS name nor an address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
    /// One half of a pair. To make the other half would be to overwrite what someone may need.
    #[error("{} is there, {} is not; put it back or remove both", present.display(), missing.display())]
    HalfPair {
        /// The file that exists.
        present: PathBuf,
        /// The file that doesn't.
        missing: PathBuf,
    },
    /// The authority that is there cannot sign.
    #[error("{}: {reason}", path.display())]
    Authority {
        /// Its certificate or key.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes what is missing in `out`: an authority (`ca.pem`, `ca.key`), a server certificate
/// (`server.pem`, `server.key`) for `server_names` or [`DEFAULT_SERVER_NAMES`], and `NAME.pem`,
/// `NAME.key` for each of `clients`.
///
/// Overwrites nothing: an authority that is there signs, other pairs that are there stay.
pub fn make_certificates(
    out: &Path,
    clients: &[String],
    server_names: &[String],
) -> Result<Report, AuthorityError> {
    // All that can be refused is refused before the first file is written.
    for name in clients {
        check_name(name)?;
    }
    let server_names = match server_names {
        [] => DEFAULT_SERVER_NAMES.map(str::to_owned).to_vec(),
        names => names.to_vec(),
    };
    let server = server_params(server_names)?;
    let authority_files = Pair::new(out, "ca");
    let server_files = Pair::new(out, "server");
    let authority_exists = authority_files.exists()?;
    server_files.exists()?;
    for name in clients {
        Pair::new(out, name).exists()?;
    }

    fs::create_dir_all(out).map_err(|source| AuthorityError::File {
        path: out.into(),
        source,
    })?;
    let mut report = Report::default();
    let authority = if authority_exists {
        authority_files.keep(&mut report);
        Authority::load(&authority_files)?
    } else {
        Authority::create(&authority_files, &mut report)?
    };
    authority.issue(server, KeyUsage::server_auth(), &server_files, &mut report)?;
    for name in clients {
        let pair = Pair::new(out, name);
        authority.issue(
            client_params(name)?,
            KeyUsage::client_auth(),
            &pair,
            &mut report,
        )?;
    }
    Ok(report)
}

fn check_name(name: &str) -> Result<(), AuthorityError> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    // 64: the bound of a common name (RFC 5280, ub-common-name). Case is folded because some file
    // systems do.
    let good = (1..=64).contains(&name.len())
        && name.chars().all(safe)
        && !name.starts_with(['.', '-'])
        && !["ca", "server"]
            .iter()
            .any(|taken| name.eq_ignore_ascii_case(taken));
    if good {
        Ok(())
    } else {
        Err(AuthorityError::Name(name.to_owned()))
    }
}

fn server_params(names: Vec<String>) -> Result<CertificateParams, AuthorityError> {
    let common_name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::default();
    for name in names {
        let alternative = match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                super::ClientTls::server_name(&name)
                    .map_err(|_| AuthorityError::ServerName(name.clone()))?;
                SanType::DnsName(name.try_into()?)
            }
        };
        params.subject_alt_names.push(alternative);
    }
    params.distinguished_name = named(&common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn client_params(name: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    let uri = format!("spiffe://respgate.dev/{name}");
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// A certificate and its key, as files.
struct Pair {
    pem: PathBuf,
    key: PathBuf,
}

/// What signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority as a root, to check what it signed.
    roots: Roots,
    not_after: OffsetDateTime,
}

// === impl Pair ===

impl Pair {
    fn new(out: &Path, name: &str) -> Self {
        Self {
            pem: out.join(format!("{name}.pem")),
            key: out.join(format!("{name}.key")),
        }
    }

    fn exists(&self) -> Result<bool, AuthorityError> {
        // By symlink_metadata: a dangling link is something too, and create_new would stumble on it.
        let there = |path: &Path| fs::symlink_metadata(path).is_ok();
        let half = |present: &Path, missing: &Path| AuthorityError::HalfPair {
            present: present.to_owned(),
            missing: missing.to_owned(),
        };
        match (there(&self.pem), there(&self.key)) {
            (true, true) => Ok(true),
            (false, false) => Ok(false),
            (true, false) => Err(half(&self.pem, &self.key)),
            (false, true) => Err(half(&self.key, &self.pem)),
        }
    }

    fn keep(&self, report: &mut Report) {
        report.kept.extend([self.pem.clone(), self.key.clone()]);
    }

    fn write(&self, pem: &str, key: &KeyPair, report: &mut Report) -> Result<(), AuthorityError> {
        create(&self.key, 0o600, &key.serialize_pem())?;
        if let Err(error) = create(&self.pem, 0o644, pem) {
            // Half a pair would stop the next run. What fails here was made a moment ago by us.
            let _ = fs::remove_file(&self.key);
            return Err(error);
        }
        report.written.extend([self.pem.clone(), self.key.clone()]);
        Ok(())
    }
}

/// Creates a file with its mode, never over another one. A chmod afterwards would leave a moment in
/// which others may open it.
fn create(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| AuthorityError::File {
            path: path.to_owned(),
            source,
        })
}

// === impl Authority ===

impl Authority {
    fn create(files: &Pair, report: &mut Report) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        let id = super::facts::hex(&params.key_identifier(&key));
        // With a part of its key in its name, because chains between two authorities of one name fail
        // with errors that nobody understands.
        params.distinguished_name = named(&format!(
            "respgate development CA {}",
            id.get(..8).unwrap_or(&id)
        ));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        params.not_before = now - CLOCK_LAG;
        params.not_after = now + Duration::days(AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?;
        files.write(&certificate.pem(), &key, report)?;
        Self::load(files)
    }

    /// From files in either case, so that a fresh authority takes the same way as an old one.
    fn load(files: &Pair) -> Result<Self, AuthorityError> {
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
            &files.pem,
            &provider(),
            SystemTime::now(),
            &mut Vec::new(),
        )
        .map_err(|problems| {
            let reasons: Vec<_> = problems.into_iter().map(|p| p.reason).collect();
            refuse(&files.pem, &reasons.join("; "))
        })?;
        let certificate = CertificateDer::from_pem_slice(&read(&files.pem)?)
            .map_err(|_| refuse(&files.pem, "holds no certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|_| refuse(&files.key, "holds no private key, or an encrypted one"))?;
        let key = KeyPair::try_from(&key)
            .map_err(|_| refuse(&files.key, "holds a key that cannot be used"))?;

        let parsed = files::parse(&certificate)
            .ok_or_else(|| refuse(&files.pem, "holds a certificate that cannot be parsed"))?;
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
                _ => return Err(refuse(&files.pem, "its subject cannot be reproduced")),
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
    fn issue(
        &self,
        mut params: CertificateParams,
        usage: KeyUsage,
        files: &Pair,
        report: &mut Report,
    ) -> Result<(), AuthorityError> {
        if files.exists()? {
            files.keep(report);
            if let Err(reason) = self.check_kept(&files.pem, usage) {
                report.stale.push((files.pem.clone(), reason));
            }
            return Ok(());
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        // Strict verifiers (OpenSSL's -x509_strict, Python since 3.13) ask for each of these.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        params.not_before = now - CLOCK_LAG;
        // A leaf that outlives its authority would promise what it cannot hold.
        params.not_after = (now + Duration::days(LEAF_DAYS)).min(self.not_after);
        let certificate = params.signed_by(&key, &self.issuer)?;
        // An authority that another tool made may have a name that cannot be written byte for byte as
        // it stands there, or a key that isn't its own. Found out here, not by the first client.
        self.check(certificate.der(), usage)
            .map_err(|reason| AuthorityError::Authority {
                path: files.pem.clone(),
                reason: format!("ca.pem and ca.key cannot sign: {reason}"),
            })?;
        files.write(&certificate.pem(), &key, report)
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

#[cfg(test)]
mod tests;
