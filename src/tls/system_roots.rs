//! The authorities that this machine trusts.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::RootCertStore;

/// The system's trust store as it was when it was first asked for; clones have the same.
///
/// One process reads it once. By the next reload it may be out of reach: Landlock knows the folders of
/// the configuration, while this one is all over the system (SSL_CERT_FILE, SSL_CERT_DIR, and where the
/// links in /etc/ssl lead). Worse than a reload that fails would be one that finds a part of it.
#[derive(Clone, Debug, Default)]
pub struct SystemRoots(Arc<OnceLock<Arc<RootCertStore>>>);

// === impl SystemRoots ===

impl SystemRoots {
    /// Reads it, unless that was done.
    ///
    /// # Errors
    /// There is no usable certificate. The next call looks again.
    pub(super) fn get(&self) -> Result<Arc<RootCertStore>, String> {
        if let Some(store) = self.0.get() {
            return Ok(Arc::clone(store));
        }
        let store = read()?;
        Ok(Arc::clone(self.0.get_or_init(|| store)))
    }
}

/// SSL_CERT_FILE and SSL_CERT_DIR move the place, as for OpenSSL.
fn read() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Trust stores hold some that webpki doesn't take; they vouch for nothing here, then.
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(Arc::new(store));
    }
    let mut reason = "the system's trust store has no usable certificate; name a file".to_owned();
    if let Some(error) = found.errors.first() {
        reason.push_str(&format!(" ({error})"));
    }
    Err(reason)
}
