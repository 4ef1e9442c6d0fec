#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use rcgen::CertificateParams;
use x509_parser::asn1_rs::Any;

use super::*;
use crate::config::ListenerTls;
use crate::tls::ServerTls;
use crate::tls::fixtures::{Files, ca, leaf_params, only_problem, problems, write};

#[test]
fn all_problems_come_at_once() {
    let files = Files::new(&["cart"]);
    let settings = ListenerTls {
        cert: files.path("server.key"),
        key: files.path("missing.key"),
        client_ca: Some(write(&files.path("empty.pem"), "")),
        ..files.settings()
    };
    let problems = problems(&settings);
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3, "{texts:#?}");
    assert!(
        texts[0].contains("holds no certificate (it holds a private key)"),
        "{texts:#?}"
    );
    assert!(
        texts[1].contains("missing.key\": cannot be read: No such file"),
        "{texts:#?}"
    );
    assert!(texts[2].contains("client_ca = "), "{texts:#?}");
    let secret = fs::read_to_string(files.path("server.key")).unwrap();
    for line in secret.lines() {
        assert!(texts.iter().all(|text| !text.contains(line)), "{texts:#?}");
    }
}

#[test]
fn keys_and_chains_that_do_not_fit_are_problems() {
    let files = Files::new(&["cart"]);
    let settings = files.settings();
    let with_key = |key| ListenerTls {
        key,
        ..settings.clone()
    };
    let with_cert = |cert| ListenerTls {
        cert,
        ..settings.clone()
    };
    let read = |name: &str| fs::read_to_string(files.path(name)).unwrap();

    let (key, reason) = only_problem(&with_key(files.path("cart.key")));
    assert!(
        key == "key" && reason.contains("does not belong to"),
        "{reason}"
    );

    let swapped = read("ca.pem") + &read("server.pem");
    let (key, reason) = only_problem(&with_cert(write(&files.path("swapped.pem"), swapped)));
    assert!(
        key == "cert" && reason.contains("must come first"),
        "{reason}"
    );

    let two = read("server.key") + &read("cart.key");
    let (_, reason) = only_problem(&with_key(write(&files.path("two.key"), two)));
    assert_eq!(reason, "holds 2 private keys, not one");

    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
         -----END EC PRIVATE KEY-----\n",
    ] {
        let (_, reason) = only_problem(&with_key(write(&files.path("locked.key"), encrypted)));
        assert!(reason.contains("encrypted"), "{reason}");
    }

    let broken = "-----BEGIN PRIVATE KEY-----\nsecret?secret\n-----END PRIVATE KEY-----\n";
    let (_, reason) = only_problem(&with_key(write(&files.path("broken.key"), broken)));
    assert_eq!(reason, "holds a damaged PEM section");
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let (_, reason) = only_problem(&with_key(write(&files.path("garbage.key"), garbage)));
    assert!(reason.starts_with("not a key that can be used"), "{reason}");

    let der = certificates(Source {
        key: "cert",
        path: &files.path("server.pem"),
    })
    .unwrap();
    let (_, reason) = only_problem(&with_cert(write(&files.path("server.der"), &der[0])));
    assert!(reason.contains("DER, not PEM"), "{reason}");
}

#[test]
fn a_server_certificate_out_of_date_is_a_problem_and_a_late_one_a_warning() {
    let files = Files::new(&[]);
    let root = ca("root");
    let load = |change: fn(&mut CertificateParams)| {
        let mut params = leaf_params("localhost");
        params.not_after = params.not_before + time::Duration::days(60);
        change(&mut params);
        files.issue("own", &params, &root, &[]);
        ServerTls::load(&ListenerTls {
            cert: files.path("own.pem"),
            key: files.path("own.key"),
            ..files.settings()
        })
    };
    let reason = |result: Result<ServerTls, Vec<TlsProblem>>| result.unwrap_err()[0].reason.clone();
    let expired = reason(load(|params| params.not_after = params.not_before));
    assert!(
        expired.starts_with("the certificate expired on "),
        "{expired}"
    );
    let early = reason(load(|params| params.not_before = params.not_after));
    assert!(
        early.starts_with("the certificate is not valid before "),
        "{early}"
    );
    // Written by the test with the mode of its umask: readable by all, which is a warning too.
    let warnings = load(|_| ()).unwrap().warnings().to_vec();
    assert!(
        warnings
            .iter()
            .all(|warning| warning.contains("private key")),
        "{warnings:?}"
    );
    let late = load(|params| params.not_after = params.not_before + time::Duration::days(3));
    assert!(
        late.unwrap()
            .warnings()
            .iter()
            .any(|warning| warning.contains("expires on"))
    );
}

