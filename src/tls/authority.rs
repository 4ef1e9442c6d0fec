//! A certificate authority for development: `respgate certs`, the demo and the tests.
//!
//! Never for production: its key lies unencrypted beside the certificates. Makes and writes files;
//! knows nothing of how they are served.

mod signer;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
};
use webpki::KeyUsage;

use self::signer::Authority;

/// The names that a server certificate holds unless others are asked for: all of loopback.
pub const DEFAULT_SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

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

#[cfg(test)]
mod tests;
