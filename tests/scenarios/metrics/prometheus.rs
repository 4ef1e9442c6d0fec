//! A real Prometheus scrapes, and is asked what the dashboard asks.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::with_metrics;
use crate::support::http::{Labels, Scrape, exchange, get};
use crate::support::redis::fetched;
use crate::support::{Daemon, Proxy, RedisServer, Version, eventually, free_port, under_load};

/// Four scrapes, as Grafana has it where nobody looks from afar.
const RATE_INTERVAL: &str = "4s";

/// A server that scrapes one address, every second.
struct Prometheus {
    _daemon: Daemon,
    _folder: TempDir,
    at: SocketAddr,
}

impl Prometheus {
    #[track_caller]
    fn start(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n\
             - job_name: respgate\n  static_configs:\n  - targets: [\"{target}\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut daemon = Daemon::start(
            Command::new(fetched("prometheus"))
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().display()))
                .arg(format!("--web.listen-address={at}")),
        );
        eventually("Prometheus serves", || {
            assert!(!daemon.has_ended(), "Prometheus has ended");
            std::net::TcpStream::connect(at).is_ok() && ask(at, "/-/ready").0 == 200
        });
        Self {
            _daemon: daemon,
            _folder: folder,
            at,
        }
    }

    /// What its API answers.
    #[track_caller]
    fn api(&self, path: &str, key: &str, expression: &str) -> Value {
        let encoded: String = expression.bytes().map(|it| format!("%{it:02X}")).collect();
        let (_, body) = ask(self.at, &format!("/api/v1/{path}?{key}={encoded}"));
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer:#}");
        answer["data"].clone()
    }

    /// The labels and the value of each series.
    #[track_caller]
    fn query(&self, expression: &str) -> Vec<(Labels, f64)> {
        let data = self.api("query", "query", expression);
        assert_eq!(data["resultType"], "vector", "{expression}");
        let series = data["result"].as_array().unwrap().iter().map(|one| {
            let labels = serde_json::from_value(one["metric"].clone()).unwrap();
            let value = one["value"][1].as_str().unwrap();
            (labels, value.parse().unwrap())
        });
        series.collect()
    }
}

/// In a version of HTTP that has no chunks.
fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = exchange(
        address,
        &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
    );
    (answer.status, answer.body)
}

/// A question of the dashboard, and what its answers are called.
struct Panel {
    title: String,
    expression: String,
    legend: String,
}

fn dashboard() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("config/deploy/grafana-dashboard.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> Vec<Panel> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.filter(|panel| panel["type"] != "row");
    let targets = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            Panel {
                title: text(&panel["title"]),
                expression: text(&target["expr"]),
                legend: text(&target["legendFormat"]),
            }
        })
    });
    targets.collect()
}

/// As Grafana does it.
#[track_caller]
fn with_variables(expression: &str, job: &str, instance: &str) -> String {
    let text = expression
        .replace("$__rate_interval", RATE_INTERVAL)
        .replace("$job", job)
        .replace("$instance", instance);
    assert!(!text.contains('$'), "{text}");
    text
}

/// What a series is called in a panel. A label that it doesn't have is left out.
fn called(legend: &str, labels: &Labels) -> String {
    let mut parts = legend.split("{{");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (label, rest) = part.split_once("}}").unwrap();
        text.push_str(labels.get(label).map_or("", String::as_str));
        text.push_str(rest);
    }
    text.trim().to_owned()
}

/// One round of what a day brings: sessions of each kind that begin and end.
fn one_round(proxy: &Proxy) {
    let mut client = proxy.client("cart");
    client.call(&["SET", "cart:1", "value"]);
    client.call(&["GET", "cart:1"]);
    client.call(&["BLPOP", "cart:list", "0.01"]);
    assert!(client.call(&["FLUSHALL"]).is_error());
    drop(client);
    let mut plain = std::net::TcpStream::connect(proxy.address()).unwrap();
    let _ = plain.write_all(b"*1\r\n$4\r\nPING\r\n");
    std::thread::sleep(std::time::Duration::from_millis(20));
}

