//! Which of an upstream's addresses is used: the one that says it is the master.
//!
//! One address is used whatever its role: who names a replica alone wants that replica. Of several it is
//! the one in use if it still is a master, else the first of the file that is. That isn't a guess about
//! who should be: respgate elects nobody, it follows. Where two say master (a partition, or a failover
//! that hasn't reached the old one yet) the one in use stays, and the log says so.
//!
//! Sentinels are all alike: of several, any that answers is used.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use crate::config::ListenerKind;
use crate::proxy::upstream::{Connector, Dialogue, Nobody, UpstreamError, is_excuse, within};
use crate::resp::Reply;

use super::ANSWER_WITHIN;

/// An address that answered.
struct Probed {
    dialogue: Dialogue,
    /// `None`: it can't say just now, or not to us.
    role: Option<String>,
}

/// What a survey has come to.
#[derive(Debug, Eq, PartialEq)]
enum Choice {
    /// Somebody's answer may still change it.
    Open,
    Take(usize),
    Nobody,
}

/// A master is taken though one that would be preferred hasn't answered: that one is likely dead, and
/// `connect_timeout` may be long. A living one answers in a fraction of this from the other side of the
/// world.
const SETTLE: Duration = Duration::from_secs(1);

/// Finds the address to use, and opens a control connection to it.
///
/// # Errors
/// Why there is none; of several addresses all reasons.
pub(super) async fn find(
    connector: &Connector,
    in_use: Option<usize>,
    kind: ListenerKind,
) -> Result<(usize, Dialogue), UpstreamError> {
    let count = connector.settings().addresses.len();
    if count == 1 {
        return Ok((0, connector.open(0).await?));
    }
    let order: Vec<usize> = in_use
        .into_iter()
        .chain((0..count).filter(|index| Some(*index) != in_use))
        .collect();
    let mut probes: Vec<_> = (0..count)
        .map(|index| Some(Box::pin(probe(connector, index))))
        .collect();
    let mut found: Vec<Option<Result<Probed, UpstreamError>>> = Vec::new();
    found.resize_with(count, || None);
    let mut settle = pin!(sleep(SETTLE));
    let taken = poll_fn(|cx| {
        for (place, probe) in found.iter_mut().zip(&mut probes) {
            if let Some(running) = probe
                && let Poll::Ready(result) = Pin::new(running).poll(cx)
            {
                *probe = None;
                *place = Some(result);
            }
        }
        let fits = |found: &Option<Result<Probed, UpstreamError>>| {
            let probed = found.as_ref()?.as_ref();
            Some(probed.is_ok_and(|probed| fits(probed.role.as_deref(), kind)))
        };
        let answers: Vec<Option<bool>> = found.iter().map(fits).collect();
        let late = settle.as_mut().poll(cx).is_ready();
        match choose(&order, &answers, late) {
            Choice::Open => Poll::Pending,
            Choice::Take(index) => Poll::Ready(Some(index)),
            Choice::Nobody => Poll::Ready(None),
        }
    })
    .await;
    if let Some(index) = taken
        && let Some(Ok(probed)) = found[index].take()
    {
        return Ok((index, probed.dialogue));
    }
    Err(nobody(connector, in_use, kind, found))
}

/// Which of the addresses is used, by whether each is what is wanted; `None`: it hasn't answered yet.
/// `late`: it isn't waited for any more.
fn choose(order: &[usize], answers: &[Option<bool>], late: bool) -> Choice {
    for &index in order {
        match answers[index] {
            Some(true) => return Choice::Take(index),
            None if !late => return Choice::Open,
            _ => {}
        }
    }
    if answers.contains(&None) {
        Choice::Open
    } else {
        Choice::Nobody
    }
}

/// Whether who says this of itself may be used.
pub(super) fn fits(role: Option<&str>, kind: ListenerKind) -> bool {
    match kind {
        ListenerKind::Redis => role == Some("master"),
        // Before 2.8.12 a Sentinel tells no role; what it is its INFO will show.
        ListenerKind::Sentinel => role.is_none_or(|role| role == "sentinel"),
    }
}

