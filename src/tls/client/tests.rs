#![allow(clippy::unwrap_used)]

use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{CertificateError, Error, HandshakeKind};

use super::*;
use crate::config::{ClientAuth, ListenerTls};
use crate::tls::fixtures::{Ca, Files, ca, leaf_params, write};
use crate::tls::{ServerTls, upstream_failure};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn settings(files: &Files, ca: &str, client: Option<&str>) -> config::UpstreamTls {
    config::UpstreamTls {
        ca: Some(files.path(ca)),
        identity: client.map(|name| {
            (
                files.path(&format!("{name}.pem")),
                files.path(&format!("{name}.key")),
            )
        }),
        server_names: vec!["localhost".to_owned()],
    }
}

/// Of settings that name their authority.
fn load(settings: &config::UpstreamTls) -> Result<UpstreamTls, Vec<TlsProblem>> {
    UpstreamTls::load(settings, &SystemRoots::default())
}

/// A handshake and a word each way; the server's stream lives until the client has read its own.
async fn converse(server: &ServerTls, client: &UpstreamTls) -> io::Result<HandshakeKind> {
    converse_at(0, server, client).await
}

async fn converse_at(
    address: usize,
    server: &ServerTls,
    client: &UpstreamTls,
) -> io::Result<HandshakeKind> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let serve = async {
        let mut stream = server.acceptor().accept(far).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        stream.write_all(b"+").await?;
        stream.flush().await?;
        let _ = stream.read(&mut byte).await;
        io::Result::Ok(())
    };
    let ask = async {
        let mut stream = client.connect(address, near).await?;
        stream.write_all(b"*").await?;
        stream.flush().await?;
        stream.read_exact(&mut [0]).await?;
        io::Result::Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    let (_, kind) = tokio::join!(serve, ask);
    kind
}

#[track_caller]
fn said(result: io::Result<HandshakeKind>) -> String {
    upstream_failure(&result.unwrap_err()).unwrap()
}

/// A server whose certificate is `params`, signed by `ca`.
fn server_with(files: &Files, params: &rcgen::CertificateParams, ca: &Ca) -> ServerTls {
    files.issue("own", params, ca, &[]);
    ServerTls::load(&ListenerTls {
        cert: files.path("own.pem"),
        key: files.path("own.key"),
        client_auth: ClientAuth::None,
        client_ca: None,
        ..files.settings()
    })
    .unwrap()
}

