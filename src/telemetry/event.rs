//! One line of the audit, and its forms.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One line of the audit. The README has the schema.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Event<'a> {
    /// `refused`, `allowed` (one request), `connection_refused`, `connection_opened`,
    /// `connection_closed`, `session_closed`, `desync`, `reload`, `reload_failed`, `acl_changed`.
    /// (`audit_dropped` is no event but a line about lines.)
    pub event: &'a str,
    /// What was decided, where something was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The generation of the policy that was in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The session's number, as HELLO tells it; absent before there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// The listener's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub listener: &'a str,
    /// The user; for a failed AUTH, the user that the client was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The user that a failed AUTH named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<&'a str>,
    /// The peer's address and port, or `unix`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub peer: &'a str,
    /// The socket's own peer, where a PROXY header named another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<&'a str>,
    /// The version of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'a str>,
    /// The client's certificate.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFields<'a>>,
    /// The command as the client named it, with its subcommand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'a str>,
    /// The database that the client was in, where there is no doubt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<u32>,
    /// The databases that the client may have been in, of a user that may use some only. Mostly one.
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    pub databases: &'a [u32],
    /// The keys and channels that the request names, at most 16, each cut to 256 bytes or hashed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The one of them that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The rule that decided, as it stands in the ACL file or the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'a str,
    /// What a session has come to, at its end.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// Who did it: `SIGHUP`, `file`, `admin`, or the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'a str>,
    /// The users whose run-time changes a reload has dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// More of the reason, in words.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_detail")]
    pub detail: Option<String>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It doesn't.
    Deny,
}

/// What the audit says of a certificate.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CertificateFields<'a> {
    /// The whole subject.
    #[serde(rename = "certificate", serialize_with = "cut_name")]
    pub subject: &'a str,
    /// The serial number, lower-case hex.
    #[serde(rename = "certificate_serial")]
    pub serial: &'a str,
    /// The issuer's whole name.
    #[serde(rename = "certificate_issuer", serialize_with = "cut_name")]
    pub issuer: &'a str,
    /// The alternative names.
    #[serde(
        rename = "certificate_san",
        skip_serializing_if = "AlternativeNames::is_empty"
    )]
    pub san: AlternativeNames<'a>,
}

/// Alternative names, by their kind. Written as one list, each with its kind before it; the first
/// few.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlternativeNames<'a> {
    /// DNS names.
    pub dns: &'a [String],
    /// URIs.
    pub uri: &'a [String],
    /// Mail addresses.
    pub email: &'a [String],
}

/// What a session has come to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Tally {
    /// From its first request on, or its readiness for one.
    pub duration_ms: u64,
    /// Bytes of the client, inside TLS.
    pub bytes_in: u64,
    /// Bytes to it.
    pub bytes_out: u64,
    /// Requests that were taken.
    pub requests: u64,
    /// Those of them that were refused.
    pub requests_refused: u64,
}

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

/// The most of a certificate's alternative names that are written: a client's mostly has one.
const MAX_NAMES: usize = 8;

/// The most of one name of a certificate, its subject included. A certificate may be 64 KB of them.
const MAX_NAME: usize = 512;

/// The most of a detail that is written: a reload of a large file may have thousands of problems, and
/// a datagram has an end. (The log has each of them.)
const MAX_DETAIL: usize = 8 * 1024;

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

/// At most so many bytes of a text, and whole letters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

// === serde ===

fn cut_name<S: Serializer>(name: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cut(name, MAX_NAME))
}

fn cut_detail<S: Serializer>(detail: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let detail = detail.as_deref().unwrap_or_default();
    match cut(detail, MAX_DETAIL) {
        whole if whole.len() == detail.len() => serializer.serialize_str(whole),
        beginning => serializer.collect_str(&format_args!("{beginning} (cut)")),
    }
}

// === impl AlternativeNames ===

impl AlternativeNames<'_> {
    fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.uri.is_empty() && self.email.is_empty()
    }
}

impl Serialize for AlternativeNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = |kind: &'static str, names: &'_ [String]| {
            let names = names.iter().take(MAX_NAMES);
            let names = names.map(|name| format!("{kind}:{}", cut(name, MAX_NAME)));
            names.collect::<Vec<_>>()
        };
        let names = [
            of("dns", self.dns),
            of("uri", self.uri),
            of("email", self.email),
        ];
        serializer.collect_seq(names.iter().flatten().take(MAX_NAMES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event<'static> {
        Event {
            event: "refused",
            verdict: Some(Verdict::Deny),
            session: Some(7),
            user: Some("cart"),
            reason: "key",
            ..Event::default()
        }
    }

    fn json(text: &[u8]) -> serde_json::Value {
        serde_json::from_slice(text).unwrap()
    }

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

    #[test]
    fn what_is_put_together_stands_flat() {
        let long = format!("CN={}", "ö".repeat(MAX_NAME));
        let names = vec!["cart.local".to_owned(); 20];
        let certificate = CertificateFields {
            subject: "CN=cart",
            serial: "0a",
            issuer: &long,
            san: AlternativeNames {
                uri: &["spiffe://shop/cart".to_owned()],
                dns: &names[..2],
                email: &names,
            },
        };
        let tally = Tally {
            requests: 3,
            ..Tally::default()
        };
        let line = json(&Form::Json.of(&Event {
            certificate: Some(certificate),
            tally: Some(tally),
            ..event()
        }));
        assert_eq!(line["certificate"], "CN=cart");
        assert_eq!(line["certificate_serial"], "0a");
        let issuer = line["certificate_issuer"].as_str().unwrap();
        assert!(issuer.starts_with("CN=ö") && issuer.len() <= MAX_NAME);
        let san = line["certificate_san"].as_array().unwrap();
        assert_eq!(san[0], "dns:cart.local");
        assert_eq!(san[2], "uri:spiffe://shop/cart");
        assert_eq!(san[3], "email:cart.local");
        assert_eq!(san.len(), MAX_NAMES);
        assert_eq!(line["requests"], 3);
        assert_eq!(line["verdict"], "deny");
        let bare = json(&Form::Json.of(&Event::default()));
        assert_eq!(bare.as_object().unwrap().len(), 2, "{bare}");
    }

    #[test]
    fn a_long_detail_is_cut() {
        let long = Event {
            detail: Some("ö".repeat(MAX_DETAIL)),
            ..event()
        };
        let line = json(&Form::Json.of(&long));
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.len() <= MAX_DETAIL + 6 && detail.ends_with("ö (cut)"));
    }
}
