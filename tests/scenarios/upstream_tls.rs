//! A Redis that speaks TLS itself behind the proxy: who proves what to whom, and what the log says
//! where that fails.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::support::acl::ok;
use crate::support::cli::respgate;
use crate::support::{
    Builder, Certs, Proxy, RedisServer, Reply, Version, command, eventually, free_port,
};

/// Redis 7.0.15 with TLS on one port, for the proxy, and plaintext on another, for the test.
struct TlsRedis {
    plain: RedisServer,
    port: u16,
}

impl TlsRedis {
    /// `clients`: whether a client needs a certificate, as `tls-auth-clients` has it.
    fn start(clients: &str, extra: &[&str]) -> Self {
        let certs = Certs::shared();
        let port = free_port();
        let file = |name: &str| certs.file(name).to_str().unwrap().to_owned();
        let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
        let port_text = port.to_string();
        let mut args = vec!["--tls-port", &port_text, "--tls-auth-clients", clients];
        args.extend(["--tls-cert-file", &cert, "--tls-key-file", &key]);
        args.extend(["--tls-ca-cert-file", &ca]);
        args.extend(extra);
        Self {
            plain: RedisServer::start(Version::V7_0_15, &args),
            port,
        }
    }

    /// The whole table of an upstream that is this server.
    fn table(&self, lines: &str, tls: &str) -> String {
        format!(
            "address = \"127.0.0.1:{}\"\n{lines}\n[upstream.main.tls]\n{tls}\n",
            self.port
        )
    }
}

/// The lines that name the shared authority, and the certificate of a client.
fn shown(client: &str) -> String {
    format!(
        "{}{}",
        trusted(Certs::shared()),
        own(Certs::shared(), client)
    )
}

fn trusted(certs: &Certs) -> String {
    format!("ca = \"{}\"\n", certs.file("ca.pem").display())
}

fn own(certs: &Certs, client: &str) -> String {
    format!(
        "cert = \"{}\"\nkey = \"{}\"\n",
        certs.file(&format!("{client}.pem")).display(),
        certs.file(&format!("{client}.key")).display()
    )
}

fn in_front_of(server: &TlsRedis) -> Builder {
    Proxy::builder().upstream_named("main", &server.table("", &shown("gateway")))
}

#[track_caller]
fn served(proxy: &Proxy) {
    eventually("a client is served", || {
        proxy.try_client(Some("cart")).is_ok_and(|mut client| {
            client.try_send(&command(&["PING"])).is_ok()
                && client.try_read_reply() == Ok(Reply::Simple("PONG".into()))
        })
    });
}

/// Starts a proxy that can't reach its upstream, and waits until its log says why.
#[track_caller]
fn expect_complaint(table: &str, words: &str) {
    let proxy = Proxy::builder()
        .upstream_named("main", table)
        .ready_when_listening()
        .start();
    eventually(words, || proxy.log_text().contains(words));
    let mut client = proxy.client("cart");
    let _ = client.try_send(&command(&["PING"]));
    client.expect_close();
    // Told once, though it is tried again and again.
    assert_eq!(proxy.log_text().matches(words).count(), 1);
}

#[test]
fn redis_that_wants_a_certificate_is_served_with_ours() {
    let server = TlsRedis::start("yes", &[]);
    let proxy = in_front_of(&server).start();
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["SET", "cart:1", "a"]), ok());
    assert_eq!(
        server.plain.direct().call(&["GET", "cart:1"]),
        Reply::bulk("a")
    );
    let refused = client.call(&["GET", "other:1"]);
    assert_eq!(refused.error(), "NOPERM No permissions to access a key");
    // A transaction and a refusal in it, in their places.
    client.send("MULTI\r\nINCR cart:n\r\nFLUSHALL\r\nEXEC\r\nGET cart:n\r\n");
    client.expect(
        "+OK\r\n+QUEUED\r\n-NOPERM User cart has no permissions to run the 'flushall' command\r\n",
    );
    client.expect("-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n");
}