fn server_params(names: &[&str]) -> rcgen::CertificateParams {
    let mut params = leaf_params("server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = names
        .iter()
        .map(|name| rcgen::SanType::DnsName((*name).try_into().unwrap()))
        .collect();
    params
}

#[tokio::test]
async fn an_upstream_is_resumed_at_the_second_connect() {
    let files = Files::new(&["gateway"]);
    let client = load(&settings(&files, "ca.pem", Some("gateway"))).unwrap();
    assert_eq!(client.warnings(), &[] as &[String]);
    let server = files.server();
    let kinds = [
        converse(&server, &client).await.unwrap(),
        converse(&server, &client).await.unwrap(),
    ];
    assert_eq!(kinds[1], HandshakeKind::Resumed, "{kinds:?}");
    assert_ne!(kinds[0], HandshakeKind::Resumed);
    // Another configuration has a store of its own.
    let other = load(&settings(&files, "ca.pem", Some("gateway"))).unwrap();
    assert_ne!(
        converse(&server, &other).await.unwrap(),
        HandshakeKind::Resumed
    );
}

#[tokio::test]
async fn each_address_must_prove_its_own_name() {
    let files = Files::new(&[]);
    let root = ca("root");
    write(&files.path("root.pem"), root.pem());
    let client = load(&config::UpstreamTls {
        server_names: vec!["redis.a".to_owned(), "redis.b".to_owned()],
        ..settings(&files, "root.pem", None)
    });
    let client = client.unwrap();
    let server = server_with(&files, &server_params(&["redis.b"]), &root);
    assert!(converse_at(1, &server, &client).await.is_ok());
    let text = said(converse_at(0, &server, &client).await);
    assert!(
        text.contains("not for \"redis.a\" but for redis.b"),
        "{text}"
    );
    assert!(converse_at(2, &server, &client).await.is_err());
}

#[tokio::test]
async fn what_is_wrong_with_the_upstreams_certificate_is_named() {
    let files = Files::new(&[]);
    let root = ca("root");
    write(&files.path("root.pem"), root.pem());
    let client = load(&settings(&files, "root.pem", None)).unwrap();

    let stranger = server_with(&files, &server_params(&["localhost"]), &ca("stranger"));
    let text = said(converse(&stranger, &client).await);
    assert!(
        text.contains("signed by no authority that is trusted here"),
        "{text}"
    );

    let other_name = server_with(&files, &server_params(&["redis.b", "redis.c"]), &root);
    let text = said(converse(&other_name, &client).await);
    assert_eq!(
        text,
        "the upstream's certificate is not for \"localhost\" but for redis.b, redis.c: \
         tls.server_name says which name is expected"
    );

    let mut params = server_params(&["localhost"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let text = said(converse(&server_with(&files, &params, &root), &client).await);
    assert!(text.contains("not meant for servers"), "{text}");

    let own = server_with(&files, &server_params(&["localhost"]), &root);
    assert!(converse(&own, &client).await.is_ok());
}

#[test]
fn dates_of_the_upstreams_certificate_are_named() {
    for (error, word) in [
        (CertificateError::Expired, "has expired"),
        (CertificateError::NotValidYet, "is not valid yet"),
    ] {
        let error = io::Error::other(Error::InvalidCertificate(error));
        let text = upstream_failure(&error).unwrap();
        assert!(text.starts_with("the upstream's certificate"), "{text}");
        assert!(text.contains(word), "{text}");
    }
    let socket = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(upstream_failure(&socket), None);
}

#[tokio::test]
async fn what_the_upstream_holds_against_our_certificate_is_named() {
    let files = Files::new(&["gateway"]);
    let root = ca("root");
    files.issue("short", &leaf_params("short"), &root, &[]);
    let server = files.server();

    let none = load(&settings(&files, "ca.pem", None)).unwrap();
    let text = said(converse(&server, &none).await);
    assert!(text.contains("wants a client certificate"), "{text}");

    let foreign = load(&settings(&files, "ca.pem", Some("short"))).unwrap();
    // rustls shows no certificate of an authority that the server doesn't name.
    let text = said(converse(&server, &foreign).await);
    assert!(
        text.contains("wants a client certificate") || text.contains("refuses our certificate"),
        "{text}"
    );
    let trusting = files.server_trusting(&[&root]);
    assert!(converse(&trusting, &foreign).await.is_ok());
}

#[test]
fn an_expired_client_certificate_is_found_before_it_is_shown() {
    let files = Files::new(&[]);
    files.issue("short", &leaf_params("short"), &ca("root"), &[]);
    let settings = settings(&files, "ca.pem", Some("short"));
    let later = SystemTime::now() + 2 * DAY;
    let problems = UpstreamTls::load_at(&settings, &SystemRoots::default(), later).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "cert");
    assert!(problems[0].reason.starts_with("the certificate expired on"));
}

#[test]
fn every_problem_of_an_upstreams_files_is_told() {
    let files = Files::new(&["a", "b"]);
    let settings = config::UpstreamTls {
        ca: Some(files.path("none.pem")),
        identity: Some((files.path("a.pem"), files.path("b.key"))),
        server_names: vec!["not a name".to_owned()],
    };
    let problems = load(&settings).unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["ca", "key", "server_name"]);
    assert!(problems[1].reason.contains("does not belong to"));
    assert_eq!(
        problems[2].to_string(),
        "server_name = \"not a name\": is neither a DNS name nor an IP address"
    );

    // A server's own certificate is no authority.
    let settings = config::UpstreamTls {
        ca: Some(files.path("server.pem")),
        identity: None,
        server_names: vec!["localhost".to_owned()],
    };
    let problems = load(&settings).unwrap_err();
    assert!(
        problems[0]
            .reason
            .contains("is not a certificate authority"),
        "{problems:?}"
    );
}
