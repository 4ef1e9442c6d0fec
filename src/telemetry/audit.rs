//! The audit: one JSON line a refusal.
//!
//! Lines go through a bounded queue to a thread of their own, so a slow disk or a full pipe never
//! holds up a request. What doesn't fit is counted, and the count is written when there is room.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Lines that may wait for the writer: about 4 MB, and some seconds of a pipe that nobody reads.
const QUEUE: usize = 8192;

/// Where refusals are written.
#[derive(Debug)]
pub struct Audit {
    sender: Option<SyncSender<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

/// The file can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("audit.path = \"{path}\": {source}")]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// One line of the audit. The README has the schema.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Event<'a> {
    /// `refused` (one request), `connection_refused`, `desync`.
    pub event: &'a str,
    /// The session's number, as HELLO tells it; absent before there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// The listener's name.
    pub listener: &'a str,
    /// The user; for a failed AUTH, the user that the client was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The peer's address and port, or `unix`.
    pub peer: &'a str,
    /// The subject of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<&'a str>,
    /// The command as the client named it, with its subcommand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'a str>,
    /// The keys and channels that the request names, at most 16, each cut to 256 bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The one of them that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The rule that decided, as it stands in the ACL file or the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why.
    pub reason: &'a str,
    /// More of the reason, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

// === impl Audit ===

impl Audit {
    /// An audit that nobody keeps.
    pub fn none() -> Self {
        Self {
            sender: None,
            dropped: Arc::default(),
            writer: None,
        }
    }

    /// Writes to a file, appending; or to stdout.
    ///
    /// # Errors
    /// The file can't be opened for appending.
    pub fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let sink: Box<dyn Write + Send> = match path {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(open_file(path).map_err(|source| AuditError {
                path: path.to_owned(),
                source,
            })?),
        };
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        let writer = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_lines(&receiver, sink, &counted))
            .map_err(|source| AuditError {
                path: PathBuf::from("-"),
                source,
            })?;
        Ok(Self {
            sender: Some(sender),
            dropped,
            writer: Some(writer),
        })
    }

    /// Writes an event, or counts it as dropped if the queue is full. Never waits.
    pub fn write(&self, event: &Event<'_>) {
        let Some(sender) = &self.sender else {
            return;
        };
        let time = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        // Strings and numbers: this serialises.
        let Ok(mut line) = serde_json::to_vec(&Line { time, event }) else {
            return;
        };
        line.push(b'\n');
        if sender.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is queued, and ends.
    pub fn close(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            // It ends when the queue is empty; a panic in it was reported by its thread.
            let _ = writer.join();
        }
    }
}

/// Only its owner may read it: keys and names are in it.
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

fn write_lines(receiver: &Receiver<Vec<u8>>, mut sink: Box<dyn Write + Send>, dropped: &AtomicU64) {
    let mut failing = false;
    while let Ok(line) = receiver.recv() {
        let mut batch = line;
        while batch.len() < 64 * 1024 {
            match receiver.try_recv() {
                Ok(line) => batch.extend_from_slice(&line),
                Err(_) => break,
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let line = format!("{{\"event\":\"audit_dropped\",\"count\":{lost}}}\n");
            batch.extend_from_slice(line.as_bytes());
        }
        match sink.write_all(&batch).and_then(|()| sink.flush()) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "the audit can't be written; its lines are lost");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_lines_of_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut audit = Audit::open(Some(&path)).unwrap();
        for user in ["cart", "ops"] {
            let event = Event {
                event: "refused",
                user: Some(user),
                keys: vec!["a\"b".to_owned()],
                reason: "key",
                ..Event::default()
            };
            audit.write(&event);
        }
        audit.close();
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
        let error = Audit::open(Some(Path::new("/nonexistent/audit.log"))).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("audit.path = \"/nonexistent/audit.log\": ")
        );
    }
}
