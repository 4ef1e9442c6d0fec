//! How a line of the audit looks: to a file, to syslog, to the journal.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::event::{Event, Verdict};

/// How lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// JSON, and the end of a line.
    Json,
    /// What syslog(3) sends: JSON behind a head.
    Syslog,
    /// The journal's own protocol: JSON and a few fields to look for.
    Journal,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// "security/authorization messages (private)".
const FACILITY: u8 = 10;

/// Of syslog and of the journal.
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFO: u8 = 6;

// === impl Form ===

impl Form {
    /// One record of it.
    pub(super) fn of(self, event: &Event<'_>) -> Vec<u8> {
        let now = OffsetDateTime::now_utc();
        let line = Line {
            time: rfc3339(now),
            event,
        };
        // Strings and numbers: this serialises.
        let json = serde_json::to_vec(&line).unwrap_or_default();
        let priority = match (event.verdict, event.event) {
            (_, "desync" | "reload_failed" | "audit_dropped") => WARNING,
            (Some(Verdict::Allow), _) => INFO,
            _ => NOTICE,
        };
        self.wrap(json, priority, now, Some(event))
    }

    /// The line about lines.
    pub(super) fn of_dropped(self, count: u64) -> Vec<u8> {
        let now = OffsetDateTime::now_utc();
        let time = rfc3339(now);
        let json = format!(r#"{{"time":"{time}","event":"audit_dropped","count":{count}}}"#);
        self.wrap(json.into_bytes(), WARNING, now, None)
    }

    fn wrap(
        self,
        mut json: Vec<u8>,
        priority: u8,
        now: OffsetDateTime,
        event: Option<&Event<'_>>,
    ) -> Vec<u8> {
        match self {
            Self::Json => {
                json.push(b'\n');
                json
            }
            // Not RFC 5424, which neither journald nor rsyslog (by default) reads on this socket.
            Self::Syslog => {
                let value = FACILITY * 8 + priority;
                let (month, day) = (now.month().to_string(), now.day());
                let (hour, minute, second) = now.to_hms();
                let pid = std::process::id();
                let head = format!(
                    "<{value}>{month:.3} {day:>2} {hour:02}:{minute:02}:{second:02} respgate[{pid}]: "
                );
                [head.as_bytes(), &json].concat()
            }
            Self::Journal => journal(&json, priority, event),
        }
    }
}

fn journal(json: &[u8], priority: u8, event: Option<&Event<'_>>) -> Vec<u8> {
    let mut record = Vec::with_capacity(json.len() + 256);
    let mut field = |name: &str, value: &[u8]| {
        record.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            record.push(b'\n');
            record.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            record.push(b'=');
        }
        record.extend_from_slice(value);
        record.push(b'\n');
    };
    field("MESSAGE", json);
    field("PRIORITY", priority.to_string().as_bytes());
    field("SYSLOG_FACILITY", FACILITY.to_string().as_bytes());
    field("SYSLOG_IDENTIFIER", b"respgate");
    let Some(event) = event else {
        field("RESPGATE_EVENT", b"audit_dropped");
        return record;
    };
    let session = event.session.map(|session| session.to_string());
    let verdict = event.verdict.map(|verdict| match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::WouldDeny => "would_deny",
    });
    let fields = [
        ("RESPGATE_EVENT", Some(event.event)),
        ("RESPGATE_VERDICT", verdict),
        ("RESPGATE_SESSION", session.as_deref()),
        ("RESPGATE_LISTENER", Some(event.listener)),
        ("RESPGATE_PEER", Some(event.peer)),
        ("RESPGATE_USER", event.user),
        ("RESPGATE_COMMAND", event.command),
        ("RESPGATE_REASON", Some(event.reason)),
    ];
    for (name, value) in fields {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            field(name, value.as_bytes());
        }
    }
    record
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::{event, json};
    use super::*;

    #[test]
    fn syslog_takes_what_its_own_call_sends() {
        let record = String::from_utf8(Form::Syslog.of(&event())).unwrap();
        let (head, message) = record.split_once("]: ").unwrap();
        assert_eq!(json(message.as_bytes())["user"], "cart");
        let head = head.strip_prefix("<85>").unwrap();
        let pid = std::process::id().to_string();
        // "Jan  5 10:15:00"
        let (time, name) = head.split_at(15);
        assert_eq!(name, format!(" respgate[{pid}"));
        let bytes = time.as_bytes();
        assert_eq!(
            [bytes[3], bytes[6], bytes[9], bytes[12]],
            *b"  ::",
            "{time}"
        );
        assert!(!message.ends_with('\n'));
        let allowed = Event {
            verdict: Some(Verdict::Allow),
            ..event()
        };
        assert!(Form::Syslog.of(&allowed).starts_with(b"<86>"));
        assert!(Form::Syslog.of_dropped(3).starts_with(b"<84>"));
    }

    #[test]
    fn the_journal_takes_fields() {
        let record = Form::Journal.of(&Event {
            user: Some("two\nlines"),
            ..event()
        });
        let mut rest = &record[..];
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            let line = String::from_utf8(line.to_vec()).unwrap();
            match line.split_once('=') {
                Some((name, value)) => {
                    fields.push((name.to_owned(), value.to_owned()));
                    rest = behind;
                }
                None => {
                    let (len, behind) = behind.split_at(8);
                    let len = u64::from_le_bytes(len.try_into().unwrap()) as usize;
                    let value = String::from_utf8(behind[..len].to_vec()).unwrap();
                    assert_eq!(behind[len], b'\n');
                    fields.push((line, value));
                    rest = &behind[len + 1..];
                }
            }
        }
        let of = |name: &str| {
            let found = fields.iter().find(|(one, _)| one == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(json(of("MESSAGE").unwrap().as_bytes())["session"], 7);
        assert_eq!(of("PRIORITY"), Some("5"));
        assert_eq!(of("SYSLOG_FACILITY"), Some("10"));
        assert_eq!(of("SYSLOG_IDENTIFIER"), Some("respgate"));
        assert_eq!(of("RESPGATE_EVENT"), Some("refused"));
        assert_eq!(of("RESPGATE_VERDICT"), Some("deny"));
        assert_eq!(of("RESPGATE_SESSION"), Some("7"));
        assert_eq!(of("RESPGATE_USER"), Some("two\nlines"));
        assert_eq!(of("RESPGATE_LISTENER"), None);
    }
}
