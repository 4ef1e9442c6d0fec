//! Authorities, certificates and handshakes for the tests of this module.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::{TlsConnector, client, server};

use super::{ClientTls, ServerTls, TlsProblem, provider};
use crate::config::{ClientAuth, ListenerTls, TlsVersion};

pub(super) type Ca = CertifiedIssuer<'static, KeyPair>;

/// A directory with a CA, a server certificate and clients, made as `respgate certs` makes them.
pub(super) struct Files {
    pub(super) dir: tempfile::TempDir,
}

/// Both ends of a handshake.
pub(super) struct Ends {
    pub(super) server: io::Result<server::TlsStream<DuplexStream>>,
    pub(super) client: io::Result<client::TlsStream<DuplexStream>>,
}

pub(super) fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn params(common_name: &str, not_before: Duration, not_after: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now + not_before;
    params.not_after = now + not_after;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    params
}

pub(super) fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name, -Duration::days(10), Duration::days(30));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

pub(super) fn ca(common_name: &str) -> Ca {
    CertifiedIssuer::self_signed(ca_params(common_name), key()).unwrap()
}

pub(super) fn intermediate(common_name: &str, parent: &Ca, not_after: Duration) -> Ca {
    let mut params = ca_params(common_name);
    params.not_after = OffsetDateTime::now_utc() + not_after;
    CertifiedIssuer::signed_by(params, key(), parent).unwrap()
}

/// A client certificate that is valid from yesterday to tomorrow.
pub(super) fn leaf_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name, -Duration::days(1), Duration::days(1));
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(super) fn signed(params: &CertificateParams, ca: &Ca) -> CertificateDer<'static> {
    params.signed_by(&key(), ca).unwrap().der().clone()
}

/// A list of this authority that revokes these serial numbers, PEM: from so long to so long from now.
pub(super) fn crl(ca: &Ca, revoked: &[&SerialNumber], from: Duration, to: Duration) -> String {
    let now = OffsetDateTime::now_utc();
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: (*serial).clone(),
        revocation_time: now,
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: now + from,
        next_update: now + to,
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(ca).unwrap().pem().unwrap()
}

pub(super) fn write(path: &Path, text: impl AsRef<[u8]>) -> PathBuf {
    fs::write(path, text).unwrap();
    path.to_owned()
}

pub(super) fn problems(settings: &ListenerTls) -> Vec<TlsProblem> {
    ServerTls::load(settings).unwrap_err()
}

pub(super) fn only_problem(settings: &ListenerTls) -> (&'static str, String) {
    let problems = problems(settings);
    assert_eq!(problems.len(), 1, "{problems:?}");
    (problems[0].key, problems[0].reason.clone())
}

// === impl Files ===

impl Files {
    pub(super) fn new(clients: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clients: Vec<_> = clients.iter().map(|name| (*name).to_owned()).collect();
        super::authority::make_certificates(dir.path(), &clients, &[]).unwrap();
        Self { dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn settings(&self) -> ListenerTls {
        ListenerTls {
            cert: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: Some(self.path("ca.pem")),
            client_auth: ClientAuth::Required,
            crl: Vec::new(),
            min_version: TlsVersion::V1_2,
        }
    }

    pub(super) fn server(&self) -> ServerTls {
        ServerTls::load(&self.settings()).unwrap()
    }

    /// A server that trusts `roots` for its clients.
    pub(super) fn server_trusting(&self, roots: &[&Ca]) -> ServerTls {
        let bundle: String = roots.iter().map(|ca| ca.pem()).collect();
        let client_ca = write(&self.path("roots.pem"), bundle);
        ServerTls::load(&ListenerTls {
            client_ca: Some(client_ca),
            ..self.settings()
        })
        .unwrap()
    }

    /// Writes NAME.pem (the leaf, then `issuers`) and NAME.key.
    pub(super) fn issue(&self, name: &str, params: &CertificateParams, ca: &Ca, issuers: &[&Ca]) {
        let key = key();
        let mut chain = params.signed_by(&key, ca).unwrap().pem();
        for issuer in issuers {
            chain.push_str(&issuer.pem());
        }
        write(&self.path(&format!("{name}.pem")), chain);
        write(&self.path(&format!("{name}.key")), key.serialize_pem());
    }

    /// A client that speaks `version` only and remembers its sessions.
    pub(super) fn client(
        &self,
        name: Option<&str>,
        version: &'static SupportedProtocolVersion,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(self.path(&format!("{name}.pem")))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                // Built by hand: the authorities that the server names must not hold back a
                // certificate that it will refuse.
                let key = provider().key_provider.load_private_key(key).unwrap();
                let certified = tokio_rustls::rustls::sign::CertifiedKey::new(chain, key);
                builder.with_client_cert_resolver(Arc::new(
                    tokio_rustls::rustls::sign::SingleCertAndKey::from(certified),
                ))
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Performs a handshake and lets a byte pass each way, so that the client holds its tickets and has
/// heard of a refusal.
pub(super) async fn handshake(server: &ServerTls, client: &TlsConnector) -> Ends {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let accept = async {
        let mut stream = server.acceptor().accept(near).await?;
        stream.write_all(b"+").await?;
        stream.flush().await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok(stream)
    };
    let connect = async {
        let name = ClientTls::server_name("localhost").unwrap();
        let mut stream = client.connect(name, far).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        stream.write_all(b"*").await?;
        stream.flush().await?;
        Ok(stream)
    };
    let (server, client) = tokio::join!(accept, connect);
    Ends { server, client }
}

// === impl Ends ===

impl Ends {
    pub(super) fn kind(&self) -> HandshakeKind {
        self.connection().handshake_kind().unwrap()
    }

    pub(super) fn connection(&self) -> &tokio_rustls::rustls::ServerConnection {
        self.client.as_ref().unwrap();
        self.server.as_ref().unwrap().get_ref().1
    }
}
