//! Addresses in texts: INFO, CLUSTER NODES, what a Sentinel publishes.
//!
//! Each function appends the text with its addresses mapped, and says whether any was.

use std::io::Write;

use super::{Addresses, split_address};

/// `host:port`, with brackets where they are there already.
fn put_address(old: &[u8], (host, port): (&str, u16), out: &mut Vec<u8>) {
    // Writing to a Vec can't fail.
    let _ = match host.contains(':') && old.starts_with(b"[") {
        true => write!(out, "[{host}]:{port}"),
        false => write!(out, "{host}:{port}"),
    };
}

/// One address alone, such as the name that a Sentinel has for a replica. Only here an IPv6 target
/// gets brackets whatever stood there: Sentinel itself writes them.
pub(super) fn address(text: &[u8], map: &Addresses, out: &mut Vec<u8>) -> bool {
    let Some(target) = map.find_address(text) else {
        out.extend_from_slice(text);
        return false;
    };
    put_address(b"[", target, out);
    true
}

/// INFO: who the master is and who the replicas are; of a Sentinel, which masters it watches.
///
/// The lines as Redis 2.8 to 8.2 write them:
/// ```text
/// master_host:10.0.0.5               (master_port follows at once)
/// slave0:ip=10.0.0.6,port=6379,state=online,offset=425,lag=1
/// master0:name=shop,status=ok,address=10.0.0.5:6379,slaves=2,sentinels=3
/// ```
pub(super) fn info(text: &[u8], map: &Addresses, out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    let mut lines = text.split_inclusive(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let (content, end) = split_end(line);
        if let Some(host) = content.strip_prefix(b"master_host:") {
            let next = lines.peek().copied().unwrap_or_default();
            let (port, next_end) = split_end(next);
            let port = port.strip_prefix(b"master_port:");
            let target = port.and_then(super::read_port);
            let target = target.and_then(|port| map.find_bytes(host, port));
            // An empty host would be the upstream's own, and it isn't its own master.
            if let Some((host, port)) = target.filter(|_| !host.is_empty()) {
                let _ = write!(out, "master_host:{host}");
                out.extend_from_slice(end);
                let _ = write!(out, "master_port:{port}");
                out.extend_from_slice(next_end);
                lines.next();
                changed = true;
                continue;
            }
        } else if let Some((key, fields)) = numbered(content, b"slave") {
            if replica(key, fields, map, out) {
                out.extend_from_slice(end);
                changed = true;
                continue;
            }
        } else if let Some((key, fields)) = numbered(content, b"master")
            && watched(key, fields, map, out)
        {
            out.extend_from_slice(end);
            changed = true;
            continue;
        }
        out.extend_from_slice(line);
    }
    changed
}

/// A line's content and what ends it.
fn split_end(line: &[u8]) -> (&[u8], &[u8]) {
    let content = line.strip_suffix(b"\n").unwrap_or(line);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    line.split_at(content.len())
}

/// `slave12:…` as `slave12:` and the rest.
fn numbered<'a>(content: &'a [u8], name: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let rest = content.strip_prefix(name)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0 && rest.get(digits) == Some(&b':'))
        .then(|| content.split_at(name.len() + digits + 1))
}

/// The fields of `slaveN:`. Writes nothing where nothing is mapped.
fn replica(key: &[u8], fields: &[u8], map: &Addresses, out: &mut Vec<u8>) -> bool {
    let all = || fields.split(|&byte| byte == b',');
    let host = all().find_map(|field| field.strip_prefix(b"ip="));
    let port = all().find_map(|field| field.strip_prefix(b"port="));
    let (Some(host), Some(port)) = (host, port.and_then(super::read_port)) else {
        return false;
    };
    let target = map.find_bytes(host, port).filter(|_| !host.is_empty());
    let Some((host, port)) = target else {
        return false;
    };
    out.extend_from_slice(key);
    for (at, field) in all().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let _ = match field {
            _ if field.starts_with(b"ip=") => write!(out, "ip={host}"),
            _ if field.starts_with(b"port=") => write!(out, "port={port}"),
            other => out.write_all(other),
        };
    }
    true
}

