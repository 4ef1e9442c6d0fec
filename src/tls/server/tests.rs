#![allow(clippy::unwrap_used)]

use std::io;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio_rustls::rustls::{HandshakeKind, SupportedProtocolVersion, version};

use super::*;
use crate::tls::fixtures::{self, Ca, Files, ca, handshake, leaf_params, only_problem, write};
use crate::tls::{ClientTls, HandshakeFailureKind, handshake_failure};

const DAY: Duration = Duration::from_secs(24 * 3600);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

async fn failure(
    files: &Files,
    server: &ServerTls,
    client: Option<&str>,
    version: &'static SupportedProtocolVersion,
) -> HandshakeFailureKind {
    let ends = handshake(server, &files.client(client, version)).await;
    handshake_failure(&ends.server.unwrap_err()).kind
}

/// What `server` says of the certificate `name` after a good handshake.
async fn facts(files: &Files, server: &ServerTls, name: &str) -> Arc<Certificate> {
    let ends = handshake(server, &files.client(Some(name), &version::TLS13)).await;
    server
        .verified(ends.connection(), SystemTime::now())
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_full_handshake_tells_who_the_client_is() {
    let files = Files::new(&["cart"]);
    let server = files.server();
    assert_eq!(server.number_of_roots(), 1);
    assert_eq!(server.warnings(), &[] as &[String]);
    for version in VERSIONS {
        let ends = handshake(&server, &files.client(Some("cart"), version)).await;
        let certificate = server
            .verified(ends.connection(), SystemTime::now())
            .unwrap()
            .unwrap();
        assert_eq!(certificate.cn, ["cart"]);
        assert_eq!(certificate.uri, ["spiffe://respgate.dev/cart"]);
        assert_eq!(certificate.subject, "CN=cart");
        assert!(certificate.issuer_cn[0].starts_with("respgate development CA "));
        assert_eq!(certificate.spki_sha256.len(), 64);
        assert_ne!(certificate.spki_sha256, certificate.issuer_spki_sha256);
    }
}

#[tokio::test]
async fn a_resumed_session_is_verified_again() {
    let files = Files::new(&[]);
    let root = ca("root");
    files.issue("cart", &leaf_params("cart"), &root, &[]);
    let server = files.server_trusting(&[&root]);
    for version in VERSIONS {
        let client = files.client(Some("cart"), version);
        let first = handshake(&server, &client).await;
        assert_ne!(first.kind(), HandshakeKind::Resumed);
        let second = handshake(&server, &client).await;
        assert_eq!(second.kind(), HandshakeKind::Resumed);

        let now = SystemTime::now();
        let certificate = server.verified(second.connection(), now).unwrap().unwrap();
        assert_eq!(certificate.cn, ["cart"]);
        let refusal = server
            .verified(second.connection(), now + 2 * DAY)
            .unwrap_err();
        assert_eq!(refusal, CertificateRefusal::Expired);
        assert_eq!(refusal.label(), "certificate_expired");
        let refusal = server
            .verified(second.connection(), now - 2 * DAY)
            .unwrap_err();
        assert_eq!(refusal, CertificateRefusal::NotYetValid);
    }
}

#[tokio::test]
async fn a_chain_that_is_known_is_read_once() {
    let files = Files::new(&["cart"]);
    let server = files.server();
    let first = facts(&files, &server, "cart").await;
    let second = facts(&files, &server, "cart").await;
    assert!(Arc::ptr_eq(&first, &second));
    let renewed = facts(&files, &files.server(), "cart").await;
    assert_eq!(first, renewed);
    assert!(!Arc::ptr_eq(&first, &renewed), "each generation by itself");
}

#[tokio::test]
async fn a_chain_that_is_known_proves_nothing_without_its_key() {
    let files = Files::new(&["cart", "thief"]);
    let server = files.server();
    facts(&files, &server, "cart").await;
    std::fs::copy(files.path("cart.pem"), files.path("thief.pem")).unwrap();
    for version in VERSIONS {
        assert_eq!(
            failure(&files, &server, Some("thief"), version).await,
            HandshakeFailureKind::UnknownAuthority
        );
    }
}

#[tokio::test]
async fn a_ticket_is_worthless_to_another_generation() {
    let files = Files::new(&["cart"]);
    for version in VERSIONS {
        let (old, new) = (files.server(), files.server());
        let client = files.client(Some("cart"), version);
        handshake(&old, &client).await.connection();
        assert_ne!(
            handshake(&new, &client).await.kind(),
            HandshakeKind::Resumed
        );
    }
}

#[tokio::test]
async fn a_ticket_does_not_outlive_its_root() {
    let files = Files::new(&[]);
    let (before, after) = (ca("before"), ca("after"));
    files.issue("cart", &leaf_params("cart"), &before, &[]);
    let old = files.server_trusting(&[&before]);
    let new = files.server_trusting(&[&after]);
    for version in VERSIONS {
        let client = files.client(Some("cart"), version);
        let ends = handshake(&old, &client).await;
        // The second lock: even if the connection had got here, it would be refused.
        let refusal = new
            .verified(ends.connection(), SystemTime::now())
            .unwrap_err();
        assert!(
            matches!(refusal, CertificateRefusal::Untrusted(_)),
            "{refusal:?}"
        );
        let error = handshake(&new, &client).await.server.unwrap_err();
        assert_eq!(
            handshake_failure(&error).kind,
            HandshakeFailureKind::UnknownAuthority
        );
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_or_unknown() {
    let files = Files::new(&[]);
    let required = files.server();
    let settings = ListenerTls {
        client_auth: ClientAuth::Optional,
        ..files.settings()
    };
    let optional = ServerTls::load(&settings).unwrap();
    let settings = ListenerTls {
        client_auth: ClientAuth::None,
        client_ca: None,
        ..files.settings()
    };
    let none = ServerTls::load(&settings).unwrap();
    assert_eq!(none.number_of_roots(), 0);
    for version in VERSIONS {
        assert_eq!(
            failure(&files, &required, None, version).await,
            HandshakeFailureKind::NoClientCertificate
        );
        for server in [&optional, &none] {
            let ends = handshake(server, &files.client(None, version)).await;
            assert_eq!(
                server.verified(ends.connection(), SystemTime::now()),
                Ok(None)
            );
            // Whatever way such a connection came to a stricter listener.
            assert_eq!(
                required.verified(ends.connection(), SystemTime::now()),
                Err(CertificateRefusal::Missing)
            );
        }
    }
}

#[tokio::test]
async fn bad_client_certificates_fail_the_handshake_with_a_kind() {
    let files = Files::new(&[]);
    let (root, stranger, twin) = (ca("root"), ca("stranger"), ca("root"));
    let server = files.server_trusting(&[&root]);
    let issue = |name, ca: &Ca, change: fn(&mut CertificateParams)| {
        let mut params = leaf_params(name);
        change(&mut params);
        files.issue(name, &params, ca, &[]);
    };
    issue("stranger", &stranger, |_| ());
    issue("twin", &twin, |_| ());
    issue("expired", &root, |params| {
        params.not_after = params.not_before
    });
    issue("early", &root, |params| {
        params.not_before = params.not_after - time::Duration::HOUR
    });
    issue("server_only", &root, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (name, kind) in [
        ("stranger", HandshakeFailureKind::UnknownAuthority),
        ("twin", HandshakeFailureKind::UnknownAuthority),
        ("expired", HandshakeFailureKind::ExpiredClientCertificate),
        ("early", HandshakeFailureKind::ClientCertificateNotYetValid),
        ("server_only", HandshakeFailureKind::WrongPurpose),
    ] {
        for version in VERSIONS {
            assert_eq!(
                failure(&files, &server, Some(name), version).await,
                kind,
                "{name}"
            );
        }
    }

    // No extended key usage at all: good for anything, see `Roots::verify`.
    issue("any_purpose", &root, |params| {
        params.extended_key_usages.clear()
    });
    assert_eq!(
        facts(&files, &server, "any_purpose").await.cn,
        ["any_purpose"]
    );
}

#[tokio::test]
async fn other_failures_have_a_kind_too() {
    let files = Files::new(&["cart"]);
    let server = files.server();
    let accept = |bytes: &'static [u8]| {
        let acceptor = server.acceptor();
        async move {
            let (near, mut far) = tokio::io::duplex(4096);
            far.write_all(bytes).await.unwrap();
            far.shutdown().await.unwrap();
            handshake_failure(&acceptor.accept(near).await.unwrap_err())
        }
    };
    for plain in [
        &b"*1\r\n$4\r\nPING\r\n"[..],
        b"PING\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let failure = accept(plain).await;
        assert_eq!(failure.kind, HandshakeFailureKind::NotTls);
        assert!(failure.text.contains("plain Redis"), "{}", failure.text);
    }
    assert_eq!(accept(b"").await.kind, HandshakeFailureKind::Closed);
    assert_eq!(
        accept(b"\x16\x03\x01").await.kind,
        HandshakeFailureKind::Closed
    );

    let strict = ServerTls::load(&ListenerTls {
        min_version: TlsVersion::V1_3,
        ..files.settings()
    })
    .unwrap();
    assert_eq!(
        failure(&files, &strict, Some("cart"), &version::TLS12).await,
        HandshakeFailureKind::Version
    );

    // A client that trusts somebody else.
    let other = Files::new(&[]);
    let client = ClientTls::load(&other.path("ca.pem"), None).unwrap();
    let error = handshake(&server, &client.connector())
        .await
        .server
        .unwrap_err();
    assert_eq!(
        handshake_failure(&error).kind,
        HandshakeFailureKind::Rejected
    );

    let error = io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(handshake_failure(&error).kind.label(), "timeout");
}

#[tokio::test]
async fn our_own_client_side_fits_the_server_side() {
    let files = Files::new(&["cart"]);
    let server = files.server();
    let (cert, key) = (files.path("cart.pem"), files.path("cart.key"));
    let client = ClientTls::load(&files.path("ca.pem"), Some((&cert, &key))).unwrap();
    let ends = handshake(&server, &client.connector()).await;
    assert!(
        server
            .verified(ends.connection(), SystemTime::now())
            .unwrap()
            .is_some()
    );

    let problems = ClientTls::load(&files.path("none"), Some((&key, &cert))).unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["ca", "cert", "key"]);
    for good in ["localhost", "127.0.0.1", "::1", "[::1]"] {
        assert!(ClientTls::server_name(good).is_ok(), "{good}");
    }
    assert!(ClientTls::server_name("not a name").is_err());
}

#[tokio::test]
async fn the_issuer_is_the_one_that_really_signed() {
    let files = Files::new(&[]);
    let (first, second) = (ca("same name"), ca("same name"));
    files.issue("a", &leaf_params("a"), &first, &[]);
    files.issue("b", &leaf_params("b"), &second, &[]);
    let server = files.server_trusting(&[&first, &second]);
    assert_eq!(server.number_of_roots(), 2);

    let (a, b) = (
        facts(&files, &server, "a").await,
        facts(&files, &server, "b").await,
    );
    assert_eq!(a.issuer_cn, b.issuer_cn);
    assert_eq!(a.issuer_spki_sha256, openssl_spki_digest(&files, &first));
    assert_eq!(b.issuer_spki_sha256, openssl_spki_digest(&files, &second));
}

#[tokio::test]
async fn the_issuer_may_be_an_intermediate_and_may_end_first() {
    let files = Files::new(&[]);
    let root = ca("root");
    let middle = fixtures::intermediate("middle", &root, time::Duration::HOUR);
    files.issue("cart", &leaf_params("cart"), &middle, &[&middle]);
    let server = files.server_trusting(&[&root]);

    let certificate = facts(&files, &server, "cart").await;
    assert_eq!(certificate.issuer_cn, ["middle"]);
    assert_eq!(
        certificate.issuer_spki_sha256,
        openssl_spki_digest(&files, &middle)
    );
    let now = i64::try_from(files::unix_seconds(SystemTime::now())).unwrap();
    assert!(
        (now..=now + 3600).contains(&certificate.not_after),
        "{}",
        certificate.not_after
    );
}

/// What the operator gets who follows docs/deployments.md; worked out by x509-parser where openssl is missing.
fn openssl_spki_digest(files: &Files, ca: &Ca) -> String {
    let parsed = files::parse(ca.der()).unwrap();
    let digest = crate::tls::roots::sha256_hex(parsed.public_key().raw);
    let pem = write(&files.path("digest.pem"), ca.pem());
    let command = "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform der \
                   | openssl dgst -sha256 -r | cut -d ' ' -f 1";
    let output = Command::new("sh")
        .args(["-c", command])
        .arg(pem)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    if output.stderr.is_empty() {
        assert_eq!(printed.trim(), digest);
    }
    digest
}

#[tokio::test]
async fn a_root_that_has_ended_vouches_for_nobody() {
    let files = Files::new(&[]);
    let key = fixtures::key();
    let ended = |days: i64| {
        let mut params = fixtures::ca_params("root");
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let key = KeyPair::try_from(key.serialize_der()).unwrap();
        Ca::self_signed(params, key).unwrap()
    };
    let (old, renewed) = (ended(-1), ended(30));
    files.issue("cart", &leaf_params("cart"), &old, &[]);

    // Alone it is a problem, beside its successor a warning; the two are one authority.
    let client_ca = Some(write(&files.path("old.pem"), old.pem()));
    let (key, reason) = only_problem(&ListenerTls {
        client_ca,
        ..files.settings()
    });
    assert_eq!((key, reason.as_str()), ("client_ca", "root 1: has expired"));
    let server = files.server_trusting(&[&old, &renewed]);
    assert_eq!(server.number_of_roots(), 1);
    assert_eq!(server.warnings().len(), 1);
    assert_eq!(facts(&files, &server, "cart").await.cn, ["cart"]);

    // Beside a stranger nothing saves it, though rustls itself lets it pass.
    let server = files.server_trusting(&[&old, &ca("stranger")]);
    let ends = handshake(&server, &files.client(Some("cart"), &version::TLS13)).await;
    let refusal = server
        .verified(ends.connection(), SystemTime::now())
        .unwrap_err();
    assert_eq!(refusal, CertificateRefusal::Expired);
}

#[tokio::test]
async fn verifying_is_cheap() {
    let files = Files::new(&["cart"]);
    let server = files.server();
    let ends = handshake(&server, &files.client(Some("cart"), &version::TLS13)).await;
    let (rounds, start) = (200, Instant::now());
    for _ in 0..rounds {
        server
            .verified(ends.connection(), SystemTime::now())
            .unwrap();
    }
    let each = start.elapsed() / rounds;
    // Far above what it takes, so that a busy machine passes; a search that explodes does not.
    assert!(each < Duration::from_millis(20), "{each:?}");
}
