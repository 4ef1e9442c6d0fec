//! What comes unasked: redirections of Cluster nodes, pub/sub messages of Sentinels.

use bytes::BytesMut;

use crate::resp::encode_header;

use super::values::{Body, Value};
use super::{Addresses, lines, split_address};

/// The most slots of a Cluster have five digits.
const MAX_SLOT: usize = 5;

/// Maps the address in `-MOVED 3999 10.0.0.5:6379\r\n` or `-ASK …`.
///
/// True: the new line was appended to `out`. False: nothing was; what came stands as it is, because
/// it is no redirection, or one to where the map doesn't reach.
///
/// Redis 7 and newer leave the host out where `cluster-preferred-endpoint-type` is
/// `unknown-endpoint` (`-MOVED 3999 :6379`), and write `?` where the type is `hostname` and the node
/// has none: that is nowhere, for the map as for clients.
#[must_use]
pub fn rewrite_redirect(line: &[u8], map: &Addresses, out: &mut BytesMut) -> bool {
    let Some((head, address)) = split_redirect(line) else {
        return false;
    };
    let target = split_address(address).and_then(|(host, port)| map.find_bytes(host, port));
    let Some((host, port)) = target else {
        return false;
    };
    out.extend_from_slice(head);
    out.extend_from_slice(host.as_bytes());
    // `:port\r\n` is what an integer looks like.
    encode_header(b':', u64::from(port), out);
    true
}

/// `-MOVED 3999 ` and the address.
fn split_redirect(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let content = line.strip_suffix(b"\r\n")?;
    let rest = content
        .strip_prefix(b"-MOVED ")
        .or_else(|| content.strip_prefix(b"-ASK "))?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let address = rest.get(digits..)?.strip_prefix(b" ")?;
    if !(1..=MAX_SLOT).contains(&digits) || address.contains(&b' ') {
        return None;
    }
    Some((&content[..content.len() - address.len()], address))
}

/// Maps the addresses in one pub/sub message of a Sentinel: `message` and `pmessage`, as an array or
/// as a push.
///
/// True: the new message was appended to `out`. False: nothing was; what came stands as it is.
#[must_use]
pub fn rewrite_message(frame: &[u8], map: &Addresses, out: &mut BytesMut) -> bool {
    if map.is_empty() {
        return false;
    }
    let start = out.len();
    let changed = message(frame, map, out).unwrap_or(false);
    if !changed {
        out.truncate(start);
    }
    changed
}

fn message(frame: &[u8], map: &Addresses, out: &mut BytesMut) -> Option<bool> {
    let Body::Items(header, mut items) = Value::of(frame)?.body else {
        return None;
    };
    out.extend_from_slice(header);
    let kind = items.take()?;
    kind.copy(out);
    let before = match kind.text()? {
        // The channel.
        b"message" => 1,
        // The pattern, then the channel.
        b"pmessage" => 2,
        _ => return None,
    };
    for _ in 0..before {
        items.take()?.copy(out);
    }
    let payload = items.take()?;
    let mut text = Vec::new();
    let changed = lines::event(payload.text()?, map, &mut text);
    payload.put_text(&text, out);
    items.is_empty().then_some(changed)
}
