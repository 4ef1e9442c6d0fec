//! `[[listener]]`: where clients come in, from where, and with which proof.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::parse;
use super::section::{Entry, Section};
use super::types::{
    Bind, ClientAuth, DEFAULT_MAX_CONNECTIONS, Listener, ListenerKind, ListenerTls, TlsVersion,
};

/// What identity rules must know of a listener, and can where it has problems elsewhere.
pub(super) struct Seen {
    pub(super) name: String,
    /// Whether a client can show a certificate.
    pub(super) certificates: bool,
    /// Whether a client can have a source address.
    pub(super) sources: bool,
}

/// Reads all listeners, in the file's order.
pub(super) fn read(
    root: &mut Section<'_>,
    upstream_names: &[String],
) -> (Vec<Listener>, Vec<Seen>) {
    let sections = root.required_tables("listener", "at least one [[listener]] is required");
    let mut listeners = Vec::new();
    let mut seen: Vec<Seen> = Vec::new();
    let mut bound = HashSet::new();
    let mut kinds = HashMap::new();
    for mut section in sections {
        let name = read_name(&mut section, &seen);
        if let Some(name) = &name {
            section.rename(format!("listener.{name}"));
        }
        let upstream = read_upstream(&mut section, upstream_names);
        let kind = read_kind(&mut section, upstream, &mut kinds);
        let binds = read_binds(&mut section, &mut bound);
        let tls_entry = section.take("tls");
        let plaintext = tls_entry.is_none();
        let tls = tls_entry.and_then(Entry::into_table).and_then(read_tls);
        if plaintext {
            refuse_remote_plaintext(&binds);
        }
        if let Some(name) = &name {
            seen.push(Seen {
                name: name.clone(),
                // A TLS table with problems might have asked for them.
                certificates: !plaintext
                    && tls
                        .as_ref()
                        .is_none_or(|tls| tls.client_auth != ClientAuth::None),
                sources: binds.iter().any(|(_, bind)| matches!(bind, Bind::Tcp(_))),
            });
        }

        let allow = networks(&mut section, "allow");
        let says_allow = allow.is_some();
        let allow = allow.unwrap_or_else(loopback);
        let deny = networks(&mut section, "deny").unwrap_or_default();
        let proxy_protocol_from = read_proxies(&mut section, &binds, says_allow);
        // The bounds leave room for what a process may open; RLIMIT_NOFILE is checked at start.
        let spelled_out = section.names().iter().any(|key| key == "max_connections");
        let default = DEFAULT_MAX_CONNECTIONS as u32;
        let max_connections = section.integer("max_connections", 1..=10_000_000, default);
        let max_connections_per_ip =
            section.integer("max_connections_per_ip", 1..=10_000_000, 1_000);
        // A core finishes some 2,000 handshakes a second (0.5 ms each): a thousand are half a second's
        // work, so who is let in is done long before handshake_timeout.
        let max_handshakes = section.integer("max_handshakes", 1..=10_000_000, 1_000);
        // A tenth of it: it takes ten addresses to keep others out, and a service that opens all of its
        // pool at once seldom has more on their way.
        let max_handshakes_per_ip = section.integer("max_handshakes_per_ip", 1..=10_000_000, 100);
        let handshake_timeout = section.duration("handshake_timeout", Duration::from_secs(5));
        let auth_timeout = section.duration("auth_timeout", Duration::from_secs(10));
        let idle_timeout = section.duration_or_never("idle_timeout", None);
        let max_lifetime = section.duration_or_never("max_lifetime", None);
        section.finish();
        if let (Some(name), Some(upstream)) = (name, upstream) {
            listeners.push(Listener {
                name,
                upstream,
                kind,
                bind: binds.into_iter().map(|(_, bind)| bind).collect(),
                allow,
                deny,
                proxy_protocol_from,
                max_connections: spelled_out.then_some(max_connections as usize),
                max_connections_per_ip: max_connections_per_ip as usize,
                max_handshakes: max_handshakes as usize,
                max_handshakes_per_ip: max_handshakes_per_ip as usize,
                handshake_timeout,
                auth_timeout,
                idle_timeout,
                max_lifetime,
                tls,
            });
        }
    }
    (listeners, seen)
}

fn read_name(section: &mut Section<'_>, seen: &[Seen]) -> Option<String> {
    let entry = section.required_text("name")?;
    let name = entry.text()?;
    if !parse::is_name(name) {
        entry.problem("the name of a listener has only letters, digits, \"_\" and \"-\"");
        return None;
    }
    if seen.iter().any(|other| other.name == name) {
        entry.problem("another listener has this name");
    }
    Some(name.to_owned())
}

fn read_upstream(section: &mut Section<'_>, names: &[String]) -> Option<usize> {
    let Some(entry) = section.take("upstream") else {
        match names {
            // That there is none is one problem, and it is noted.
            [] => {}
            [_] => return Some(0),
            _ => section.missing(
                "upstream",
                &format!("is required: there are {}", names.join(", ")),
            ),
        }
        return None;
    };
    let text = entry.text()?;
    let index = names.iter().position(|name| name == text);
    if index.is_none() {
        entry.problem(
            match parse::nearest(text, names.iter().map(String::as_str)) {
                Some(near) => format!("there is no such upstream; did you mean {near:?}?"),
                None => "there is no such upstream".to_owned(),
            },
        );
    }
    index
}

