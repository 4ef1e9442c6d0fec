//! The audit: one JSON line a refusal.
//!
//! Lines are written by a thread of their own, so a slow disk or a full pipe never holds up a request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::lines::{self, Troubles, Writer};

/// Where refusals are written. When it is dropped, what waits is still written.
#[derive(Debug)]
pub struct Audit(Option<Writer>);

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
    /// `refused`, `would_refuse` (one request), `connection_refused`, `session_closed`, `desync`, `reload`,
    /// `reload_failed`, `acl_changed`. (`audit_dropped` is no event but a line about lines.)
    pub event: &'a str,
    /// What was decided, where it isn't what the event says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The session's number, as HELLO tells it; absent before there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// The listener's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub listener: &'a str,
    /// The user; for a failed AUTH, the user that the client was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The peer's address and port, or `unix`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub peer: &'a str,
    /// The subject of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<&'a str>,
    /// The command as the client named it, with its subcommand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'a str>,
    /// The databases that the client may have been in, of a user that may use some only. Mostly one.
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    pub databases: &'a [u32],
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
    /// The users whose run-time changes a reload has dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// More of the reason, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Denied by the policy, and forwarded for shadow mode.
    WouldDeny,
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
        Self(None)
    }

    /// Whether [`Audit::open`] would work, without making a file.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check(path: Option<&Path>) -> Result<(), AuditError> {
        let Some(path) = path else {
            return Ok(());
        };
        let tried = if path.is_file() {
            OpenOptions::new().append(true).open(path).map(drop)
        } else if path.exists() {
            // A pipe or a device: opening it may wait for its reader.
            Ok(())
        } else {
            match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => {
                    let told = |error: io::Error| {
                        io::Error::new(error.kind(), format!("its folder can't be read: {error}"))
                    };
                    std::fs::read_dir(parent).map(drop).map_err(told)
                }
                _ => Ok(()),
            }
        };
        tried.map_err(|source| AuditError {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes to a file, appending; or to stdout.
    ///
    /// # Errors
    /// The file can't be opened for appending.
    pub fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let failed = |source| AuditError {
            path: path.unwrap_or(Path::new("-")).to_owned(),
            source,
        };
        let sink: Box<dyn Write + Send> = match path {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(open_file(path).map_err(failed)?),
        };
        let troubles = Troubles {
            dropped: |count| format!("{{\"event\":\"audit_dropped\",\"count\":{count}}}\n"),
            failed: |error| tracing::error!(%error, "the audit can't be written; its lines are lost"),
        };
        let writer = lines::start("audit", sink, troubles).map_err(failed)?;
        Ok(Self(Some(writer)))
    }

    /// Writes an event, or counts it as dropped where too much waits. Never waits itself.
    pub fn write(&self, event: &Event<'_>) {
        let Some(writer) = &self.0 else {
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
        writer.lines().put(line);
    }
}

/// Only its owner may read it: keys and names are in it.
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_lines_of_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let audit = Audit::open(Some(&path)).unwrap();
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
        let error = Audit::open(Some(Path::new("/nonexistent/audit.log"))).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("audit.path = \"/nonexistent/audit.log\": ")
        );
    }
}
