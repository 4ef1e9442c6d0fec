//! `[upstream.NAME]`: where the Redis is, and with which credential it is spoken to.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::parse;
use super::section::{Entry, Section};
use super::types::{Connections, Secret, Upstream, UpstreamAddress, UpstreamTls};

/// Addresses of one upstream: a master and its replicas. Each is asked for its role whenever the master
/// is looked for, so a list of a hundred is a slip.
const MOST_ADDRESSES: usize = 16;

/// Reads all upstreams, sorted by name. The names come for themselves, of broken ones too: what
/// refers to one is not wrong because of that.
pub(super) fn read(root: &mut Section<'_>) -> (Vec<Upstream>, Vec<String>) {
    let mut all = root.table("upstream");
    let names = all.names();
    if names.is_empty() {
        all.report
            .problem("upstream", "at least one [upstream.NAME] is required");
    }
    let mut upstreams = Vec::new();
    for (entry, name) in all.take_rest().into_iter().zip(&names) {
        if !parse::is_name(name) {
            entry.problem("the name of an upstream has only letters, digits, \"_\" and \"-\"");
        }
        if let Some(section) = entry.into_table() {
            upstreams.extend(read_one(name, section));
        }
    }
    (upstreams, names)
}

fn read_one(name: &str, mut section: Section<'_>) -> Option<Upstream> {
    let addresses = read_addresses(&mut section);
    // Even an empty table says that this upstream speaks TLS.
    let tls_entry = section.take("tls");
    let plaintext = tls_entry.is_none();
    let insecure = section.boolean("insecure_plaintext").unwrap_or(false);
    for (entry, address) in &addresses {
        if plaintext && !insecure && !parse::is_local(address) {
            entry.problem(
                "a remote upstream without TLS carries everything in the clear; \
                 say insecure_plaintext = true if that network is safe",
            );
        }
    }
    let addresses: Vec<_> = addresses.into_iter().map(|(_, address)| address).collect();
    if insecure && !plaintext {
        let key = section.key("insecure_plaintext");
        let reason = "is not used: this upstream is spoken to over TLS";
        section.report.warning(&key, "true", reason);
    }

    let username = section.text("username").filter(|name| !name.raw.is_empty());
    let password_file = section
        .text("password_file")
        .filter(|file| !file.raw.is_empty());
    if let Some(username) = &username
        && password_file.is_none()
    {
        username.problem("needs a password_file");
    }
    let password_path = password_file
        .as_ref()
        .and_then(|entry| Some(section.report.base().join(entry.text()?)));
    let password = password_file.zip(password_path.clone());
    let password = password.and_then(|(entry, path)| {
        if is_world_readable(&path) {
            let place = path.display().to_string();
            let reason = "every user of this host can read the password; chmod o-r it";
            section.report.warning(&entry.key, &place, reason);
        }
        entry.parsed(|_| Secret::read(&path))
    });

    let choices = [
        ("shared", Connections::Shared),
        ("dedicated", Connections::Dedicated),
    ];
    let connections = section.choice("connections", &choices);
    let connections = connections.map_or_else(Default::default, |(_, chosen)| chosen);
    // Redis' own `maxclients` is 10,000 unless somebody changed it: what is over it Redis would turn
    // away itself, whoever's client it is.
    let max_connections = section.integer("max_connections", 1..=10_000_000, 10_000);
    let tls = tls_entry
        .and_then(Entry::into_table)
        .and_then(|section| read_tls(section, &addresses));
    let connect_timeout = section.duration("connect_timeout", Duration::from_secs(2));
    section.finish();
    if addresses.is_empty() {
        return None;
    }
    Some(Upstream {
        name: name.to_owned(),
        addresses,
        username: username.and_then(|entry| entry.text().map(str::to_owned)),
        password,
        password_file: password_path,
        tls,
        connections,
        max_connections: max_connections as usize,
        connect_timeout,
    })
}

/// The addresses that are in order, each with its place in the file: a text, or a list of them. A
/// variable of the environment holds a list between commas.
fn read_addresses<'a>(section: &mut Section<'a>) -> Vec<(Entry<'a>, UpstreamAddress)> {
    let entries = match section.take("address") {
        None => {
            section.missing("address", "is required");
            return Vec::new();
        }
        Some(entry) if entry.raw.is_empty() => {
            entry.problem("must not be empty");
            return Vec::new();
        }
        Some(entry) => entry.into_listed(),
    };
    if let Some(one_too_many) = entries.get(MOST_ADDRESSES) {
        one_too_many.problem(format!(
            "is one too many: an upstream has at most {MOST_ADDRESSES} addresses"
        ));
    }
    let mut addresses: Vec<(Entry<'a>, UpstreamAddress)> = Vec::new();
    for entry in entries {
        let Some(text) = entry.text() else {
            continue;
        };
        match parse::upstream_address(text, section.report.base()) {
            Ok(address) if addresses.iter().any(|(_, known)| *known == address) => {
                entry.problem("stands there twice");
            }
            Ok(address) => addresses.push((entry, address)),
            // redis://user:password@host is what people have at hand.
            Err(reason) if text.contains('@') => entry.secret_problem(reason),
            Err(reason) => entry.problem(reason),
        }
    }
    addresses
}

/// What a table says of TLS. A table that is there asks for it, an empty one too.
fn read_tls(mut section: Section<'_>, addresses: &[UpstreamAddress]) -> Option<UpstreamTls> {
    let base = section.report.base();
    let ca = section.path("ca");
    let mut file = |key| section.text(key).filter(|entry| !entry.raw.is_empty());
    let identity = match (file("cert"), file("key")) {
        (Some(cert), Some(key)) => Some((base.join(cert.text()?), base.join(key.text()?))),
        (Some(cert), None) => {
            cert.problem("needs its key");
            None
        }
        (None, Some(key)) => {
            key.problem("needs its cert");
            None
        }
        (None, None) => None,
    };
    let spelled_out = section
        .text("server_name")
        .filter(|name| !name.raw.is_empty());
    let spelled_out = spelled_out.and_then(|entry| entry.text().map(str::to_owned));
    let name_of = |address: &UpstreamAddress| match (&spelled_out, address) {
        (Some(name), _) => Some(name.clone()),
        (None, UpstreamAddress::Tcp { host, .. }) => Some(host.clone()),
        (None, UpstreamAddress::Unix(_)) => None,
    };
    let server_names: Option<Vec<String>> = addresses.iter().map(name_of).collect();
    if server_names.is_none() {
        section.missing(
            "server_name",
            "is required: a unix socket has no name that the certificate could hold",
        );
    }
    section.finish();
    Some(UpstreamTls {
        ca,
        identity,
        server_names: server_names?,
    })
}

#[cfg(unix)]
fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_world_readable(_: &Path) -> bool {
    false
}
