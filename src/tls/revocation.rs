//! Certificate revocation lists: which client certificates, and which of their issuers, are good no
//! more.
//!
//! Takes files and a time, gives what a verification needs. Every certificate of a chain must have its
//! issuer's list here, and a list that is past its end says nothing: then nobody is let in. (So does
//! nginx with `ssl_crl`; rustls by itself would take an expired list for good.)

use std::path::PathBuf;
use std::time::SystemTime;

use tokio_rustls::rustls::pki_types::CertificateRevocationListDer;
use tokio_rustls::rustls::pki_types::pem::SectionKind;
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::files::{self, EXPIRES_SOON, Source, TlsProblem};

/// The lists of one listener; there is at least one.
#[derive(Debug)]
pub(super) struct Revocations {
    ders: Vec<CertificateRevocationListDer<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    /// When the first of them ends, seconds since the Unix epoch.
    next_update: i64,
}

/// One list, as far as it is read here.
struct List {
    list: CertRevocationList<'static>,
    next_update: i64,
    warning: Option<String>,
}

// === impl Revocations ===

impl Revocations {
    /// Reads all lists; `None` where no file is named. Every problem of every file is reported: one
    /// that can't be read, has ended, or holds no list.
    pub(super) fn load(
        paths: &[PathBuf],
        now: SystemTime,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let mut all = Self {
            ders: Vec::new(),
            lists: Vec::new(),
            next_update: i64::MAX,
        };
        for path in paths {
            let source = Source { key: "crl", path };
            let ders = match files::of_kind(source, SectionKind::Crl, "revocation list") {
                Ok(ders) => ders,
                Err(mut wrong) => {
                    problems.append(&mut wrong);
                    continue;
                }
            };
            for (index, der) in ders.into_iter().enumerate() {
                match read(&der, now) {
                    Ok(read) => {
                        all.next_update = all.next_update.min(read.next_update);
                        all.lists.push(read.list);
                        all.ders.push(CertificateRevocationListDer::from(der));
                        let line = |warning| format!("{}: {warning}", path.display());
                        warnings.extend(read.warning.map(line));
                    }
                    Err(reason) => {
                        problems.push(source.problem(format!("list {}: {reason}", index + 1)));
                    }
                }
            }
        }
        match (problems.is_empty(), all.lists.is_empty()) {
            (false, _) => Err(problems),
            (true, true) => Ok(None),
            (true, false) => Ok(Some(all)),
        }
    }

    /// As rustls takes them.
    pub(super) fn ders(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.ders.clone()
    }

    /// When the first of them ends: what was verified by them counts no longer.
    pub(super) fn next_update(&self) -> i64 {
        self.next_update
    }

    /// Whether there is a list of the authority of this name (DER).
    pub(super) fn covers(&self, issuer: &[u8]) -> bool {
        self.lists.iter().any(|list| list.issuer() == issuer)
    }

    /// Runs a verification with these lists.
    pub(super) fn with<T>(
        &self,
        verify: impl FnOnce(Option<webpki::RevocationOptions<'_>>) -> Result<T, webpki::Error>,
    ) -> Result<T, webpki::Error> {
        let lists: Vec<_> = self.lists.iter().collect();
        // Fails for no lists only, and then nobody may pass.
        let Ok(builder) = RevocationOptionsBuilder::new(&lists) else {
            return Err(webpki::Error::UnknownRevocationStatus);
        };
        let options = builder
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        verify(Some(options))
    }
}

fn read(der: &[u8], now: SystemTime) -> Result<List, String> {
    let list = OwnedCertRevocationList::from_der(der)
        .map_err(|error| format!("cannot be used: {error}"))?
        .into();
    let Ok(([], parsed)) = CertificateRevocationList::from_der(der) else {
        return Err("cannot be parsed".to_owned());
    };
    let seconds = files::unix_seconds(now);
    // webpki refuses a list without an end, too.
    let next_update = parsed.next_update().ok_or("has no nextUpdate")?;
    if files::is_past(next_update, seconds) {
        return Err(format!(
            "expired on {next_update}: nobody could be let in by it"
        ));
    }
    if files::is_ahead(parsed.last_update(), seconds) {
        return Err(format!("is not valid before {}", parsed.last_update()));
    }
    // Lists live for a day to some months; a list of a day is always about to end.
    let lifetime = next_update.timestamp() - parsed.last_update().timestamp();
    let soon = (lifetime / 10).min(i64::try_from(EXPIRES_SOON.as_secs()).unwrap_or(i64::MAX));
    let left = next_update.timestamp() - i64::try_from(seconds).unwrap_or(i64::MAX);
    let warning = (left < soon)
        .then(|| format!("the revocation list ends on {next_update}; then nobody is let in by it"));
    Ok(List {
        list,
        next_update: next_update.timestamp(),
        warning,
    })
}

#[cfg(test)]
mod tests;