#[cfg(unix)]
#[test]
fn a_key_that_all_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;

    let files = Files::new(&[]);
    let mode = |mode| {
        fs::set_permissions(files.path("server.key"), fs::Permissions::from_mode(mode)).unwrap();
        files.server().warnings().to_vec()
    };
    assert_eq!(mode(0o640), [] as [String; 0]);
    assert!(mode(0o644)[0].contains("0644"));
}

#[test]
fn what_is_no_authority_is_no_root() {
    let files = Files::new(&["cart"]);
    let read = |name: &str| fs::read_to_string(files.path(name)).unwrap();
    let bundle = read("ca.pem") + &read("cart.pem") + &read("server.pem");
    let client_ca = Some(write(&files.path("bundle.pem"), bundle));
    let problems = problems(&ListenerTls {
        client_ca,
        ..files.settings()
    });
    let reasons: Vec<_> = problems
        .iter()
        .map(|problem| problem.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "certificate 2: CN=cart is not a certificate authority",
            "certificate 3: CN=localhost is not a certificate authority",
        ]
    );
    // The same root twice is one.
    let client_ca = Some(write(
        &files.path("twice.pem"),
        read("ca.pem") + &read("ca.pem"),
    ));
    let server = ServerTls::load(&ListenerTls {
        client_ca,
        ..files.settings()
    })
    .unwrap();
    assert_eq!(server.number_of_roots(), 1);
}

#[test]
fn every_form_of_a_key_is_read() {
    let files = Files::new(&[]);
    let root = ca("root");
    for (algorithm, old_label) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some("EC PRIVATE KEY")),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some("EC PRIVATE KEY")),
        (&rcgen::PKCS_RSA_SHA256, Some("RSA PRIVATE KEY")),
        (&rcgen::PKCS_ED25519, None),
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let pem = leaf_params("localhost")
            .signed_by(&key, &root)
            .unwrap()
            .pem();
        let cert = write(&files.path("own.pem"), pem);
        let mut forms = vec![key.serialize_pem()];
        if let Some(label) = old_label {
            forms.push(unwrapped(label, &key));
            forms.extend(traditional(&files, label, &key));
        }
        for form in forms {
            let key = write(&files.path("own.key"), &form);
            let settings = ListenerTls {
                cert: cert.clone(),
                key,
                ..files.settings()
            };
            let loaded = ServerTls::load(&settings);
            assert!(loaded.is_ok(), "{algorithm:?} {:?}", form.lines().next());
        }
    }
}

/// PKCS#8 wraps the older form of a key in an octet string: version, algorithm, key.
fn unwrapped(label: &str, key: &rcgen::KeyPair) -> String {
    let der = key.serialize_der();
    let (_, outer) = Any::from_der(&der).unwrap();
    let (rest, _version) = Any::from_der(outer.data).unwrap();
    let (rest, _algorithm) = Any::from_der(rest).unwrap();
    let (_, inner) = Any::from_der(rest).unwrap();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        base64(inner.data)
    )
}

/// As openssl writes it: an EC key names its curve, which the wrapped form leaves to the wrapper.
fn traditional(files: &Files, label: &str, key: &rcgen::KeyPair) -> Option<String> {
    let wrapped = write(&files.path("wrapped.key"), key.serialize_pem());
    let output = Command::new("openssl")
        .args(["pkey", "-traditional", "-in"])
        .arg(wrapped)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(label), "{label}");
    Some(text)
}

fn base64(der: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    der.chunks(3)
        .flat_map(|chunk| {
            let bytes = [
                chunk[0],
                *chunk.get(1).unwrap_or(&0),
                *chunk.get(2).unwrap_or(&0),
                0,
            ];
            let word = u32::from_be_bytes(bytes);
            (0..4).map(move |digit| match digit <= chunk.len() {
                true => char::from(DIGITS[(word >> (26 - 6 * digit)) as usize & 63]),
                false => '=',
            })
        })
        .collect()
}
