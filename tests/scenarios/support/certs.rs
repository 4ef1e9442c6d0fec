//! Certificates, made by the program itself, once per test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

/// The clients that [`Certs::shared`] holds a certificate for; the name is the certificate's CN.
pub const CLIENTS: [&str; 7] = [
    "cart",
    "admin",
    "search",
    "nobody",
    "app_readonly",
    "app_writer",
    "gateway",
];

/// A development CA and what it signed.
pub struct Certs {
    dir: TempDir,
}

impl Certs {
    /// The set that every test may use.
    pub fn shared() -> &'static Certs {
        static SHARED: OnceLock<Certs> = OnceLock::new();
        SHARED.get_or_init(Certs::new)
    }

    /// Another set, by another CA of the same names.
    pub fn new() -> Certs {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_respgate"));
        command.arg("certs").arg("--out").arg(dir.path());
        for client in CLIENTS {
            command.args(["--client", client]);
        }
        let output = command.output().expect("respgate certs does not start");
        assert!(
            output.status.success(),
            "respgate certs: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Certs { dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file of the set, such as `ca.pem`, `server.key`, `cart.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        assert!(path.exists(), "respgate certs made no {name}");
        path
    }

    /// What a client of this name needs to connect; `None`: without a certificate.
    pub fn client_config(&self, name: Option<&str>) -> Arc<ClientConfig> {
        self.client_config_for(self, name, tokio_rustls::rustls::ALL_VERSIONS)
    }

    /// A client that trusts this CA's server but shows a certificate of another CA.
    pub fn foreign_client_config(&self, other: &Certs, name: &str) -> Arc<ClientConfig> {
        self.client_config_for(other, Some(name), tokio_rustls::rustls::ALL_VERSIONS)
    }

    /// The same for TLS 1.2 alone.
    pub fn client_config_tls12(&self, name: Option<&str>) -> Arc<ClientConfig> {
        self.client_config_for(self, name, &[&version::TLS12])
    }

    fn client_config_for(
        &self,
        signer: &Certs,
        name: Option<&str>,
        versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.file("ca.pem")).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(signer.file(&format!("{name}.pem")))
                    .unwrap()
                    .collect::<Result<Vec<_>, _>>()
                    .unwrap();
                let key =
                    PrivateKeyDer::from_pem_file(signer.file(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}