/// The fields of a Sentinel's `masterN:`. Writes nothing where nothing is mapped.
fn watched(key: &[u8], fields: &[u8], map: &Addresses, out: &mut Vec<u8>) -> bool {
    const FIELD: &[u8] = b"address=";
    let all = || fields.split(|&byte| byte == b',');
    let old = all().find_map(|field| field.strip_prefix(FIELD));
    let Some((old, target)) = old.and_then(|old| Some((old, map.find_address(old)?))) else {
        return false;
    };
    out.extend_from_slice(key);
    for (at, field) in all().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if field.starts_with(FIELD) {
            out.extend_from_slice(FIELD);
            put_address(old, target, out);
        } else {
            out.extend_from_slice(field);
        }
    }
    true
}

/// Lines of CLUSTER NODES: `<id> 10.0.0.5:6379@16379,host.name myself,master …`. The bus port
/// stays: it is no client's. Up to 3.2 there is none; the name came with 7.0.
pub(super) fn nodes(text: &[u8], map: &Addresses, out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        changed |= node(line, map, out);
    }
    changed
}

fn node(line: &[u8], map: &Addresses, out: &mut Vec<u8>) -> bool {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let parts = (words.next(), words.next(), words.next());
    let (Some(id), Some(place), Some(rest)) = parts else {
        out.extend_from_slice(line);
        return false;
    };
    // The name, and whatever versions to come put behind it.
    let mut named = place.splitn(3, |&byte| byte == b',');
    let place = named.next().unwrap_or_default();
    let (name, more) = (named.next(), named.next());
    let bus = place.iter().position(|&byte| byte == b'@');
    let (address, bus) = place.split_at(bus.unwrap_or(place.len()));

    let name_given = name.filter(|name| !name.is_empty());
    let target = split_address(address).and_then(|(host, port)| {
        // A node that doesn't know its own address yet leaves it out. Its name says more than
        // where the upstream was found, so that comes last.
        let by_name = || map.find_bytes(name_given?, port);
        match host {
            b"" => by_name().or_else(|| map.find_bytes(host, port)),
            host => map.find_bytes(host, port).or_else(by_name),
        }
    });
    let Some(target) = target else {
        out.extend_from_slice(line);
        return false;
    };
    out.extend_from_slice(id);
    out.push(b' ');
    put_address(address, target, out);
    out.extend_from_slice(bus);
    if let Some(name) = name {
        out.push(b',');
        out.extend_from_slice(match name_given {
            Some(_) => target.0.as_bytes(),
            None => name,
        });
    }
    if let Some(more) = more {
        out.push(b',');
        out.extend_from_slice(more);
    }
    out.push(b' ');
    out.extend_from_slice(rest);
    true
}

/// What a Sentinel publishes. Whatever the event, an address stands there as two words, or as one:
/// ```text
/// +switch-master  shop 10.0.0.5 6379 10.0.0.6 6379
/// +sdown          slave 10.0.0.6:6379 10.0.0.6 6379 @ shop 10.0.0.5 6379
/// -dup-sentinel   master shop 10.0.0.5 6379 #duplicate of 10.0.0.7:26379 or <run id>
/// ```
pub(super) fn event(text: &[u8], map: &Addresses, out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    let mut words = text.split(|&byte| byte == b' ').peekable();
    let mut first = true;
    while let Some(word) = words.next() {
        if !first {
            out.push(b' ');
        }
        first = false;
        let port = words.peek().and_then(|next| super::read_port(next));
        let pair = port.filter(|_| !word.is_empty());
        let pair = pair.and_then(|port| map.find_bytes(word, port));
        if let Some((host, port)) = pair {
            let _ = write!(out, "{host} {port}");
            words.next();
            changed = true;
        } else if !word.starts_with(b":") && map.find_address(word).is_some() {
            changed |= address(word, map, out);
        } else {
            out.extend_from_slice(word);
        }
    }
    changed
}
