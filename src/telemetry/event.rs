//! What one line of the audit says.

use serde::{Serialize, Serializer};

/// One line of the audit. docs/operations.md has the schema.
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
    pub tally: Option<Totals>,
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
    /// The policy says that it doesn't, and shadow mode lets it.
    WouldDeny,
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
pub struct Totals {
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

/// The most of a certificate's alternative names that are written: a client's mostly has one.
const MAX_NAMES: usize = 8;

/// The most of one name of a certificate, its subject included. A certificate may be 64 KB of them.
const MAX_NAME: usize = 512;

/// The most of a detail that is written: a reload of a large file may have thousands of problems, and
/// a datagram has an end. (The log has each of them.)
const MAX_DETAIL: usize = 8 * 1024;

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
pub(super) mod tests {
    use super::super::form::Form;
    use super::*;

    pub(in crate::telemetry) fn event() -> Event<'static> {
        Event {
            event: "refused",
            verdict: Some(Verdict::Deny),
            session: Some(7),
            user: Some("cart"),
            reason: "key",
            ..Event::default()
        }
    }

    pub(in crate::telemetry) fn json(text: &[u8]) -> serde_json::Value {
        serde_json::from_slice(text).unwrap()
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
        let tally = Totals {
            requests: 3,
            ..Totals::default()
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
