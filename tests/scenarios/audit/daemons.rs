//! The audit in the hands of the system's log: rsyslogd and systemd-journald themselves.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::sinks::{BATCH, TOLD, batch};
use crate::support::redis::fetched;
use crate::support::{
    Builder, Daemon, Namespace, Proxy, RedisServer, Reply, TestClient, Version, command,
    eventually, under_load,
};

/// What the documentation tells of rsyslog. By default it cuts what is longer than 8 KB.
const LONG: &str = "global(maxMessageSize=\"64k\")";

/// The facilities and severities of syslog, where we need their names.
const AUTHPRIV: &str = "authpriv";
const SEVERITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// Who listens, and the `audit.path` that leads there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Rsyslog,
    /// The journal, by its own protocol.
    Journal,
    /// The journal listens for syslog, too; most systems have nothing else.
    JournalAsSyslog,
}

const WAYS: [Way; 3] = [Way::Rsyslog, Way::Journal, Way::JournalAsSyslog];

/// A log daemon where no other one is.
struct Log {
    way: Way,
    /// Before the namespace: it goes first.
    daemon: Option<Daemon>,
    namespace: Namespace,
    folder: TempDir,
}

/// What it has made of one of our lines.
#[derive(Debug)]
struct Message {
    facility: String,
    severity: String,
    program: String,
    pid: u32,
    event: Value,
    /// All that the journal has of it.
    fields: Value,
}

// === impl Log ===

impl Log {
    #[track_caller]
    fn start(way: Way) -> Option<Self> {
        let mut log = Self {
            way,
            daemon: None,
            namespace: Namespace::new()?,
            folder: tempfile::tempdir().unwrap(),
        };
        match way {
            Way::Rsyslog => {
                let config = format!(
                    "{LONG}\nmodule(load=\"imuxsock\")\n\
                     main_queue(queue.timeoutShutdown=\"20000\")\n\
                     template(name=\"parsed\" type=\"string\" string=\"%syslogfacility-text% \
                     %syslogseverity-text% %programname% %procid%%msg%\\n\")\n\
                     action(type=\"omfile\" template=\"parsed\" file=\"{}\")\n",
                    log.folder.path().join("messages").display()
                );
                fs::write(log.folder.path().join("rsyslog.conf"), config).unwrap();
            }
            // The rate is that of a unit of systemd's, and the tests may run in one. The link is made by
            // systemd, too.
            Way::Journal | Way::JournalAsSyslog => {
                log.namespace.shell(
                    "printf '[Journal]\\nStorage=volatile\\nRateLimitBurst=0\\n' >/etc/systemd/journald.conf && \
                     ln -s /run/systemd/journal/dev-log /dev/log",
                );
            }
        }
        log.start_again();
        Some(log)
    }

    #[track_caller]
    fn start_again(&mut self) {
        let mut command = match self.way {
            Way::Rsyslog => {
                let mut command = self.namespace.command(fetched("rsyslog"));
                let config = self.folder.path().join("rsyslog.conf");
                command.args(["-n", "-i", "NONE", "-f"]).arg(config);
                command
            }
            Way::Journal | Way::JournalAsSyslog => self.namespace.command(fetched("journald")),
        };
        let mut daemon = Daemon::start(&mut command);
        eventually("it listens", || {
            assert!(!daemon.has_ended(), "{:?} has ended", self.way);
            self.namespace.has_datagrams(match self.way {
                Way::Rsyslog => "/dev/log",
                Way::Journal | Way::JournalAsSyslog => "/run/systemd/journal/socket",
            })
        });
        self.daemon = Some(daemon);
    }

    #[track_caller]
    fn stop(&mut self) {
        self.daemon.take().unwrap().terminate();
    }

    /// A proxy that tells it of everything.
    fn builder(&self, server: &RedisServer) -> Builder {
        let path = match self.way {
            Way::Journal => "journald",
            Way::Rsyslog | Way::JournalAsSyslog => "syslog",
        };
        Proxy::builder()
            .upstream(server)
            .within(&self.namespace)
            .section(&format!(
                "[audit]\npath = \"{path}\"\ndecisions = \"all\"\n"
            ))
    }

