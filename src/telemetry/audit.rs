//! The audit: one JSON line a refusal, and more where more is asked for.
//!
//! Lines are written by a thread of their own, so a slow disk or a full pipe never holds up a request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{Access, access};
use sha2::{Digest, Sha256};

use crate::config::{AuditDecisions, AuditKeys, AuditSettings, AuditSink};

use super::event::Event;
use super::form::Form;
use super::lines::{self, LineCounts, Troubles, Writer};
use super::sink::{Datagrams, Sink, Stream};

/// Where decisions are written. When it is dropped, what waits is still written.
#[derive(Debug)]
pub struct Audit {
    /// `None`: nobody keeps it.
    writer: Option<Writer>,
    form: Form,
    /// [`pack`]ed, so that to look at them costs nothing.
    settings: AtomicU8,
}

/// It can't be written.
#[derive(Debug, thiserror::Error)]
#[error("audit.path = \"{path}\": {source}")]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// The socket of the system's log.
const SYSLOG: &str = "/dev/log";

/// And that of systemd's journal.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The most of one key that is written.
const MAX_KEY: usize = 256;

const ALL: u8 = 1;
const NONE: u8 = 2;
const HASHED: u8 = 4;
const CONNECTIONS: u8 = 8;
const REFUSE: u8 = 16;

fn pack(settings: AuditSettings) -> u8 {
    let decisions = match settings.decisions {
        AuditDecisions::All => ALL,
        AuditDecisions::Deny => 0,
        AuditDecisions::None => NONE,
    };
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    decisions
        | flag(settings.keys == AuditKeys::Sha256, HASHED)
        | flag(settings.connections, CONNECTIONS)
        | flag(settings.refuse, REFUSE)
}

// === impl Audit ===

impl Audit {
    /// An audit that nobody keeps.
    pub fn none() -> Self {
        Self {
            writer: None,
            form: Form::Json,
            settings: AtomicU8::new(NONE),
        }
    }