#[test]
fn prometheus_has_each_sample_that_is_served() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let proxy = builder.start();
    let prometheus = Prometheus::start(at);
    one_round(&proxy);
    let mut served = BTreeSet::new();
    let mut known = BTreeSet::new();
    // What is served may grow between two looks.
    eventually("it has what is served", || {
        let scrape = Scrape::of(at);
        served = scrape.samples.into_keys().collect();
        let ours = "{job=\"respgate\",__name__=~\"(respgate|process)_.*\"}";
        let series = prometheus.query(ours).into_iter().map(|(mut labels, _)| {
            labels.retain(|name, _| name != "job" && name != "instance");
            (labels.remove("__name__").unwrap(), labels)
        });
        known = series.collect();
        known == served
    });
    assert!(known.len() > 50, "{}", known.len());
    // It is told behind the samples.
    eventually("the target is up", || {
        let data = prometheus.api("targets", "state", "active");
        let target = &data["activeTargets"][0];
        target["health"] == "up" && target["lastError"] == ""
    });
    // What kind each is, it was told, too.
    let kinds = prometheus.api("metadata", "metric", "respgate_upstream_latency_seconds");
    let kind = &kinds["respgate_upstream_latency_seconds"][0];
    assert_eq!(kind["type"], "histogram", "{kinds:#}");
    assert!(kind["help"].as_str().unwrap().ends_with('.'));
}

#[test]
fn each_question_of_the_dashboard_has_an_answer_under_load() {
    let mut server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let proxy = builder.start();
    proxy.reload_until("nothing has changed");
    server.kill();
    eventually("it is missed", || {
        Scrape::of(at).count("respgate_upstream_failures_total", &[]) > 0
    });
    server.restart();
    eventually("it is back", || {
        let client = proxy.try_client(Some("cart"));
        client.is_ok_and(|mut client| {
            client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok() && client.try_read_reply().is_ok()
        })
    });
    let prometheus = Prometheus::start(at);
    let dashboard = dashboard();
    let panels = panels(&dashboard);
    assert!(panels.len() > 40, "{}", panels.len());
    // Everything, and one of them.
    let one = at.to_string().replace('.', "\\\\.");
    for (job, instance) in [(".*", ".*"), ("(respgate|other)", &one)] {
        under_load(
            || one_round(&proxy),
            || {
                for panel in &panels {
                    let expression = with_variables(&panel.expression, job, instance);
                    let mut series = Vec::new();
                    eventually(&format!("{}: {expression}", panel.title), || {
                        series = prometheus.query(&expression);
                        !series.is_empty() && series.iter().all(|(_, value)| value.is_finite())
                    });
                    if !panel.legend.is_empty() {
                        let names = series
                            .iter()
                            .map(|(labels, _)| called(&panel.legend, labels));
                        let names: BTreeSet<String> = names.collect();
                        let are_told_apart = names.len() == series.len() && !names.contains("");
                        assert!(are_told_apart, "{names:?}: {series:?}");
                    }
                }
            },
        );
    }
    // And what its variables offer.
    let mut asked = Vec::new();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue;
        };
        let inner = query.strip_prefix("label_values(").unwrap();
        let (selector, label) = inner.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let path = format!("label/{label}/values");
        let selector = with_variables(selector, ".*", ".*");
        asked.push((label, prometheus.api(&path, "match[]", &selector)));
    }
    let expected = [("job", "respgate"), ("instance", &at.to_string())];
    assert_eq!(
        asked,
        expected.map(|(label, value)| (label, [value].into()))
    );
}

/// It knows the older form alone, in which a counter's name has its suffix wherever it stands.
#[test]
fn promtool_has_nothing_to_say_against_the_metrics() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let proxy = builder.start();
    one_round(&proxy);
    let body = get(at, "/metrics").body;
    let counters = Scrape::parse(&body).types;
    let lines = body.lines().map(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", word, name, rest] if counters.get(name).is_some_and(|kind| kind == "counter") => {
                format!("# {word} {name}_total {rest}\n")
            }
            _ => format!("{line}\n"),
        }
    });
    let text: String = lines.collect();
    let mut promtool = Command::new(fetched("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let done = promtool.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(done.status.success() && said.is_empty(), "{said}");
}