#[test]
fn pipelines_and_large_values_pass_through_tls_both_ways() {
    const LENGTH: usize = 20 << 20;
    const COUNT: usize = 20_000;
    let server = TlsRedis::start("yes", &[]);
    let proxy = in_front_of(&server).start();
    let mut client = proxy.client("cart");
    let value: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    assert_eq!(client.call_bytes(&[b"SET", b"cart:big", &value]), ok());
    // Behind it a whole pipeline, and nothing is read before all of it is written: the answers to
    // the first requests are larger than what the proxy holds.
    let mut pipeline = command(&["GET", "cart:big"]).repeat(2);
    for _ in 0..COUNT {
        pipeline.extend(command(&["INCR", "cart:n"]));
    }
    client.send(pipeline);
    for _ in 0..2 {
        client.expect(format!("${LENGTH}\r\n"));
        let mut at = 0;
        client.consume(LENGTH as u64, |bytes| {
            assert!(bytes == &value[at..at + bytes.len()], "other bytes at {at}");
            at += bytes.len();
        });
        client.expect("\r\n");
    }
    for number in 1..=COUNT {
        client.expect(format!(":{number}\r\n"));
    }
}

/// What TLS still holds when the socket is full must leave it without another word from the client.
#[test]
fn pipeline_into_a_server_that_hangs_arrives_whole_when_it_goes_on() {
    const COUNT: usize = 400_000;
    let server = TlsRedis::start("yes", &[]);
    let proxy = in_front_of(&server).start();
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    server.plain.freeze();
    let pipeline = command(&["INCR", "cart:n"]).repeat(COUNT);
    // More than all buffers on the way hold: the rest is written when the server goes on.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(500));
            server.plain.thaw();
        });
        client.send(pipeline);
    });
    for number in 1..=COUNT {
        client.expect(format!(":{number}\r\n"));
    }
}

#[test]
fn token_of_an_acl_user_may_be_rotated_while_the_proxy_runs() {
    let user = ["--user", "proxy", "on", ">token-1", "~*", "&*", "+@all"];
    let server = TlsRedis::start("yes", &user);
    let mut direct = server.plain.direct();
    let lines = "username = \"proxy\"\npassword_file = \"token\"";
    let proxy = Proxy::builder()
        .upstream_named("main", &server.table(lines, &shown("gateway")))
        // Each client's connection takes the token that is there then.
        .dedicated()
        .file("token", "token-1\n")
        .start();
    let whoami = || {
        let mut client = proxy.client("admin");
        client.call(&["CLIENT", "INFO"]).text()
    };
    assert!(whoami().contains(" user=proxy "), "{}", whoami());

    // The file first, the server later or the other way round: a new connection takes what is there.
    assert_eq!(
        direct.call(&["ACL", "SETUSER", "proxy", ">token-2", "<token-1"]),
        ok()
    );
    let mut client = proxy.client("cart");
    let _ = client.try_send(&command(&["PING"]));
    client.expect_close();
    proxy.write_file("token", "token-2");
    assert!(whoami().contains(" user=proxy "));

    // Half a rotation: the last good one serves on, and it is told once.
    proxy.write_file("token", "");
    for _ in 0..3 {
        assert!(whoami().contains(" user=proxy "));
    }
    let told = "the last good password serves on";
    let told = || proxy.log_text().matches(told).count();
    eventually("it is told", || told() > 0);
    proxy.swap_file("token", "token-3\n");
    direct.call(&["ACL", "SETUSER", "proxy", ">token-3", "<token-2"]);
    assert!(whoami().contains(" user=proxy "));
    assert_eq!(told(), 1);
    for token in ["token-1", "token-2", "token-3"] {
        assert!(!proxy.log_text().contains(token));
    }
}

