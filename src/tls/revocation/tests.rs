//! Certificates on lists, and lists that say nothing.
#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use rcgen::SerialNumber;
use time::Duration;
use tokio_rustls::rustls::{ServerConnection, version};

use crate::config::ListenerTls;
use crate::tls::fixtures::{Ca, Files, ca, crl, handshake, leaf_params, only_problem, write};
use crate::tls::{CertificateRefusal, HandshakeFailureKind, ServerTls, handshake_failure};

const YESTERDAY: Duration = Duration::days(-1);
const NEXT_WEEK: Duration = Duration::days(7);

fn serial(number: u64) -> SerialNumber {
    number.into()
}

/// The settings of a server that trusts this root and asks these lists.
fn settings(files: &Files, root: &Ca, lists: &[String]) -> ListenerTls {
    let client_ca = write(&files.path("roots.pem"), root.pem());
    let crl = lists.iter().enumerate().map(|(index, list)| {
        let path = files.path(&format!("{index}.crl"));
        write(&path, list)
    });
    ListenerTls {
        client_ca: Some(client_ca),
        crl: crl.collect(),
        ..files.settings()
    }
}

fn server(files: &Files, root: &Ca, lists: &[String]) -> ServerTls {
    ServerTls::load(&settings(files, root, lists)).unwrap()
}

/// A client named `cart` with this serial number, and its issuers.
fn issue(files: &Files, number: u64, ca: &Ca, issuers: &[&Ca]) {
    let mut params = leaf_params("cart");
    params.serial_number = Some(serial(number));
    files.issue("cart", &params, ca, issuers);
}

/// What is said of `cart` by a handshake, and of a connection of his that another server let in.
async fn verdicts(
    files: &Files,
    root: &Ca,
    server: &ServerTls,
) -> (Option<HandshakeFailureKind>, Result<(), CertificateRefusal>) {
    let client = files.client(Some("cart"), &version::TLS13);
    let ends = handshake(server, &client).await;
    let kind = ends
        .server
        .err()
        .map(|error| handshake_failure(&error).kind);
    let lax = handshake(&files.server_trusting(&[root]), &client).await;
    (kind, verified(server, lax.connection()))
}

fn verified(server: &ServerTls, connection: &ServerConnection) -> Result<(), CertificateRefusal> {
    server.verified(connection, SystemTime::now()).map(drop)
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let files = Files::new(&[]);
    let root = ca("root");
    let list = crl(&root, &[&serial(7)], YESTERDAY, NEXT_WEEK);
    let server = server(&files, &root, &[list]);
    assert_eq!(server.warnings(), &[] as &[String]);
    issue(&files, 8, &root, &[]);
    assert_eq!(verdicts(&files, &root, &server).await, (None, Ok(())));
    issue(&files, 7, &root, &[]);
    assert_eq!(
        verdicts(&files, &root, &server).await,
        (
            Some(HandshakeFailureKind::RevokedClientCertificate),
            Err(CertificateRefusal::Revoked)
        )
    );
}

#[tokio::test]
async fn the_whole_chain_is_looked_at() {
    let files = Files::new(&[]);
    let root = ca("root");
    let mut params = crate::tls::fixtures::ca_params("middle");
    params.serial_number = Some(serial(3));
    let middle = rcgen::CertifiedIssuer::signed_by(params, crate::tls::fixtures::key(), &root);
    let middle = middle.unwrap();
    issue(&files, 8, &middle, &[&middle]);
    let of_root = |revoked: &[&SerialNumber]| crl(&root, revoked, YESTERDAY, NEXT_WEEK);
    let of_middle = crl(&middle, &[], YESTERDAY, NEXT_WEEK);

    let both = server(&files, &root, &[of_root(&[]), of_middle.clone()]);
    assert_eq!(verdicts(&files, &root, &both).await, (None, Ok(())));
    let in_one_file = [of_root(&[]) + &of_middle];
    let in_one_file = server(&files, &root, &in_one_file);
    assert_eq!(verdicts(&files, &root, &in_one_file).await, (None, Ok(())));

    let revoked = server(&files, &root, &[of_root(&[&serial(3)]), of_middle]);
    let (kind, refusal) = verdicts(&files, &root, &revoked).await;
    assert_eq!(kind, Some(HandshakeFailureKind::RevokedClientCertificate));
    assert_eq!(refusal, Err(CertificateRefusal::Revoked));

    let unknown = server(&files, &root, &[of_root(&[])]);
    let (kind, refusal) = verdicts(&files, &root, &unknown).await;
    assert_eq!(kind, Some(HandshakeFailureKind::RevocationUnknown));
    assert_eq!(refusal, Err(CertificateRefusal::RevocationUnknown));
}

