//! The server side of TLS: files in, an acceptor and verified certificates out.
//!
//! Knows neither sockets nor what a certificate is good for; a reload is a new value in place of the
//! old one.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::Ticketer;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};

use super::files::{self, Source, TlsProblem};
use super::proven::{Proven, ProvenFirst};
use super::provider;
use super::revocation::Revocations;
use super::roots::{CertificateRefusal, Roots};
use crate::config::{ClientAuth, ListenerTls, TlsVersion};
use crate::identity::Certificate;

/// TLS 1.2 sessions remembered for clients that resume by session id because they take no tickets.
/// That is rare; rustls' own default.
const SESSIONS_BY_ID: usize = 256;

/// The TLS of one listener, made from one generation of its files.
///
/// A reload makes a new one. Connections that were accepted by the old one go on; its tickets and
/// sessions are worthless to the new one.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    client_auth: ClientAuth,
    /// `None` where no client certificate is asked for.
    roots: Option<Roots>,
    /// The chains that these roots have found good.
    proven: Arc<Proven>,
    warnings: Vec<String>,
    fingerprint: [u8; 32],
    expiry: Vec<(&'static str, i64)>,
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files of `settings` and checks all that can be known without a client. Every problem
    /// of every file is reported.
    pub fn load(settings: &ListenerTls) -> Result<Self, Vec<TlsProblem>> {
        let provider = provider();
        let now = SystemTime::now();
        let mut warnings = Vec::new();
        // Before anything is read: where a file changes meanwhile, the next load finds a difference.
        let pair = [&settings.cert, &settings.key].into_iter();
        let named = pair.chain(&settings.client_ca).chain(&settings.crl);
        let fingerprint = files::fingerprint(settings, named);

        let cert = Source {
            key: "cert",
            path: &settings.cert,
        };
        let key = Source {
            key: "key",
            path: &settings.key,
        };
        let pair = files::key_pair(cert, key, &provider, now);
        let roots = load_roots(settings, &provider, now, &mut warnings);
        let revocations = Revocations::load(&settings.crl, now, &mut warnings);
        let (pair, mut roots, revocations) = match (pair, roots, revocations) {
            (Ok(pair), Ok(roots), Ok(revocations)) => (pair, roots, revocations),
            (pair, roots, revocations) => {
                let problems = [pair.err(), roots.err(), revocations.err()];
                return Err(problems.into_iter().flatten().flatten().collect());
            }
        };
        warnings.extend_from_slice(&pair.warnings);
        if let (Some(roots), Some(revocations)) = (&mut roots, revocations) {
            let bare = roots.revoke(revocations);
            warnings.extend(bare.iter().map(|name| {
                format!("no crl is of {name}: no certificate that it has signed is let in")
            }));
        }

        // What is left to fail comes from the provider (no randomness), not from a file; it is
        // reported under the file it was needed for.
        let internal = |error: String| vec![cert.problem(format!("cannot be served: {error}"))];
        let proven = Arc::default();
        let verifier = client_verifier(settings.client_auth, roots.as_ref(), &proven, &provider)
            .map_err(internal)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(settings.min_version))
            .map_err(|error| internal(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(pair.resolver());
        // A resumed session skips the verifier and brings along what the first handshake proved. A
        // store or ticket key that two configurations share would carry that proof from the laxer one
        // to the stricter one, or past the removal of a root; rustls warns of it. So each generation
        // has its own, and tickets die with the trust roots that filled them.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_BY_ID);
        config.ticketer = Ticketer::new().map_err(|error| internal(error.to_string()))?;
        // Early data can be replayed by anyone who recorded it, and INCR must not run twice.
        config.max_early_data_size = 0;
        // Redis clients offer no protocol by ALPN; a list here would refuse those that offer another.
        config.alpn_protocols = Vec::new();

        let client_ca = roots.as_ref().and_then(|roots| roots.expires(now));
        let expiry = [("server", pair.expires()), ("client_ca", client_ca)];
        Ok(Self {
            expiry: files::known(expiry),
            config: Arc::new(config),
            client_auth: settings.client_auth,
            roots,
            proven,
            warnings,
            fingerprint,
        })
    }

    /// What the operator should know though it stops nothing: a key that others may read, a
    /// certificate that ends soon, a chain out of order.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether `other` was made of the same settings and files, so that this one can go on in its
    /// place: with its tickets, and with what it has verified.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// A digest over the settings and all files that this was made of.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// When the certificates end that it was made from, Unix seconds, by what they are for: `server`,
    /// `client_ca`.
    pub fn expiry(&self) -> &[(&'static str, i64)] {
        &self.expiry
    }

    /// How many different authorities may sign client certificates. Above one, an identity rule that
    /// takes the user's name from the certificate must name the issuer.
    pub fn number_of_roots(&self) -> usize {
        self.roots.as_ref().map_or(0, Roots::len)
    }

    /// Performs handshakes. Cheap to make. A handshake that it finishes proves nothing before
    /// [`Self::verified`] has seen the connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Verifies the client's chain as of `now`, and says what its certificate states; `None` where
    /// the client showed none and needn't.
    ///
    /// To be asked after every handshake: rustls verifies a chain in a full one only, and a session
    /// may be resumed for as long as its ticket lives, past the end of the certificate. It is done
    /// after full handshakes as well, because rustls does not say which issuer's key it found, and two
    /// authorities may share a name. May be asked again during the life of a connection.
    ///
    /// A chain that these roots have verified before is looked at only for its dates.
    pub fn verified(
        &self,
        connection: &ServerConnection,
        now: SystemTime,
    ) -> Result<Option<Arc<Certificate>>, CertificateRefusal> {
        let chain = connection.peer_certificates().unwrap_or_default();
        match (&self.roots, chain) {
            (_, []) if self.client_auth == ClientAuth::Required => Err(CertificateRefusal::Missing),
            (_, []) => Ok(None),
            (Some(roots), chain) => self.verify(roots, chain, now).map(Some),
            // Without roots no certificate is asked for, so none can come; if one does, it proves
            // nothing.
            (None, _) => Err(CertificateRefusal::Untrusted(
                "no roots to judge it by".to_owned(),
            )),
        }
    }

    fn verify(
        &self,
        roots: &Roots,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Arc<Certificate>, CertificateRefusal> {
        let seconds = i64::try_from(files::unix_seconds(now)).unwrap_or(i64::MAX);
        if let Some(known) = self.proven.find(chain.iter(), seconds) {
            return Ok(known);
        }
        let certificate = Arc::new(roots.verify(chain, now)?);
        let lists = roots
            .revocations()
            .map_or(i64::MAX, Revocations::next_update);
        self.proven.put(chain.iter(), &certificate, seconds, lists);
        Ok(certificate)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("client_auth", &self.client_auth)
            .field("number_of_roots", &self.number_of_roots())
            .finish_non_exhaustive()
    }
}

fn load_roots(
    settings: &ListenerTls,
    provider: &CryptoProvider,
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<Option<Roots>, Vec<TlsProblem>> {
    match (settings.client_auth, &settings.client_ca) {
        // A file that is named and not needed is still read: a typo in it should show now and not on
        // the day client_auth is turned on.
        (ClientAuth::None, Some(path)) => {
            Roots::load("client_ca", path, provider, now, warnings)?;
            Ok(None)
        }
        (ClientAuth::None, None) => Ok(None),
        (_, Some(path)) => Roots::load("client_ca", path, provider, now, warnings).map(Some),
        (_, None) => Err(vec![TlsProblem {
            key: "client_ca",
            path: Default::default(),
            reason: "is needed where client certificates are asked for".to_owned(),
        }]),
    }
}

fn client_verifier(
    client_auth: ClientAuth,
    roots: Option<&Roots>,
    proven: &Arc<Proven>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(roots) = roots else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let builder = WebPkiClientVerifier::builder_with_provider(roots.store(), Arc::clone(provider));
    let builder = match roots.revocations() {
        Some(revocations) => builder
            .with_crls(revocations.ders())
            .enforce_revocation_expiration(),
        None => builder,
    };
    let builder = match client_auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional | ClientAuth::None => builder.allow_unauthenticated(),
    };
    let inner = builder.build().map_err(|error| error.to_string())?;
    Ok(Arc::new(ProvenFirst {
        inner,
        proven: Arc::clone(proven),
    }))
}

fn versions(min_version: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_1_2: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static FROM_1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match min_version {
        TlsVersion::V1_2 => &FROM_1_2,
        TlsVersion::V1_3 => &FROM_1_3,
    }
}

#[cfg(test)]
mod tests;