#[test]
fn upstream_that_proves_nothing_to_us_is_not_served() {
    let server = TlsRedis::start("yes", &[]);
    let other = Certs::new();
    let own = own(Certs::shared(), "gateway");
    expect_complaint(
        &server.table("", &format!("{}{own}", trusted(&other))),
        "TLS: the upstream's certificate is signed by no authority that is trusted here",
    );
    expect_complaint(
        &server.table(
            "",
            &format!("{}server_name = \"redis.b\"\n", shown("gateway")),
        ),
        "TLS: the upstream's certificate is not for \"redis.b\" but for localhost, 127.0.0.1",
    );
    assert_eq!(server.plain.direct().call(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn what_the_server_holds_against_us_is_in_the_log() {
    let server = TlsRedis::start("yes", &[]);
    let other = Certs::new();
    let trusted = trusted(Certs::shared());
    expect_complaint(
        &server.table("", &trusted),
        "TLS: the upstream wants a client certificate: set tls.cert and tls.key",
    );
    expect_complaint(
        &server.table("", &format!("{trusted}{}", own(&other, "gateway"))),
        "TLS: the upstream refuses our certificate: it doesn't trust who signed it",
    );
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "not-it").unwrap();
    let lines = format!("password_file = \"{}\"", password.path().display());
    // With something to write at once, which must not hide the alert.
    expect_complaint(
        &server.table(&lines, &trusted),
        "TLS: the upstream wants a client certificate: set tls.cert and tls.key",
    );
    expect_complaint(
        &server.table(
            &format!("username = \"nobody\"\n{lines}"),
            &shown("gateway"),
        ),
        "the upstream refuses our AUTH: WRONGPASS",
    );
}

#[test]
fn plaintext_and_tls_that_meet_are_told() {
    let server = TlsRedis::start("no", &[]);
    let plain = server.plain.address().port();
    expect_complaint(
        &format!(
            "address = \"127.0.0.1:{plain}\"\nconnect_timeout = \"500ms\"\n[upstream.main.tls]\n{}",
            trusted(Certs::shared())
        ),
        "is this a plaintext port?",
    );
    // The first word is INFO, or AUTH where there is a password.
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "token").unwrap();
    let file = format!("password_file = \"{}\"", password.display());
    for lines in ["", file.as_str()] {
        expect_complaint(
            &format!("address = \"127.0.0.1:{}\"\n{lines}", server.port),
            "it hung up at our first word: does it speak TLS?",
        );
    }
}

/// A client certificate of the shared authority that ends so many seconds from now.
fn short_lived(seconds: i64) -> tempfile::TempDir {
    let certs = Certs::shared();
    let read = |name: &str| std::fs::read_to_string(certs.file(name)).unwrap();
    let ca_key = KeyPair::from_pem(&read("ca.key")).unwrap();
    // The issuer's name, as the authority's own certificate has it.
    let text = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-nameopt", "multiline", "-in"])
        .arg(certs.file("ca.pem"))
        .output()
        .expect("openssl is missing");
    let text = String::from_utf8(text.stdout).unwrap();
    let name = text.split(" = ").nth(1).unwrap().trim();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, name);
    let issuer = Issuer::new(authority, ca_key);
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "gateway");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::seconds(seconds);
    let key = KeyPair::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.path().join("c.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.path().join("c.key"), key.serialize_pem()).unwrap();
    dir
}

fn shown_from(dir: &tempfile::TempDir) -> String {
    let dir = dir.path().display();
    format!(
        "{}cert = \"{dir}/c.pem\"\nkey = \"{dir}/c.key\"\n",
        trusted(Certs::shared())
    )
}

#[test]
fn expired_client_certificate_is_refused_at_the_start() {
    let server = TlsRedis::start("yes", &[]);
    let dir = short_lived(-60);
    let config = tempfile::tempdir().unwrap();
    let path = Proxy::builder()
        .upstream_named("main", &server.table("", &shown_from(&dir)))
        .write(config.path(), free_port());
    for words in [&["check", "--config"][..], &["run", "--config"]] {
        let outcome = respgate(&[words, &[path.to_str().unwrap()]].concat()).expect_code(78);
        assert!(
            outcome.stderr.contains("upstream.main.tls.cert = ")
                && outcome.stderr.contains("the certificate expired on"),
            "{outcome:#?}"
        );
    }
}

#[test]
fn client_certificate_that_expires_meanwhile_is_named_by_the_log() {
    let mut server = TlsRedis::start("yes", &[]);
    // Long enough for a busy machine to start the proxy, short enough to wait for.
    let dir = short_lived(10);
    let ends = std::time::Instant::now() + std::time::Duration::from_secs(11);
    let proxy = Proxy::builder()
        .upstream_named("main", &server.table("", &shown_from(&dir)))
        .start();
    std::thread::sleep(ends.saturating_duration_since(std::time::Instant::now()));
    server.plain.restart();
    let words = "TLS: the upstream refuses our certificate: it has expired";
    eventually(words, || proxy.log_text().contains(words));
}

