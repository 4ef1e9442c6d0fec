//! The audit's file under logrotate, as the documentation has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::sinks::builder;
use crate::support::redis::fetched;
use crate::support::{
    Proxy, RedisServer, Reply, TestClient, Version, eventually, pipeline, under_load,
};

/// How many times it rotates.
const TURNS: usize = 5;

/// What the documentation tells to write into /etc/logrotate.d.
fn snippet() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once("# /etc/logrotate.d/respgate\n").unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// logrotate and what it is told of one file.
struct Logrotate {
    config: PathBuf,
    state: PathBuf,
}

impl Logrotate {
    /// Its files are written beside the log's own folder.
    fn new(folder: &Path, config: &str) -> Self {
        let (path, state) = (folder.join("logrotate.conf"), folder.join("state"));
        fs::write(&path, config).unwrap();
        // It takes none that others may write.
        let mut chmod = Command::new("chmod");
        assert!(chmod.arg("0600").arg(&path).status().unwrap().success());
        Self {
            config: path,
            state,
        }
    }

    #[track_caller]
    fn run(&self) {
        let mut command = Command::new(fetched("logrotate"));
        command.arg("--force").arg("--state").arg(&self.state);
        let done = command.arg(&self.config).output().unwrap();
        assert!(
            done.status.success() && done.stderr.is_empty(),
            "logrotate: {done:?}"
        );
    }
}

/// Sends GETs that are told apart by their keys.
struct Load {
    client: TestClient,
    sent: usize,
}

impl Load {
    fn new(proxy: &Proxy) -> Self {
        Self {
            client: proxy.client("cart"),
            sent: 0,
        }
    }

    #[track_caller]
    fn batch(&mut self) {
        let keys: Vec<String> = (0..100)
            .map(|number| format!("cart:{}", self.sent + number))
            .collect();
        let requests: Vec<[&str; 2]> = keys.iter().map(|key| ["GET", key]).collect();
        let requests: Vec<&[&str]> = requests.iter().map(|request| &request[..]).collect();
        self.client.send(pipeline(&requests));
        for _ in &keys {
            assert_eq!(self.client.read_reply(), Reply::Nil);
        }
        self.sent += keys.len();
    }
}

/// The text of every file of a log, the oldest first.
fn text(log: &Path) -> String {
    let old = (1..=TURNS + 1).rev().map(|age| {
        let plain = PathBuf::from(format!("{}.{age}", log.display()));
        let packed = PathBuf::from(format!("{}.gz", plain.display()));
        assert!(!(plain.exists() && packed.exists()), "{age} is there twice");
        if packed.exists() {
            let mut gzip = Command::new("gzip");
            let done = gzip.arg("-dc").arg(&packed).output().unwrap();
            assert!(done.status.success(), "{done:?}");
            return String::from_utf8(done.stdout).unwrap();
        }
        fs::read_to_string(plain).unwrap_or_default()
    });
    let mut text: String = old.collect();
    text.push_str(&fs::read_to_string(log).unwrap_or_default());
    // The last line may be half written.
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

/// The numbers of the requests that lines tell of.
#[track_caller]
fn told(text: &str) -> Vec<usize> {
    let lines = text.lines().map(|line| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    });
    let of_cart = lines.filter(|line| line["user"] == "cart");
    let number = |line: Value| {
        let key = line["keys"][0].as_str().expect("a key");
        key.strip_prefix("cart:").unwrap().parse().unwrap()
    };
    of_cart.map(number).collect()
}

/// Who we are, since nobody has that user here.
fn user_and_group() -> String {
    let name = |option| {
        let done = Command::new("id").arg(option).output().unwrap();
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    format!("{} {}", name("-un"), name("-gn"))
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

#[test]
fn logrotate_loses_no_line_and_doubles_none_under_load() {
    for create in ["", "create\n", "nocreate\n"] {
        let server = RedisServer::start(Version::V8_2_3, &[]);
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let log = logs.join("audit.log");
        let proxy = builder(&server, &log, "").start();
        let snippet = snippet();
        let config = snippet
            .replace(
                "/var/log/respgate/audit.log {\n",
                &format!("{} {{\n{create}", log.display()),
            )
            .replace(
                "systemctl reload respgate",
                &format!("kill -HUP {}", proxy.pid()),
            )
            .replace("su respgate respgate", &format!("su {}", user_and_group()));
        assert_eq!(config.matches("respgate").count(), 0, "{config}");
        let logrotate = Logrotate::new(folder.path(), &config);
        let mut load = Load::new(&proxy);
        let send = || {
            load.batch();
            // So that a busy machine's writer keeps up: nothing may be dropped here.
            std::thread::sleep(Duration::from_millis(20));
        };
        under_load(send, || {
            for turn in 1..=TURNS {
                eventually("something is written", || size(&log) > 10_000);
                logrotate.run();
                eventually("the audit goes on in a new file", || {
                    let told = "the audit goes on in a new file";
                    proxy.log_text().matches(told).count() == turn
                });
            }
        });
        let sent = load.sent;
        eventually("every request has its line", || {
            text(&log).contains(&format!("\"cart:{}\"", sent - 1))
        });
        assert_eq!(told(&text(&log)), Vec::from_iter(0..sent), "{create:?}");
        let names = fs::read_dir(&logs).unwrap().map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.replacen("audit.log", "", 1)
        });
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        // All of them, and the old ones packed.
        assert_eq!(names, ["", ".1", ".2.gz", ".3.gz", ".4.gz", ".5.gz"]);
    }
}

#[test]
fn a_file_that_logrotate_copies_and_truncates_is_written_on_from_its_beginning() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.log");
    let proxy = builder(&server, &log, "").start();
    let config = format!("{} {{\nrotate 9\ncopytruncate\n}}\n", log.display());
    let logrotate = Logrotate::new(folder.path(), &config);
    let mut load = Load::new(&proxy);
    for _ in 0..TURNS {
        for _ in 0..5 {
            load.batch();
        }
        // What comes between its copy and its cut would be lost.
        eventually("every request has its line", || {
            text(&log).contains(&format!("\"cart:{}\"", load.sent - 1))
        });
        logrotate.run();
        assert_eq!(size(&log), 0);
    }
    load.batch();
    eventually("every request has its line", || {
        text(&log).contains(&format!("\"cart:{}\"", load.sent - 1))
    });
    assert_eq!(told(&text(&log)), Vec::from_iter(0..load.sent));
    assert_eq!(proxy.log_text().matches("audit").count(), 0);
}