    /// Whether [`Audit::open`] would work, without making a file.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check(sink: &AuditSink) -> Result<(), AuditError> {
        let tried = match sink {
            AuditSink::Stdout => Ok(()),
            AuditSink::File(path) => check_file(path),
            AuditSink::Syslog | AuditSink::Journal => open_sink(sink).map(drop),
        };
        tried.map_err(|source| failed(sink, source))
    }

    /// Writes to a file, appending; to stdout; or to a log daemon.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(sink: &AuditSink, settings: AuditSettings) -> Result<Self, AuditError> {
        let form = match sink {
            AuditSink::Stdout | AuditSink::File(_) => Form::Json,
            AuditSink::Syslog => Form::Syslog,
            AuditSink::Journal => Form::Journal,
        };
        let opened = open_sink(sink).map_err(|source| failed(sink, source))?;
        Self::start(opened, form, settings).map_err(|source| failed(sink, source))
    }

    fn start(sink: Box<dyn Sink>, form: Form, settings: AuditSettings) -> io::Result<Self> {
        let troubles = Troubles {
            dropped: match form {
                Form::Json => |count| dropped(Form::Json, count),
                Form::Syslog => |count| dropped(Form::Syslog, count),
                Form::Journal => |count| dropped(Form::Journal, count),
            },
            failed: |error| {
                tracing::error!(
                    %error,
                    "the audit can't be written; it is tried again, and as many lines wait as there is \
                     room for"
                );
            },
            recovered: || tracing::info!("the audit is written again"),
            reopened: |done| match done {
                Ok(true) => tracing::info!("the audit goes on in a new file"),
                Ok(false) => {}
                Err(error) => tracing::error!(
                    %error,
                    "the audit's file can't be opened anew; it goes on in the old one"
                ),
            },
        };
        Ok(Self {
            writer: Some(lines::start("audit", sink, troubles)?),
            form,
            settings: AtomicU8::new(pack(settings)),
        })
    }

    /// Says something else from now on. Returns whether it can: one that nobody keeps has nowhere to
    /// write to.
    pub fn set(&self, settings: AuditSettings) -> bool {
        if self.writer.is_none() {
            return settings.decisions == AuditDecisions::None;
        }
        self.settings.store(pack(settings), Ordering::Relaxed);
        true
    }

    /// What it says.
    #[inline]
    pub fn settings(&self) -> AuditSettings {
        let bits = self.settings.load(Ordering::Relaxed);
        AuditSettings {
            decisions: match bits & (ALL | NONE) {
                ALL => AuditDecisions::All,
                0 => AuditDecisions::Deny,
                _ => AuditDecisions::None,
            },
            keys: match bits & HASHED {
                0 => AuditKeys::Plain,
                _ => AuditKeys::Sha256,
            },
            connections: bits & CONNECTIONS != 0,
            refuse: bits & REFUSE != 0,
        }
    }

    /// Whether a line that is put now will be written, as far as one can tell: there is room, and the
    /// last attempt hasn't failed.
    #[inline]
    pub fn has_room(&self) -> bool {
        let lines = self.writer.as_ref().map(Writer::lines);
        lines.is_none_or(lines::Lines::has_room)
    }

    /// Writes an event, or counts it as dropped where too much waits. Never waits itself.
    pub fn write(&self, event: &Event<'_>) {
        if let Some(writer) = self.kept() {
            writer.lines().put(self.form.of(event));
        }
    }

    /// The same for an event that must not be lost because others have told too much: there are few of
    /// those, or somebody has asked [`Audit::has_room`] for each.
    pub fn insist(&self, event: &Event<'_>) {
        if let Some(writer) = self.kept() {
            writer.lines().insist(self.form.of(event));
        }
    }

    /// A key or a channel, as the audit shows it.
    pub fn shown_key(&self, key: &[u8]) -> String {
        match self.settings().keys {
            AuditKeys::Plain => {
                String::from_utf8_lossy(&key[..key.len().min(MAX_KEY)]).into_owned()
            }
            // Of all of it: what is long must still be told apart.
            AuditKeys::Sha256 => format!("sha256:{:x}", Sha256::digest(key)),
        }
    }

    /// A file is opened anew by its name: whoever has renamed it gets a new one.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// What has become of its lines so far.
    pub fn counts(&self) -> LineCounts {
        let writer = self.writer.as_ref();
        writer.map_or_else(LineCounts::default, |writer| writer.lines().counts())
    }

    fn kept(&self) -> Option<&Writer> {
        let writer = self.writer.as_ref();
        writer.filter(|_| self.settings().decisions != AuditDecisions::None)
    }
}

fn dropped(form: Form, count: u64) -> Vec<u8> {
    tracing::warn!(count, "lines of the audit were dropped: too many waited");
    form.of_dropped(count)
}

fn open_sink(sink: &AuditSink) -> io::Result<Box<dyn Sink>> {
    Ok(match sink {
        AuditSink::Stdout => Box::new(Stream::inherited(&io::stdout())?),
        AuditSink::File(path) => Box::new(Stream::open(path)?),
        AuditSink::Syslog => Box::new(Datagrams::connect(Path::new(SYSLOG))?),
        AuditSink::Journal => Box::new(Datagrams::connect(Path::new(JOURNAL))?),
    })
}

fn check_file(path: &Path) -> io::Result<()> {
    if path.is_file() {
        return std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map(drop);
    }
    // A pipe or a device: what opens it may wake its reader.
    if path.exists() {
        return Ok(());
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            let told = |error: rustix::io::Errno| {
                let error = io::Error::from(error);
                let text = format!("no file can be made in its folder: {error}");
                io::Error::new(error.kind(), text)
            };
            let make = Access::WRITE_OK | Access::EXEC_OK;
            access(parent, make).map_err(told)
        }
        _ => Ok(()),
    }
}