#[test]
fn a_certificate_that_is_renewed_is_shown_to_the_upstream_without_a_restart() {
    let mut server = TlsRedis::start("yes", &[]);
    let dir = short_lived(3600);
    let refused = "TLS: the upstream refuses our certificate: it doesn't trust who signed it";
    let proxy = Proxy::builder()
        .upstream_named("main", &server.table("", &shown_from(&dir)))
        .allow_error(refused)
        .start();
    let mut before = proxy.client("cart");
    assert_eq!(before.call(&["PING"]), Reply::Simple("PONG".into()));
    let shows = |from: &std::path::Path, name: &str| {
        for end in ["pem", "key"] {
            let to = dir.path().join(format!("c.{end}"));
            std::fs::copy(from.join(format!("{name}.{end}")), to).unwrap();
        }
    };
    // One by which it can be told that it is another.
    let foreign = Certs::new();
    shows(foreign.file("gateway.pem").parent().unwrap(), "gateway");
    proxy.reload_until("changed=\"upstream.main.tls\"");
    // What is open goes on.
    assert_eq!(before.call(&["PING"]), Reply::Simple("PONG".into()));
    server.plain.restart();
    eventually(refused, || proxy.log_text().contains(refused));
    let good = short_lived(7200);
    shows(good.path(), "c");
    proxy.reload_until("changed=\"upstream.main.tls\"");
    served(&proxy);
}

#[test]
fn upstream_that_dies_in_the_middle_of_a_reply_closes_the_client() {
    const LENGTH: usize = 20 << 20;
    let mut server = TlsRedis::start("yes", &[]);
    let proxy = in_front_of(&server).start();
    let mut client = proxy.client("cart");
    client.call_bytes(&[b"SET", b"cart:big", &vec![b'x'; LENGTH]]);
    client.send(command(&["GET", "cart:big"]).repeat(3));
    client.expect(format!("${LENGTH}\r\n"));
    server.plain.kill();
    // Neither an error nor a reply is made up for what is missing.
    let rest = client.read_to_close();
    assert!(rest.len() < 3 * LENGTH, "{} bytes", rest.len());
    assert!(!rest.contains(&b'-'));
    server.plain.restart();
    served(&proxy);
}

#[test]
fn idle_client_of_a_dead_upstream_is_closed_though_nobody_said_goodbye() {
    let mut server = TlsRedis::start("yes", &[]);
    let proxy = in_front_of(&server).dedicated().start();
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["SET", "cart:1", "a"]), ok());
    server.plain.kill();
    client.expect_close();
}

