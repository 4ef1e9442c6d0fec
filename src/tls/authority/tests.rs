#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

use rcgen::{DnValue, KeyIdMethod};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::*;
use crate::tls::files;
use crate::tls::fixtures::{ca_params, write};

fn make(out: &Path, clients: &[&str]) -> Result<Report, AuthorityError> {
    let clients: Vec<_> = clients.iter().map(|name| (*name).to_owned()).collect();
    make_certificates(out, &clients, &[])
}

fn contents(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn names(paths: &[PathBuf]) -> Vec<&str> {
    paths
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect()
}

#[test]
fn a_second_run_adds_what_is_missing_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/certs");
    let first = make(&out, &["cart"]).unwrap();
    assert_eq!(
        names(&first.written),
        [
            "ca.pem",
            "ca.key",
            "server.pem",
            "server.key",
            "cart.pem",
            "cart.key"
        ]
    );
    assert_eq!(first.kept, [] as [PathBuf; 0]);
    let before = contents(&out);

    let second = make(&out, &["cart", "stock"]).unwrap();
    assert_eq!(names(&second.written), ["stock.pem", "stock.key"]);
    assert_eq!(
        names(&second.kept),
        [
            "ca.pem",
            "ca.key",
            "server.pem",
            "server.key",
            "cart.pem",
            "cart.key"
        ]
    );
    assert_eq!(second.stale, []);
    let after = contents(&out);
    assert_eq!(after.len(), before.len() + 2);
    assert!(before.iter().all(|(path, text)| after[path] == *text));
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &["cart"]).unwrap();
    for name in ["ca.key", "server.key", "cart.key"] {
        let mode = fs::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn half_a_pair_stops_everything() {
    for (missing, present) in [
        ("ca.pem", "ca.key"),
        ("ca.key", "ca.pem"),
        ("server.key", "server.pem"),
        ("a.pem", "a.key"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["a"]).unwrap();
        fs::remove_file(dir.path().join(missing)).unwrap();
        let before = contents(dir.path());
        let error = make(dir.path(), &["b", "a"]).unwrap_err().to_string();
        assert!(error.contains(&format!("{present} is there, ")), "{error}");
        assert!(error.contains(&format!("{missing} is not")), "{error}");
        assert_eq!(contents(dir.path()), before);
    }
}

#[test]
fn a_name_cannot_lead_out_of_the_directory_or_hide_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(65);
    for bad in [
        "", ".", "..", "../x", "a/b", "a b", "-v", "ca", "Server", "kärt", "a\0", &long,
    ] {
        let error = make(dir.path(), &["good", bad]).unwrap_err();
        assert!(matches!(error, AuthorityError::Name(_)), "{bad}: {error}");
    }
    let error = make_certificates(dir.path(), &[], &["not a name".to_owned()]).unwrap_err();
    assert!(matches!(error, AuthorityError::ServerName(_)), "{error}");
    assert_eq!(contents(dir.path()).len(), 0);
    make(dir.path(), &["A-z_0.9"]).unwrap();
}

#[test]
fn certificates_of_an_authority_that_is_gone_are_stale() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &["cart"]).unwrap();
    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let report = make(dir.path(), &["cart"]).unwrap();
    let stale: Vec<_> = report.stale.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(names(&stale), ["server.pem", "cart.pem"]);
    assert_eq!(report.stale[0].1, "unknown issuer");
}

#[test]
fn an_authority_made_elsewhere_signs_and_one_that_cannot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = ca_params("Company Root");
    let printable = DnValue::PrintableString("Example".try_into().unwrap());
    params
        .distinguished_name
        .push(DnType::OrganizationName, printable);
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
    let certificate = params.self_signed(&key).unwrap();
    write(&dir.path().join("ca.pem"), certificate.pem());
    write(&dir.path().join("ca.key"), key.serialize_pem());
    make(dir.path(), &["cart"]).unwrap();
    let pem = fs::read(dir.path().join("cart.pem")).unwrap();
    let leaf = CertificateDer::from_pem_slice(&pem).unwrap();
    let parsed = files::parse(&leaf).unwrap();
    // The authority ends in 30 days, and so does what it signs.
    assert_eq!(
        parsed.validity().not_after.to_datetime().unix_timestamp(),
        params.not_after.unix_timestamp()
    );

    let other = KeyPair::generate().unwrap();
    write(&dir.path().join("ca.key"), other.serialize_pem());
    let error = make(dir.path(), &["stock"]).unwrap_err();
    assert!(matches!(error, AuthorityError::Authority { .. }), "{error}");
    assert!(!dir.path().join("stock.pem").exists());
    assert!(!dir.path().join("stock.key").exists());
}

#[test]
fn strict_verifiers_are_content() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &["cart"]).unwrap();
    for (name, purpose) in [("server", "sslserver"), ("cart", "sslclient")] {
        let output = Command::new("openssl")
            .args([
                "verify",
                "-x509_strict",
                "-purpose",
                purpose,
                "-CAfile",
                "ca.pem",
            ])
            .arg(format!("{name}.pem"))
            .current_dir(dir.path())
            .output();
        match output {
            Ok(output) => {
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            // Not every machine has the tool; the extensions are looked at below all the same.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
        let pem = fs::read(dir.path().join(format!("{name}.pem"))).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap();
        let parsed = files::parse(&der).unwrap();
        let mut found = parsed
            .extensions()
            .iter()
            .map(|e| e.oid.to_id_string())
            .collect::<Vec<_>>();
        found.sort();
        // Subject key, key usage, alternative name, basic constraints, authority key, extended usage.
        assert_eq!(
            found,
            [
                "2.5.29.14",
                "2.5.29.15",
                "2.5.29.17",
                "2.5.29.19",
                "2.5.29.35",
                "2.5.29.37"
            ]
        );
    }
}