    /// What journalctl finds by these words.
    #[track_caller]
    fn find(&self, words: &[&str]) -> Vec<Message> {
        let mut command = self.namespace.command(fetched("journalctl"));
        command.args(["--directory", "/run/log/journal", "--output", "json"]);
        // Or else it leaves out what is long.
        command.args(["--all", "--quiet"]).args(words);
        let done = command.output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let lines = text.lines().map(|line| {
            let fields: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| {
                let text = fields[name].as_str();
                text.unwrap_or_else(|| panic!("{name}: {fields:#}"))
                    .to_owned()
            };
            let facility = text("SYSLOG_FACILITY");
            Message {
                facility: if facility == "10" {
                    AUTHPRIV.to_owned()
                } else {
                    facility
                },
                severity: SEVERITIES[text("PRIORITY").parse::<usize>().unwrap()].to_owned(),
                program: text("SYSLOG_IDENTIFIER"),
                pid: text("_PID").parse().unwrap(),
                event: serde_json::from_str(&text("MESSAGE")).unwrap(),
                fields,
            }
        });
        lines.collect()
    }

    /// All that it has of ours, in its order.
    #[track_caller]
    fn messages(&self) -> Vec<Message> {
        if self.way != Way::Rsyslog {
            return self.find(&["SYSLOG_IDENTIFIER=respgate"]);
        }
        let text = fs::read(self.folder.path().join("messages")).unwrap_or_default();
        let mut text = String::from_utf8(text).unwrap();
        // The last line may be half written.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        let lines = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let [facility, severity, program, pid, event] = words[..] else {
                panic!("{line}");
            };
            if program == "rsyslogd" {
                return None;
            }
            let event = serde_json::from_str(event);
            Some(Message {
                facility: facility.to_owned(),
                severity: severity.to_owned(),
                program: program.to_owned(),
                pid: pid.parse().unwrap(),
                event: event.unwrap_or_else(|error| panic!("{error}: {line}")),
                fields: Value::Null,
            })
        });
        lines.collect()
    }
}

/// The numbers of the requests that it was told of, in its order.
#[track_caller]
fn numbers(log: &Log) -> Vec<usize> {
    let messages = log.messages().into_iter();
    let number = |message: Message| {
        let key = message.event["keys"][0].as_str()?;
        Some(key.strip_prefix("cart:")?.parse().unwrap())
    };
    messages.filter_map(number).collect()
}

#[track_caller]
fn ask(client: &mut TestClient, number: usize) {
    let key = format!("cart:{number}");
    assert_eq!(client.call(&["GET", &key]), Reply::Nil);
}