/// What `respgate check --upstream` says with this file as the system's trust store.
fn check(builder: Builder, trust_store: &Certs) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = builder.write(dir.path(), free_port());
    let output = Command::new(env!("CARGO_BIN_EXE_respgate"))
        .args(["check", "--upstream", "--config"])
        .arg(path)
        .env("SSL_CERT_FILE", trust_store.file("ca.pem"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn empty_table_means_the_systems_trust_store() {
    let server = TlsRedis::start("no", &[]);
    let builder = || Proxy::builder().upstream_named("main", &server.table("", ""));
    let (code, text) = check(builder(), Certs::shared());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Redis 7.0.15 (standalone, master)"), "{text}");
    // Whoever comes without our certificate is served just the same.
    assert!(text.contains("is open: it needs no password"), "{text}");
    let (code, text) = check(builder(), &Certs::new());
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("signed by no authority that is trusted here"),
        "{text}"
    );
}

/// A proxy whose upstream's authority is among the system's, and nowhere else. Both variables are set, or
/// this machine's own authorities would make up for one that can't be read.
fn trusting_the_system(server: &TlsRedis, identity: &str, (file, dir): (&Path, &Path)) -> Proxy {
    Proxy::builder()
        .upstream_named("main", &server.table("", identity))
        .env("SSL_CERT_FILE", file.to_str().unwrap())
        .env("SSL_CERT_DIR", dir.to_str().unwrap())
        .start()
}

#[test]
fn a_bundle_of_authorities_that_is_replaced_does_no_harm_to_a_reload() {
    let server = TlsRedis::start("no", &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let bundle = elsewhere.path().join("bundle.pem");
    std::fs::copy(Certs::shared().file("ca.pem"), &bundle).unwrap();
    let proxy = trusting_the_system(&server, "", (&bundle, Path::new("/nonexistent")));
    let new = elsewhere.path().join("new.pem");
    std::fs::copy(&bundle, &new).unwrap();
    std::fs::rename(&new, &bundle).unwrap();
    proxy.reload("user cart on ~* +@all -flushall\nuser admin on ~* +@all\nuser search on +ping\n");
    assert!(proxy.client("cart").call(&["FLUSHALL"]).is_error());
}

#[test]
fn authorities_that_are_links_into_other_folders_do_no_harm_to_a_reload() {
    let server = TlsRedis::start("no", &[]);
    let (links, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = elsewhere.path().join("ca.pem");
    std::fs::copy(Certs::shared().file("ca.pem"), &ca).unwrap();
    symlink(&ca, links.path().join("12345678.0")).unwrap();
    let proxy = trusting_the_system(&server, "", (Path::new("/nonexistent"), links.path()));
    proxy.reload("user cart on ~* +@all -flushall\nuser admin on ~* +@all\nuser search on +ping\n");
    assert!(proxy.client("cart").call(&["FLUSHALL"]).is_error());
}

/// What is left of the trust store would do for a store, and not for the upstream.
#[test]
fn a_certificate_that_is_renewed_leaves_the_systems_authorities_as_they_were() {
    let mut server = TlsRedis::start("yes", &[]);
    let own = short_lived(3600);
    let identity = shown_from(&own).replace(&trusted(Certs::shared()), "");
    let (others, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bundle = elsewhere.path().join("bundle.pem");
    std::fs::copy(Certs::shared().file("ca.pem"), &bundle).unwrap();
    let other = others.path().join("12345678.0");
    std::fs::copy(Certs::new().file("ca.pem"), other).unwrap();
    let proxy = trusting_the_system(&server, &identity, (&bundle, others.path()));
    std::fs::remove_file(&bundle).unwrap();
    let renewed = short_lived(7200);
    for file in ["c.pem", "c.key"] {
        std::fs::copy(renewed.path().join(file), own.path().join(file)).unwrap();
    }
    proxy.reload_until("changed=\"upstream.main.tls\"");
    server.plain.restart();
    served(&proxy);
}

#[test]
fn check_asks_over_tls_and_finds_a_certificate_proof_enough() {
    let server = TlsRedis::start("yes", &[]);
    let builder = || in_front_of(&server);
    let (code, text) = check(builder(), Certs::shared());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Redis 7.0.15"), "{text}");
    assert!(!text.contains("is open"), "{text}");

    let optional = TlsRedis::start("optional", &[]);
    let (code, text) = check(in_front_of(&optional), Certs::shared());
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("is open: it runs commands without our certificate too"),
        "{text}"
    );

    // And explain reads the same file.
    let dir = tempfile::tempdir().unwrap();
    let path = builder().write(dir.path(), free_port());
    let path = path.to_str().unwrap();
    respgate(&[
        "explain", "--config", path, "--user", "cart", "--", "GET", "cart:1",
    ])
    .expect_code(0);
}

#[test]
fn every_problem_of_the_upstreams_files_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let certs = Certs::shared();
    let tls = format!(
        "ca = \"none.pem\"\ncert = \"{}\"\nkey = \"{}\"\nserver_name = \"a b\"\n",
        certs.file("cart.pem").display(),
        certs.file("admin.key").display()
    );
    let path = Proxy::builder()
        .upstream_named(
            "main",
            &format!("address = \"redis.internal:6379\"\n[upstream.main.tls]\n{tls}"),
        )
        .users("user cart on +nosuchcommand\n")
        .write(dir.path(), free_port());
    let outcome = respgate(&["check", "--config", path.to_str().unwrap()]).expect_code(78);
    for words in [
        "upstream.main.tls.ca = ",
        "none.pem\": cannot be read",
        "upstream.main.tls.key = ",
        "does not belong to the certificate in",
        "upstream.main.tls.server_name = \"a b\": is neither a DNS name nor an IP address",
        "nosuchcommand",
    ] {
        assert!(outcome.stderr.contains(words), "{words}: {outcome:#?}");
    }
}

#[test]
fn client_whose_upstream_connection_is_killed_is_closed() {
    let server = TlsRedis::start("yes", &[]);
    let proxy = in_front_of(&server).start();
    let mut client = proxy.client("cart");
    client.send_args(&["BLPOP", "cart:q", "0"]);
    let mut direct = server.plain.direct();
    let mut waiting = None;
    eventually("it waits", || {
        let list = direct.call(&["CLIENT", "LIST"]).text();
        waiting = list
            .lines()
            .find(|line| line.contains("cmd=blpop"))
            .and_then(|line| line.split(' ').next()?.strip_prefix("id="))
            .map(str::to_owned);
        waiting.is_some()
    });
    direct.call(&["CLIENT", "KILL", "ID", &waiting.unwrap()]);
    client.expect_close();
}
