//! The tour, step by step. Every outcome is checked: what is shown is what happened.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::resp::Reply;

use super::actor::{Actor, Expected, broken, broken_text, stdout};
use super::client::Client;
use super::listening::listening;
use super::scene::{CONFIG_NAME, Scene};
use super::stage::Stage;
use super::{DemoError, failed};

/// The audit is written by a thread of its own, a moment later.
const AUDIT_WITHIN: Duration = Duration::from_secs(5);

/// An address that the listener doesn't let in. Linux has all of 127.0.0.0/8.
const WRONG_ADDRESS: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2)),
    0,
);

/// Shows the tour.
pub(super) async fn run(stage: &mut Stage, scene: &Scene) -> Result<(), DemoError> {
    prologue(stage, scene).map_err(stdout)?;
    the_redis_itself(stage, scene).await?;
    without_certificate(stage, scene).await?;
    let strangers = wrong_address(stage, scene).await?;
    let mut cart = Actor::enter("cart", scene).await?;
    let mut ops = Actor::enter("ops", scene).await?;
    allowed(stage, &mut cart).await?;
    foreign_key(stage, &mut cart).await?;
    flushall(stage, &mut cart, &mut ops).await?;
    config(stage, &mut cart, &mut ops).await?;
    rights(stage, &mut cart, &mut ops).await?;
    listening(stage, scene, &mut ops).await?;
    if scene.has_unlink() {
        unlink(stage, &mut cart, &mut ops).await?;
    }
    audit(stage, scene, strangers).await?;
    stage.applause().map_err(stdout)
}

fn prologue(stage: &mut Stage, scene: &Scene) -> io::Result<()> {
    stage.line(&format!(
        "A Redis {} on a unix socket, and in front of it respgate on {}.",
        scene.version(),
        scene.address()
    ))?;
    stage.line(&format!(
        "Everything is in {}, and goes away at the end.",
        scene.folder().display()
    ))
}

async fn the_redis_itself(stage: &mut Stage, scene: &Scene) -> Result<(), DemoError> {
    stage.step("The Redis by itself").map_err(stdout)?;
    let mut redis = Actor::new("redis", Client::unix(&scene.socket()).await)?;
    redis
        .play(stage, &["PING"], Expected::Error("NOAUTH"))
        .await?;
    stage
        .why("Nobody gets around the proxy: no port, and a password that only the proxy knows.")
        .map_err(stdout)?;
    // Not shown: it is the password.
    redis.ask(&["AUTH", scene.password()]).await?;
    let info = redis.ask(&["INFO", "server"]).await?;
    stage.sent("redis", &["INFO", "server"]).map_err(stdout)?;
    for line in selected(&info, |line| line.starts_with("redis_version:")) {
        stage.line(&format!("   {line}")).map_err(stdout)?;
    }
    if scene.has_users() {
        return stage
            .why("This one has users and perhaps TLS of its own. The tour uses neither.")
            .map_err(stdout);
    }
    redis
        .play(
            stage,
            &["ACL", "WHOAMI"],
            Expected::Error("ERR unknown command"),
        )
        .await?;
    let ports = redis.ask(&["CONFIG", "GET", "tls-port"]).await?;
    stage
        .sent("redis", &["CONFIG", "GET", "tls-port"])
        .map_err(stdout)?;
    stage.reply(&ports).map_err(stdout)?;
    if ports != Reply::Array(Vec::new()) {
        return Err(broken("CONFIG GET tls-port", "(empty array)", &ports));
    }
    stage
        .why("It knows neither users nor TLS. All that follows, respgate gives it.")
        .map_err(stdout)
}

async fn without_certificate(stage: &mut Stage, scene: &Scene) -> Result<(), DemoError> {
    stage
        .step("A client without a certificate")
        .map_err(stdout)?;
    stage
        .act("somebody: TLS handshake, no certificate")
        .map_err(stdout)?;
    let answer = async {
        let mut client = Client::tls(&scene.tls(None)?, scene.address(), None)
            .await
            .map_err(|error| failed("connect", error))?;
        client.listen().await.map_err(|error| failed("TLS", error))
    };
    match answer.await {
        // rustls' words for the alert 116 (RFC 8446).
        Err(DemoError::Io { source, .. }) if source.to_string().contains("CertificateRequired") => {
            stage.refused(&source.to_string()).map_err(stdout)?;
        }
        Err(error) => {
            return Err(broken_text(
                "no certificate",
                "the alert",
                error.to_string(),
            ));
        }
        Ok(reply) => return Err(broken("no certificate", "the alert", &reply)),
    }
    stage
        .why("The handshake fails: not one byte of Redis was spoken.")
        .map_err(stdout)
}