#[test]
fn each_event_is_one_message_of_ours_with_its_severity_and_all_of_its_json() {
    for way in WAYS {
        let server = RedisServer::start(Version::V8_2_3, &[]);
        let Some(log) = Log::start(way) else {
            return;
        };
        let proxy = log.builder(&server).allow_error("reload").start();
        let mut client = proxy.client("cart");
        // As long as an event's keys can be, once escaped; and what means something to a log.
        let long = format!("cart:{}", "\u{1}".repeat(251));
        let odd = "cart:%s %m\n<0>Jan  5 10:15:00 root: \r\0\tä\"\\#012";
        let mut copies = vec!["MGET"];
        copies.resize(17, &long);
        assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
        assert!(client.call(&["FLUSHALL"]).is_error());
        assert_eq!(client.call(&["GET", odd]), Reply::Nil);
        assert_eq!(client.call(&copies).array().len(), 16);
        client.send(command(&["GET", "other"]));
        assert!(client.read_reply().is_error());
        proxy.write_users("user cart on +nonsense\n");
        proxy.reload_until("reload");
        let mut of_cart = Vec::new();
        let mut failed = Vec::new();
        eventually("each is there", || {
            let messages = log.messages().into_iter();
            let requests =
                |event: &Value| event["event"] == "allowed" || event["event"] == "refused";
            let (cart, others): (Vec<_>, Vec<_>) = messages
                .partition(|message| message.event["user"] == "cart" && requests(&message.event));
            of_cart = cart;
            failed = others;
            failed.retain(|message| message.event["event"] == "reload_failed");
            of_cart.len() >= 5 && !failed.is_empty()
        });
        let expected = [
            ("get", "info", vec!["cart:1"]),
            ("flushall", "notice", vec![]),
            ("get", "info", vec![odd]),
            ("mget", "info", copies[1..].to_vec()),
            ("get", "notice", vec!["other"]),
        ];
        assert_eq!(of_cart.len(), expected.len(), "{way:?}: {of_cart:#?}");
        for (message, (name, severity, keys)) in of_cart.iter().zip(expected) {
            assert_eq!(message.severity, severity, "{way:?}: {message:#?}");
            assert_eq!(message.event["command"], name);
            let shown = message.event["keys"].as_array();
            let shown = shown.map_or(&[][..], |keys| &keys[..]);
            assert_eq!(shown, keys, "{way:?}");
        }
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].severity, "warning", "{way:?}");
        for message in of_cart.iter().chain(&failed) {
            assert_eq!(message.facility, AUTHPRIV, "{way:?}");
            assert_eq!(message.program, "respgate");
            assert_eq!(message.pid, proxy.pid());
        }
        if way == Way::Journal {
            for message in of_cart.iter().chain(&failed) {
                has_its_fields(message);
            }
            // As the documentation has it.
            let words = ["SYSLOG_IDENTIFIER=respgate", "RESPGATE_USER=cart"];
            let found = log.find(&words);
            assert!(found.iter().all(|message| message.event["user"] == "cart"));
            assert!(found.len() >= of_cart.len());
            let refused = log.find(&["RESPGATE_USER=cart", "RESPGATE_VERDICT=deny"]);
            assert_eq!(refused.len(), 2, "{refused:#?}");
        }
    }
}

/// What journalctl can look for is what the line says.
#[track_caller]
fn has_its_fields(message: &Message) {
    let (fields, event) = (&message.fields, &message.event);
    assert_eq!(fields["_TRANSPORT"], "journal");
    for name in [
        "event", "verdict", "session", "listener", "peer", "user", "command", "reason",
    ] {
        let field = &fields[format!("RESPGATE_{}", name.to_uppercase())];
        let in_line = match &event[name] {
            Value::Number(number) => Value::String(number.to_string()),
            value => value.clone(),
        };
        assert_eq!(field, &in_line, "{name}: {fields:#}");
    }
    assert!(fields["RESPGATE_EVENT"].is_string());
}

#[test]
fn what_happens_while_the_log_daemon_is_away_is_told_when_it_is_back() {
    for way in WAYS {
        let server = RedisServer::start(Version::V8_2_3, &[]);
        let Some(mut log) = Log::start(way) else {
            return;
        };
        let proxy = log.builder(&server).allow_error(TOLD).start();
        let mut client = proxy.client("cart");
        let mut sent = 0;
        for turn in 1..=2 {
            for _ in 0..20 {
                ask(&mut client, sent);
                sent += 1;
            }
            // What a daemon hasn't read when it ends is nobody's.
            eventually("it has them all", || numbers(&log).len() >= sent);
            log.stop();
            for _ in 0..20 {
                ask(&mut client, sent);
                sent += 1;
            }
            eventually("it is told", || {
                proxy.log_text().matches(TOLD).count() == turn
            });
            log.start_again();
            eventually("it has them all", || numbers(&log).len() >= sent);
            assert_eq!(numbers(&log), Vec::from_iter(0..sent), "{way:?}");
            eventually("that is told", || {
                proxy
                    .log_text()
                    .matches("the audit is written again")
                    .count()
                    == turn
            });
        }
    }
}