#[tokio::test]
async fn a_list_that_somebody_else_has_signed_is_none() {
    let files = Files::new(&[]);
    let (root, impostor) = (ca("root"), ca("root"));
    issue(&files, 8, &root, &[]);
    let list = crl(&impostor, &[], YESTERDAY, NEXT_WEEK);
    let server = server(&files, &root, &[list]);
    let (kind, refusal) = verdicts(&files, &root, &server).await;
    assert!(kind.is_some());
    assert!(
        matches!(refusal, Err(CertificateRefusal::Untrusted(_))),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn what_was_verified_by_a_list_counts_until_its_end() {
    let files = Files::new(&[]);
    let root = ca("root");
    let list = crl(&root, &[], YESTERDAY, Duration::hours(1));
    let server = server(&files, &root, &[list]);
    issue(&files, 8, &root, &[]);
    let client = files.client(Some("cart"), &version::TLS13);
    let ends = handshake(&server, &client).await;
    let at = |hours: u64| {
        let time = SystemTime::now() + std::time::Duration::from_secs(hours * 3600);
        server.verified(ends.connection(), time).map(drop)
    };
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(2), Err(CertificateRefusal::RevocationListExpired));
}

#[test]
fn a_list_that_has_ended_or_is_none_is_an_error() {
    let files = Files::new(&[]);
    let root = ca("root");
    let settings = |list: String| settings(&files, &root, &[list]);
    let ended = crl(&root, &[], Duration::days(-9), YESTERDAY);
    let (key, reason) = only_problem(&settings(ended));
    assert_eq!(key, "crl");
    assert!(reason.starts_with("list 1: expired on "), "{reason}");
    let early = crl(&root, &[], Duration::days(1), NEXT_WEEK);
    assert!(
        only_problem(&settings(early))
            .1
            .starts_with("list 1: is not valid before ")
    );
    let (_, reason) = only_problem(&settings(root.pem()));
    assert_eq!(reason, "holds no revocation list (it holds a certificate)");
    let garbage = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_owned();
    assert!(
        only_problem(&settings(garbage))
            .1
            .starts_with("list 1: cannot be used")
    );
    let mut missing = settings(crl(&root, &[], YESTERDAY, NEXT_WEEK));
    missing.crl.push(files.path("absent.crl"));
    assert!(only_problem(&missing).1.starts_with("cannot be read"));
}

#[test]
fn roots_without_a_list_and_lists_that_end_soon_are_told() {
    let files = Files::new(&[]);
    let (root, other) = (ca("root"), ca("other"));
    let list = crl(&other, &[], Duration::days(-100), Duration::hours(1));
    let warnings = server(&files, &root, &[list]).warnings().join("\n");
    assert!(
        warnings.contains("the revocation list ends on "),
        "{warnings}"
    );
    assert!(warnings.contains("no crl is of CN=root"), "{warnings}");
    let short = crl(&root, &[], Duration::hours(-1), Duration::hours(23));
    assert_eq!(server(&files, &root, &[short]).warnings(), &[] as &[String]);
}

#[test]
fn the_same_files_make_the_same_server() {
    let files = Files::new(&[]);
    let root = ca("root");
    let list = |revoked: &[&SerialNumber]| crl(&root, revoked, YESTERDAY, NEXT_WEEK);
    let lists = [list(&[])];
    let first = server(&files, &root, &lists);
    assert!(first.says_the_same(&server(&files, &root, &lists)));
    assert!(!first.says_the_same(&server(&files, &root, &[list(&[&serial(7)])])));
    assert!(!first.says_the_same(&server(&files, &root, &[])));
}
