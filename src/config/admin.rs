//! `[admin]`: where the operator's own tools ask, over HTTP, and with which proof.

use std::net::SocketAddr;

use super::parse;
use super::section::{Entry, Section};
use super::types::{Admin, Bind, Listener, Secret};

/// Reads the table. `listeners`: whose addresses are taken.
pub(super) fn read(root: &mut Section<'_>, listeners: &[Listener]) -> Admin {
    let mut section = root.table("admin");
    let base = section.report.base();
    let taken: Vec<&Bind> = listeners.iter().flat_map(|it| &it.bind).collect();
    let bind = read_bind(&mut section, "bind");
    let probe = read_bind(&mut section, "probe");
    for (entry, address) in [&bind, &probe].into_iter().flatten() {
        if taken.contains(&address) {
            entry.problem("is bound twice: a listener has it");
        }
    }
    if let (Some((_, one)), Some((entry, other))) = (&bind, &probe)
        && one == other
    {
        entry.problem("is bound twice: admin.bind has it, and serves the same paths");
    }
    let token_file = section.text("token_file").and_then(|entry| {
        let path = base.join(entry.text().filter(|text| !text.is_empty())?);
        // It is read again at each use; this is so that a slip shows now.
        if let Err(reason) = Secret::read_token(&path) {
            entry.problem(reason);
        }
        Some(path)
    });
    if let Some((entry, Bind::Tcp(address))) = &bind
        && !is_loopback(address)
        && token_file.is_none()
    {
        entry.problem(
            "is not a loopback address: set admin.token_file, without which anybody could read what \
             users there are (admin.probe serves the health paths alone, and needs none)",
        );
    }
    section.finish();
    Admin {
        bind: bind.map(|(_, bind)| bind),
        probe: probe.map(|(_, bind)| bind),
        token_file,
    }
}

fn read_bind<'a>(section: &mut Section<'a>, key: &'static str) -> Option<(Entry<'a>, Bind)> {
    let base = section.report.base();
    let entry = section.text(key)?;
    if entry.text()?.is_empty() {
        return None;
    }
    let bind = entry.parsed(|text| match parse::bind(text, base)? {
        // Nobody could be told which one it has become.
        Bind::Tcp(address) if address.port() == 0 => Err("must have a port".to_owned()),
        bind => Ok(bind),
    })?;
    Some((entry, bind))
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