/// Returns whether such a client could be tried.
async fn wrong_address(stage: &mut Stage, scene: &Scene) -> Result<bool, DemoError> {
    stage
        .step("A good certificate from a wrong address")
        .map_err(stdout)?;
    stage
        .act("cart, from 127.0.0.2: TLS handshake")
        .map_err(stdout)?;
    let tls = scene.tls(Some("cart"))?;
    match Client::tls(&tls, scene.address(), Some(WRONG_ADDRESS)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            stage
                .why("This machine has no 127.0.0.2 to come from: left out.")
                .map_err(stdout)?;
            return Ok(false);
        }
        // Closed by us at once: EOF or a reset, whichever comes first.
        Err(error) if is_closed(&error) => stage.refused(&error.to_string()).map_err(stdout)?,
        Err(error) => {
            return Err(broken_text(
                "127.0.0.2",
                "a closed connection",
                error.to_string(),
            ));
        }
        Ok(_) => {
            return Err(broken_text(
                "127.0.0.2",
                "a closed connection",
                "a handshake".to_owned(),
            ));
        }
    }
    stage
        .why("allow = [\"127.0.0.1/32\"] is judged before the handshake: no TLS is spent on it.")
        .map_err(stdout)?;
    Ok(true)
}

async fn allowed(stage: &mut Stage, cart: &mut Actor<'_>) -> Result<(), DemoError> {
    stage
        .step("What the certificate's user may do")
        .map_err(stdout)?;
    let set = ["SET", "cart:1", "two apples"];
    cart.play(stage, &set, Expected::Ok).await?;
    cart.play(stage, &["GET", "cart:1"], Expected::Bulk("two apples"))
        .await?;
    stage
        .why("CN=cart is the user cart: ~cart:* +@read +@write. No AUTH was needed.")
        .map_err(stdout)
}

async fn foreign_key(stage: &mut Stage, cart: &mut Actor<'_>) -> Result<(), DemoError> {
    stage.step("A key outside its pattern").map_err(stdout)?;
    let no = Expected::Error("NOPERM No permissions to access a key");
    cart.play(stage, &["GET", "stock:1"], no).await?;
    let no = Expected::Error("NOPERM No permissions to access a key");
    let mset = ["MSET", "cart:2", "a pear", "stock:1", "none"];
    cart.play(stage, &mset, no).await?;
    cart.play(stage, &["EXISTS", "cart:2"], Expected::Integer(0))
        .await?;
    stage
        .why("One foreign key is enough: the whole command is refused, and nothing of it runs.")
        .map_err(stdout)
}

async fn flushall(
    stage: &mut Stage,
    cart: &mut Actor<'_>,
    ops: &mut Actor<'_>,
) -> Result<(), DemoError> {
    stage.step("FLUSHALL").map_err(stdout)?;
    cart.play(
        stage,
        &["FLUSHALL"],
        Expected::Error("NOPERM User cart has no permissions to run the 'flushall' command"),
    )
    .await?;
    ops.play(
        stage,
        &["FLUSHALL"],
        Expected::Error("NOPERM User ops has no permissions to run the 'flushall' command"),
    )
    .await?;
    stage
        .why("Redis' own error text: client libraries know it. The connection lives on.")
        .map_err(stdout)?;
    cart.play(stage, &["MULTI"], Expected::Ok).await?;
    cart.play(stage, &["SET", "cart:1", "nothing"], Expected::Queued)
        .await?;
    cart.play(stage, &["FLUSHALL"], Expected::Error("NOPERM User cart"))
        .await?;
    cart.play(stage, &["EXEC"], Expected::Error("EXECABORT"))
        .await?;
    cart.play(stage, &["GET", "cart:1"], Expected::Bulk("two apples"))
        .await?;
    stage
        .why("Inside MULTI a refusal aborts the transaction, exactly as Redis does it.")
        .map_err(stdout)
}

async fn config(
    stage: &mut Stage,
    cart: &mut Actor<'_>,
    ops: &mut Actor<'_>,
) -> Result<(), DemoError> {
    stage
        .step("CONFIG is hidden, and renamed")
        .map_err(stdout)?;
    let old = ["CONFIG", "GET", "maxmemory"];
    let new = [CONFIG_NAME, "GET", "maxmemory"];
    let unknown = || Expected::Error("ERR unknown command");
    cart.play(stage, &old, unknown()).await?;
    ops.play(stage, &old, unknown()).await?;
    ops.play(stage, &new, Expected::Pair("maxmemory", "0"))
        .await?;
    cart.play(stage, &new, Expected::Error("NOPERM User cart"))
        .await?;
    stage
        .why("The old name is nobody's command any more. The new one is still a matter of rights.")
        .map_err(stdout)
}