/// Why none is used.
fn nobody(
    connector: &Connector,
    in_use: Option<usize>,
    kind: ListenerKind,
    found: Vec<Option<Result<Probed, UpstreamError>>>,
) -> UpstreamError {
    let mut silent = false;
    let (mut excused, mut demoted) = (false, false);
    let mut reasons = Vec::new();
    for (index, (found, address)) in found
        .into_iter()
        .zip(&connector.settings().addresses)
        .enumerate()
    {
        let reason = match found {
            Some(Ok(Probed {
                role: Some(role), ..
            })) => {
                demoted |= in_use == Some(index);
                role
            }
            Some(Ok(Probed { role: None, .. })) => {
                // The one in use is busy, or was told not to tell us: it was the master a moment ago.
                excused |= in_use == Some(index);
                "it doesn't tell its role".to_owned()
            }
            Some(Err(error)) => {
                silent |= error.is_silence();
                excused |= in_use == Some(index) && error.is_excuse();
                error.to_string()
            }
            None => "not asked".to_owned(),
        };
        reasons.push(format!("{address} ({reason})"));
    }
    let wanted = match kind {
        ListenerKind::Redis => "master",
        ListenerKind::Sentinel => "Sentinel",
    };
    UpstreamError::Nobody(Nobody {
        wanted,
        among: reasons.join(", "),
        silent,
        excused,
        demoted,
    })
}

async fn probe(connector: &Connector, index: usize) -> Result<Probed, UpstreamError> {
    let mut dialogue = connector.open(index).await?;
    let role = within(ANSWER_WITHIN, "ROLE", role_of(&mut dialogue)).await;
    let role = role.map_err(|error| connector.first_word(error))?;
    Ok(Probed { dialogue, role })
}

/// The role of who stands at an address.
///
/// # Errors
/// It can't be reached or refuses us.
pub(super) async fn role_at(
    connector: &Connector,
    index: usize,
) -> Result<Option<String>, UpstreamError> {
    Ok(probe(connector, index).await?.role)
}

/// What a server says that it is; `None`: it can't just now (`-BUSY`), or not to us.
///
/// # Errors
/// The connection ends, or our login has.
pub(super) async fn role_of(dialogue: &mut Dialogue) -> Result<Option<String>, UpstreamError> {
    match dialogue.ask(&["ROLE"]).await? {
        Reply::Error(error) if error.starts_with("NOAUTH") => Err(UpstreamError::NoCredential),
        Reply::Error(error) if is_excuse(&error) => Ok(None),
        // ROLE came with 2.8.12, and may be renamed.
        Reply::Error(_) => match dialogue.ask(&["INFO", "replication"]).await? {
            Reply::Bulk(info) => Ok(role_in_info(&info)),
            _ => Ok(None),
        },
        answer => Ok(answer
            .as_array()
            .and_then(|items| items.first())
            .and_then(|role| std::str::from_utf8(role.as_bytes()?).ok())
            // It becomes a line of the log.
            .map(|role| role.escape_debug().to_string())),
    }
}

fn role_in_info(info: &[u8]) -> Option<String> {
    let info = std::str::from_utf8(info).ok()?;
    let role = info.lines().find_map(|line| line.strip_prefix("role:"))?;
    Some(role.trim().escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);

    #[test]
    fn the_first_of_the_order_that_fits_is_taken() {
        for (order, answers, expected) in [
            ([0, 1, 2], [NO, YES, YES], Choice::Take(1)),
            // The one in use comes first.
            ([2, 0, 1], [YES, YES, YES], Choice::Take(2)),
            ([2, 0, 1], [YES, YES, NO], Choice::Take(0)),
            ([0, 1, 2], [NO, NO, NO], Choice::Nobody),
        ] {
            assert_eq!(choose(&order, &answers, false), expected, "{answers:?}");
            assert_eq!(choose(&order, &answers, true), expected, "{answers:?}");
        }
    }

    #[test]
    fn who_would_be_preferred_is_waited_for_but_not_for_long() {
        let answers = [None, YES, None];
        assert_eq!(choose(&[0, 1, 2], &answers, false), Choice::Open);
        assert_eq!(choose(&[0, 1, 2], &answers, true), Choice::Take(1));
        // Whom it can't change nobody waits for.
        assert_eq!(choose(&[1, 0, 2], &answers, false), Choice::Take(1));
        // As long as there is no master at all, whoever may be one is waited for.
        assert_eq!(choose(&[0, 1, 2], &[NO, None, NO], true), Choice::Open);
    }

    #[test]
    fn sentinels_are_alike_and_masters_are_not_sentinels() {
        for (role, redis, sentinel) in [
            (Some("master"), true, false),
            (Some("slave"), false, false),
            (Some("sentinel"), false, true),
            (None, false, true),
        ] {
            assert_eq!(fits(role, ListenerKind::Redis), redis, "{role:?}");
            assert_eq!(fits(role, ListenerKind::Sentinel), sentinel, "{role:?}");
        }
    }

    #[test]
    fn info_tells_a_role_where_there_is_no_other_way() {
        let info = b"# Replication\r\nrole:slave\r\nmaster_host:a\r\n";
        assert_eq!(role_in_info(info).as_deref(), Some("slave"));
        assert_eq!(role_in_info(b"# Replication\r\n"), None);
    }
}
