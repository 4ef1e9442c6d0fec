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
        Self::make_in(tempfile::tempdir().unwrap())
    }

    fn make_in(dir: TempDir) -> Certs {
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

    /// Others by the same CA.
    pub fn renewed(&self) -> Certs {
        let dir = tempfile::tempdir().unwrap();
        for file in ["ca.pem", "ca.key"] {
            std::fs::copy(self.file(file), dir.path().join(file)).unwrap();
        }
        Self::make_in(dir)
    }

    /// The CA, to sign with.
    pub fn authority(&self) -> rcgen::Issuer<'static, rcgen::KeyPair> {
        let read = |name| std::fs::read_to_string(self.file(name)).unwrap();
        let key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
        rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap()
    }

    /// A revocation list of the CA with these clients on it, PEM.
    pub fn revocation_list(&self, revoked: &[&str]) -> String {
        let now = time::OffsetDateTime::now_utc();
        let revoked = revoked.iter().map(|name| rcgen::RevokedCertParams {
            serial_number: self.serial(name),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: now - time::Duration::hours(1),
            next_update: now + time::Duration::hours(23),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.authority()).unwrap().pem().unwrap()
    }

    /// A certificate of the set, DER.
    pub fn der(&self, name: &str) -> Vec<u8> {
        let path = self.file(&format!("{name}.pem"));
        CertificateDer::from_pem_file(path).unwrap().to_vec()
    }

    fn serial(&self, name: &str) -> rcgen::SerialNumber {
        let der = CertificateDer::from_pem_file(self.file(&format!("{name}.pem"))).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        rcgen::SerialNumber::from_slice(certificate.raw_serial())
    }

    /// What a client needs whose certificate the CA signs for so long from now.
    pub fn short_lived(&self, name: &str, lifetime: std::time::Duration) -> Arc<ClientConfig> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
        params.not_after = time::OffsetDateTime::now_utc() + lifetime;
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let versions = tokio_rustls::rustls::ALL_VERSIONS;
        self.client_config_with(Some((vec![certificate.der().clone()], key)), versions)
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
        let identity = name.map(|name| {
            let chain = CertificateDer::pem_file_iter(signer.file(&format!("{name}.pem")));
            let chain = chain.unwrap().collect::<Result<Vec<_>, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_file(signer.file(&format!("{name}.key")));
            (chain, key.unwrap())
        });
        self.client_config_with(identity, versions)
    }

    fn client_config_with(
        &self,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
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
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        })
    }
}