async fn rights(
    stage: &mut Stage,
    cart: &mut Actor<'_>,
    ops: &mut Actor<'_>,
) -> Result<(), DemoError> {
    stage
        .step("Rights change while connections live")
        .map_err(stdout)?;
    let set = ["SET", "cart:1", "three apples"];
    ops.play(stage, &["ACL", "SETUSER", "cart", "-set"], Expected::Ok)
        .await?;
    cart.play(
        stage,
        &set,
        Expected::Error("NOPERM User cart has no permissions to run the 'set' command"),
    )
    .await?;
    ops.play(stage, &["ACL", "LOAD"], Expected::Ok).await?;
    cart.play(stage, &set, Expected::Ok).await?;
    stage
        .why("respgate answers ACL itself, in front of any Redis. LOAD brought back what the file says.")
        .map_err(stdout)?;
    ops.play(
        stage,
        &["CONFIG_b840fc02", "SET", "dir", "/tmp"],
        Expected::Error("NOPERM User ops has no permissions to run the 'config_b840fc02|set'"),
    )
    .await?;
    stage
        .why("What leads from Redis to the machine is not in +@all: that takes a lethal= rule.")
        .map_err(stdout)
}

async fn unlink(
    stage: &mut Stage,
    cart: &mut Actor<'_>,
    ops: &mut Actor<'_>,
) -> Result<(), DemoError> {
    stage.step("DEL goes on as UNLINK").map_err(stdout)?;
    cart.play(stage, &["DEL", "cart:1"], Expected::Integer(1))
        .await?;
    cart.play(stage, &["GET", "cart:1"], Expected::Nil).await?;
    let request = ["INFO", "commandstats"];
    let info = ops.ask(&request).await?;
    stage.sent("ops", &request).map_err(stdout)?;
    let lines = selected(&info, |line| {
        line.starts_with("cmdstat_del:") || line.starts_with("cmdstat_unlink:")
    });
    for line in &lines {
        stage.line(&format!("   {line}")).map_err(stdout)?;
    }
    if lines.len() != 1 || !lines[0].starts_with("cmdstat_unlink:calls=1,") {
        return Err(broken_text(
            "INFO commandstats",
            "one UNLINK and no DEL",
            lines.join(", "),
        ));
    }
    stage
        .why("cart said DEL; of DEL and UNLINK, the Redis has counted one UNLINK and no DEL.")
        .map_err(stdout)
}

async fn audit(stage: &mut Stage, scene: &Scene, strangers: bool) -> Result<(), DemoError> {
    stage
        .step("What the audit says of all that")
        .map_err(stdout)?;
    let mut expected = vec![("no_client_certificate", "")];
    if strangers {
        expected.push(("source", ""));
    }
    expected.extend([
        ("key", "get"),
        ("key", "mset"),
        ("command", "flushall"),
        ("command", "flushall"),
        ("command", "flushall"),
        ("hidden_command", "config"),
        ("hidden_command", "config"),
        ("command", "config_b840fc02|get"),
        ("changed", ""),
        ("command", "set"),
        ("reloaded", ""),
        ("loaded", ""),
        ("lethal", "config_b840fc02|set"),
        ("channel", "subscribe"),
        ("changed", ""),
        ("channel_lost", ""),
        ("reloaded", ""),
        ("loaded", ""),
    ]);
    let path = scene.audit();
    let deadline = Instant::now() + AUDIT_WITHIN;
    let text = loop {
        let text =
            fs::read_to_string(&path).map_err(|error| failed(path.display().to_string(), error))?;
        if text.lines().count() >= expected.len() || Instant::now() > deadline {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let lines: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(|error| broken_text("the audit", "lines of JSON", error.to_string()))?;
    stage
        .act(&format!("cat {}", path.display()))
        .map_err(stdout)?;
    for line in text.lines() {
        stage.line(&format!("   {line}")).map_err(stdout)?;
    }
    let field = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let got: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                field(line, "reason"),
                field(line, "command").to_ascii_lowercase(),
            )
        })
        .collect();
    // Sorted: connections are refused by several threads, and a line may overtake another.
    let sorted = |mut all: Vec<(String, String)>| {
        all.sort();
        all
    };
    let expected = sorted(
        expected
            .into_iter()
            .map(|(reason, command)| (reason.to_owned(), command.to_owned()))
            .collect(),
    );
    let got = sorted(got);
    if got != expected {
        return Err(broken_text(
            "the audit",
            &format!("{expected:?}"),
            format!("{got:?}"),
        ));
    }
    stage
        .why("Each refusal and each change once: who, from where, what, which rule. Never a value, never a password.")
        .map_err(stdout)
}

/// The lines of an INFO that are meant.
fn selected(info: &Reply, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let Reply::Bulk(info) = info else {
        return Vec::new();
    };
    let info = String::from_utf8_lossy(info);
    let lines = info.lines().filter(|line| wanted(line));
    lines.map(str::to_owned).collect()
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