fn failed(sink: &AuditSink, source: io::Error) -> AuditError {
    let daemon = |socket: &str, source: io::Error| {
        io::Error::new(source.kind(), format!("{socket}: {source}"))
    };
    let (path, source) = match sink {
        AuditSink::Stdout => ("-".into(), source),
        AuditSink::File(path) => (path.clone(), source),
        AuditSink::Syslog => ("syslog".into(), daemon(SYSLOG, source)),
        AuditSink::Journal => ("journald".into(), daemon(JOURNAL, source)),
    };
    AuditError { path, source }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::event;
    use super::*;

    const SETTINGS: AuditSettings = AuditSettings {
        decisions: AuditDecisions::Deny,
        keys: AuditKeys::Plain,
        connections: false,
        refuse: false,
    };

    fn refusal(user: &str) -> Event<'_> {
        Event {
            user: Some(user),
            ..event()
        }
    }

    #[test]
    fn events_become_lines_of_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let audit = Audit::open(&AuditSink::File(path.clone()), SETTINGS).unwrap();
        for user in ["cart", "ops"] {
            let event = Event {
                keys: vec!["a\"b".to_owned()],
                ..refusal(user)
            };
            audit.write(&event);
        }
        assert!(audit.set(AuditSettings {
            decisions: AuditDecisions::None,
            ..SETTINGS
        }));
        audit.write(&refusal("nobody"));
        assert_eq!(audit.counts().dropped, 0);
        drop(audit);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["user"], "cart");
        assert_eq!(lines[1]["keys"][0], "a\"b");
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert!(lines[0].get("certificate").is_none());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let sink = AuditSink::File("/nonexistent/audit.log".into());
        let error = Audit::open(&sink, SETTINGS).unwrap_err();
        let start = "audit.path = \"/nonexistent/audit.log\": ";
        assert!(error.to_string().starts_with(start));
        assert!(
            Audit::check(&sink)
                .unwrap_err()
                .to_string()
                .starts_with(start)
        );
    }

    #[test]
    fn a_daemon_gets_a_datagram_an_event() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        for (form, begin) in [
            (Form::Syslog, &b"<85>"[..]),
            (Form::Journal, &b"MESSAGE={"[..]),
        ] {
            let sink = Box::new(Datagrams::connect(&path).unwrap());
            let audit = Audit::start(sink, form, SETTINGS).unwrap();
            audit.write(&refusal("cart"));
            drop(audit);
            let mut buffer = [0; 4096];
            let len = daemon.recv(&mut buffer).unwrap();
            assert!(buffer[..len].starts_with(begin));
        }
    }

    #[test]
    fn settings_are_what_they_were_set_to() {
        let sink = Stream::inherited(&io::stdout()).unwrap();
        let audit = Audit::start(Box::new(sink), Form::Json, SETTINGS).unwrap();
        for decisions in [
            AuditDecisions::All,
            AuditDecisions::Deny,
            AuditDecisions::None,
        ] {
            for keys in [AuditKeys::Plain, AuditKeys::Sha256] {
                for bits in 0..4 {
                    let settings = AuditSettings {
                        decisions,
                        keys,
                        connections: bits & 1 != 0,
                        refuse: bits & 2 != 0,
                    };
                    assert!(audit.set(settings));
                    assert_eq!(audit.settings(), settings);
                }
            }
        }
        assert!(!Audit::none().set(SETTINGS));
        assert!(Audit::none().has_room());
    }

    #[test]
    fn keys_are_shown_whole_cut_or_hashed() {
        let audit = Audit::start(
            Box::new(Stream::inherited(&io::stdout()).unwrap()),
            Form::Json,
            SETTINGS,
        )
        .unwrap();
        assert_eq!(audit.shown_key(b"cart:1"), "cart:1");
        assert_eq!(audit.shown_key(&[b'x'; 300]).len(), MAX_KEY);
        audit.set(AuditSettings {
            keys: AuditKeys::Sha256,
            ..SETTINGS
        });
        assert_eq!(
            audit.shown_key(b"abc"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
