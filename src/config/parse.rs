//! The spelling of single values: durations, sizes, networks, addresses, names.
//!
//! Pure functions from text to value; an error is the reason, for the operator. Strict throughout:
//! what has two readings is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use super::types::{Address, Bind, UpstreamAddress};

/// No wait in a proxy is meant to be longer, and a deadline of centuries would overflow the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What is said of anything else.
pub(super) const NO_DURATION: &str =
    "must be a duration such as \"200ms\", \"5s\", \"1m\" or \"2h\"";

/// A number and its unit: "200ms", "5s", "1m", "2h".
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_number(text).ok_or(NO_DURATION)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(NO_DURATION.to_owned()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "must be at most \"8760h\", a year".to_owned())
}

/// A number of bytes, bare or in units of powers of 1024: "65536", "64KB", "512MB", "1GB".
pub(super) fn size(text: &str) -> Result<u64, String> {
    const FORM: &str = "must be a size such as \"64KB\", \"512MB\", \"1GB\", or bytes";

    let (number, unit) = split_number(text).ok_or(FORM)?;
    let bytes: u64 = match unit {
        "" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(FORM.to_owned()),
    };
    number.checked_mul(bytes).ok_or_else(|| FORM.to_owned())
}

/// A decimal number, without sign, blanks or leading zeros.
pub(super) fn integer(text: &str) -> Option<u64> {
    match split_number(text)? {
        (number, "") => Some(number),
        _ => None,
    }
}

/// A network, or an address alone. IPv4-mapped IPv6 ones become IPv4, because sources do too.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    const FORM: &str = "must be an address or a network such as \"10.0.0.0/8\" or \"fd00::/8\"";

    // Not ipnet's own parser: it takes 010.0.0.0 for 10.0.0.0, where others read 8.0.0.0.
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| FORM)?;
    let network = match prefix {
        None => IpNet::from(address),
        Some(prefix) => integer(prefix)
            .and_then(|prefix| u8::try_from(prefix).ok())
            .and_then(|prefix| IpNet::new(address, prefix).ok())
            .ok_or(FORM)?,
    };
    // Either the address or the prefix is a slip; guessing could let too many in.
    if network.addr() != network.network() {
        return Err(format!(
            "has host bits beyond its prefix; the network is {:?}",
            network.trunc().to_string()
        ));
    }
    let mapped = match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - 96).ok()),
        _ => None,
    };
    Ok(mapped.map_or(network, IpNet::V4))
}

/// Where to listen: "127.0.0.1:6380", `[::1]:6380` or "unix:/path" (relative to `base`).
pub(super) fn bind(text: &str, base: &Path) -> Result<Bind, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("must have a path after \"unix:\"".to_owned());
        }
        return Ok(Bind::Unix(base.join(path)));
    }
    text.parse::<SocketAddr>().map(Bind::Tcp).map_err(|_| {
        "must be an address and port such as \"127.0.0.1:6380\" or \"[::1]:6380\", or \"unix:/path\""
            .to_owned()
    })
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        bind(text, Path::new(""))
    }
}

/// Where an upstream is: "host:port", `[v6]:port` or "unix:/path" (relative to `base`).
pub(super) fn upstream_address(text: &str, base: &Path) -> Result<UpstreamAddress, String> {
    const FORM: &str =
        "must be \"host:port\", \"[v6 address]:port\" or \"unix:/path\" (no scheme, no user)";

    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("must have a path after \"unix:\"".to_owned());
        }
        return Ok(UpstreamAddress::Unix(base.join(path)));
    }
    let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
    let port = integer(port)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .ok_or("must end in a port from 1 to 65535")?;
    let host = match host.strip_prefix('[') {
        Some(v6) => {
            let v6 = v6.strip_suffix(']').ok_or(FORM)?;
            v6.parse::<Ipv6Addr>().map_err(|_| FORM)?;
            v6
        }
        None => {
            let name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if host.is_empty() || !host.bytes().all(name) {
                return Err(FORM.to_owned());
            }
            host
        }
    };
    Ok(UpstreamAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// A host and a port: "host.name:port", "10.0.0.5:port", `[v6]:port`. IPv4-mapped IPv6 becomes IPv4.
pub(super) fn address(text: &str) -> Result<Address, String> {
    const FORM: &str = "must be \"host:port\" or \"[v6 address]:port\"";

    let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
    let port = integer(port)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .ok_or("must end in a port from 1 to 65535")?;
    let ip = match host.strip_prefix('[') {
        Some(v6) => {
            let v6 = v6.strip_suffix(']').ok_or(FORM)?;
            Some(IpAddr::V6(v6.parse().map_err(|_| FORM)?))
        }
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    let host = match ip {
        Some(ip) => ip.to_canonical().to_string(),
        None if is_host_name(host) => host.to_owned(),
        None => return Err(FORM.to_owned()),
    };
    Ok(Address { host, port })
}

/// Whether it can be a host's name: labels of letters, digits, "-" and "_" (which DNS forbids hosts
/// and people use), 253 bytes at most. One whose last label is a number is a misspelt address.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 253
        && text.split('.').all(is_label)
        && text.rsplit('.').next().is_some_and(|last| !is_number(last))
}

/// Whether what is sent there stays on this host. A name other than localhost may resolve to
/// anything, so it doesn't count.
pub(super) fn is_local(address: &UpstreamAddress) -> bool {
    match address {
        UpstreamAddress::Unix(_) => true,
        UpstreamAddress::Tcp { host, .. } => match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        },
    }
}

/// Whether a table of the file may have this name: they become metric labels and patterns.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Whether it can stand as the name of a command.
pub(super) fn is_command(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The known word that `word` is probably a slip of, if one is close.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is another word.
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many insertions, deletions, replacements and swaps of neighbours lie between.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            row[j + 1] = replaced.min(row[j] + 1).min(above[j + 1] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    // "010" is eight to some.
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().ok()?, unit))
}