/// What the listener stands before. `kinds` has what others say of each upstream: it is one thing.
fn read_kind(
    section: &mut Section<'_>,
    upstream: Option<usize>,
    kinds: &mut HashMap<usize, ListenerKind>,
) -> ListenerKind {
    let choices = [ListenerKind::Redis, ListenerKind::Sentinel].map(|kind| (kind.as_str(), kind));
    let kind = section.choice("kind", &choices);
    let kind = kind.map_or(ListenerKind::default(), |(_, kind)| kind);
    if let Some(upstream) = upstream {
        let first = *kinds.entry(upstream).or_insert(kind);
        if first != kind {
            let reason = format!(
                "another listener of the same upstream says {:?}",
                first.as_str()
            );
            let key = section.key("kind");
            section.report.add(key, kind.as_str().to_owned(), reason);
        }
    }
    kind
}

fn read_binds<'a>(section: &mut Section<'a>, bound: &mut HashSet<Bind>) -> Vec<(Entry<'a>, Bind)> {
    let base = section.report.base();
    let entries = section.required_list("bind", "is required: at least one address");
    let mut binds = Vec::new();
    for entry in entries {
        let Some(bind) = entry.parsed(|text| parse::bind(text, base)) else {
            continue;
        };
        // Port 0 is a port of the system's choice, each time another.
        let any_port = matches!(bind, Bind::Tcp(address) if address.port() == 0);
        if !any_port && !bound.insert(bind.clone()) {
            entry.problem("is bound twice");
        }
        binds.push((entry, bind));
    }
    binds
}

fn refuse_remote_plaintext(binds: &[(Entry<'_>, Bind)]) {
    for (entry, bind) in binds {
        if let Bind::Tcp(address) = bind
            && !address.ip().to_canonical().is_loopback()
        {
            entry.problem(
                "plaintext, without [listener.tls], binds only loopback addresses and unix sockets",
            );
        }
    }
}

fn read_tls(mut section: Section<'_>) -> Option<ListenerTls> {
    let base = section.report.base();
    let mut file = |key| Some(base.join(section.required_text(key)?.text()?));
    let (cert, key) = (file("cert"), file("key"));

    let choices = [
        ("required", ClientAuth::Required),
        ("optional", ClientAuth::Optional),
        ("none", ClientAuth::None),
    ];
    let insecure = section.boolean("insecure_no_client_auth").unwrap_or(false);
    let client_auth = match section.choice("client_auth", &choices) {
        Some((entry, client_auth)) => {
            if client_auth != ClientAuth::Required && !insecure {
                entry.problem(
                    "lets clients in without a certificate; \
                     say insecure_no_client_auth = true if that is meant",
                );
            }
            client_auth
        }
        None => ClientAuth::Required,
    };
    let client_ca = if client_auth == ClientAuth::None {
        let unused = section.path("client_ca");
        if let Some(path) = &unused {
            let reason = "is not used: client_auth = \"none\" asks for no certificate";
            let value = path.display().to_string();
            section
                .report
                .warning(&section.key("client_ca"), &value, reason);
        }
        None
    } else {
        let entry = section.required_text("client_ca");
        entry.and_then(|entry| Some(base.join(entry.text()?)))
    };
    let crl = read_crl(&mut section, client_auth);
    let choices = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let min_version = section.choice("min_version", &choices);
    section.finish();
    Some(ListenerTls {
        cert: cert?,
        key: key?,
        client_ca,
        client_auth,
        crl,
        min_version: min_version.map_or(TlsVersion::V1_2, |(_, version)| version),
    })
}

/// The files of revocation lists.
fn read_crl(section: &mut Section<'_>, client_auth: ClientAuth) -> Vec<PathBuf> {
    let base = section.report.base();
    let entries = section.list("crl").unwrap_or_default();
    let files = entries.iter().filter_map(|entry| {
        if client_auth == ClientAuth::None {
            entry.problem("is not used: client_auth = \"none\" asks for no certificate");
        }
        entry.parsed(|text| match text {
            "" => Err("must not be empty".to_owned()),
            _ => Ok(base.join(text)),
        })
    });
    files.collect()
}

/// The peers that must send a PROXY header.
fn read_proxies(
    section: &mut Section<'_>,
    binds: &[(Entry<'_>, Bind)],
    says_allow: bool,
) -> Vec<IpNet> {
    let proxies = networks(section, "proxy_protocol_from").unwrap_or_default();
    let only_unix = binds.iter().all(|(_, bind)| matches!(bind, Bind::Unix(_)));
    if !proxies.is_empty() && !binds.is_empty() && only_unix {
        let reason = "is not for unix sockets, and this listener has nothing else";
        section
            .report
            .problem(section.key("proxy_protocol_from"), reason);
    }
    let key = section.key("proxy_protocol_from");
    if let Some(all) = proxies.iter().find(|net| net.prefix_len() == 0) {
        let reason = "whoever can connect may name any source";
        section.report.warning(&key, &all.to_string(), reason);
    }
    if !proxies.is_empty() && !says_allow {
        let reason =
            "is not given: of the sources that PROXY headers name, only loopback ones are let in";
        section.report.warning(&section.key("allow"), "", reason);
    }
    proxies
}

/// The networks of a list; `None` where there is no such key.
fn networks(section: &mut Section<'_>, key: &'static str) -> Option<Vec<IpNet>> {
    let entries = section.list(key)?;
    let networks = entries
        .iter()
        .filter_map(|entry| entry.parsed(parse::network));
    Some(networks.collect())
}

/// 127.0.0.0/8 and ::1/128.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert([127, 0, 0, 0].into(), 8);
    let v6 = Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);
    vec![v4.into(), v6.into()]
}