#[test]
fn under_load_a_log_daemon_that_restarts_loses_no_more_than_what_it_had_not_read() {
    const TURNS: usize = 3;
    for way in WAYS {
        let server = RedisServer::start(Version::V8_2_3, &[]);
        let Some(mut log) = Log::start(way) else {
            return;
        };
        let proxy = log.builder(&server).allow_error(TOLD).start();
        let sent = AtomicUsize::new(0);
        let mut client = proxy.client("cart");
        let send = || {
            ask(&mut client, sent.load(Ordering::SeqCst));
            sent.fetch_add(1, Ordering::SeqCst);
            // So that not too many wait where the daemon takes its time to come back.
            std::thread::sleep(Duration::from_millis(1));
        };
        let wait_for_more = || {
            let before = sent.load(Ordering::SeqCst);
            eventually("commands go on", || {
                sent.load(Ordering::SeqCst) > before + 200
            });
        };
        // The kernel keeps so many for each socket, and one more.
        let queue = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
        let queue: usize = queue.trim().parse().unwrap();
        let mut unread = Vec::new();
        under_load(send, || {
            for _ in 0..TURNS {
                wait_for_more();
                // What it has written down isn't lost; the audit may be far behind the clients.
                let known = numbers(&log).last().copied().unwrap_or(0);
                log.stop();
                unread.push(known..=sent.load(Ordering::SeqCst));
                wait_for_more();
                log.start_again();
            }
        });
        let sent = sent.load(Ordering::SeqCst);
        eventually("the last one is there", || {
            numbers(&log).last() == Some(&(sent - 1))
        });
        let told = numbers(&log);
        assert!(told.is_sorted(), "{way:?}: out of order");
        let known: BTreeSet<usize> = told.iter().copied().collect();
        assert_eq!(known.len(), told.len(), "{way:?}: one is there twice");
        let lost: Vec<usize> = (0..sent).filter(|one| !known.contains(one)).collect();
        let is_late = |one: &&usize| !unread.iter().any(|range| range.contains(one));
        let late: Vec<&usize> = lost.iter().filter(is_late).collect();
        assert!(late.is_empty(), "{way:?}: {late:?}, not of {unread:?}");
        assert!(lost.len() <= TURNS * (queue + 1), "{way:?}: {}", lost.len());
        let counts = log.messages();
        let is_count = |message: &Message| message.event["event"] == "audit_dropped";
        assert!(!counts.iter().any(is_count), "too many waited");
    }
}

#[test]
fn what_a_log_daemon_that_hangs_has_no_room_for_is_counted_in_what_it_gets() {
    for way in WAYS {
        let server = RedisServer::start(Version::V8_2_3, &[]);
        let Some(log) = Log::start(way) else {
            return;
        };
        let proxy = log.builder(&server).start();
        let mut client = proxy.client("cart");
        let daemon = log.daemon.as_ref().unwrap();
        daemon.signal(Signal::STOP);
        // More than may wait.
        let sent = 20_000;
        for _ in 0..sent / BATCH {
            assert_eq!(batch(&mut client), BATCH);
        }
        daemon.signal(Signal::CONT);
        let (mut told, mut counted) = (0, 0);
        eventually("each has its line, or is counted", || {
            let messages = log.messages();
            let is_told = |message: &&Message| {
                message.event["user"] == "cart" && message.event["verdict"] == "allow"
            };
            told = messages.iter().filter(is_told).count();
            let counts = messages.iter().filter_map(|it| it.event["count"].as_u64());
            counted = counts.sum::<u64>() as usize;
            told + counted >= sent
        });
        assert_eq!(told + counted, sent, "{way:?}: {told} and {counted}");
        assert!(told > 1_000 && counted > 0, "{way:?}: {told} and {counted}");
    }
}

#[test]
fn the_documentation_says_how_rsyslog_takes_what_is_long() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    assert!(page.contains(LONG));
}
