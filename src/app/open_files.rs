//! The limits on connections made to fit the limit of open files.

use crate::net::{SPARE_FILES, most_files, raise_file_limit};
use crate::proxy::{Connector, ListenerParts};

/// What a listener asks for.
#[derive(Clone, Copy, Debug)]
struct Demand {
    /// Its upstream's index.
    upstream: usize,
    /// `None`: as many as there is room for.
    spelled_out: Option<usize>,
    /// What it has if there is room.
    wanted: usize,
}

/// Makes the limits on connections fit the limit of open files, and raises the latter as far as they
/// need.
///
/// A number that the file spells out is kept or refused. Where it says nothing, as many are served
/// as there is room for, and it is told: so Redis does with `maxclients`.
///
/// # Errors
/// What is spelled out doesn't fit.
pub(super) fn fit_connections(
    listeners: &mut [ListenerParts],
    upstreams: &[Connector],
) -> Result<Option<String>, String> {
    let demands: Vec<Demand> = listeners
        .iter()
        .map(|one| Demand {
            upstream: one.settings.upstream,
            spelled_out: one.settings.max_connections,
            wanted: one.max_connections,
        })
        .collect();
    let caps: Vec<usize> = upstreams
        .iter()
        .map(|one| one.settings().max_connections)
        .collect();
    let share = fit(&demands, &caps, most_files())?;
    let mut warning = None;
    for listener in listeners.iter_mut() {
        let is_open = listener.settings.max_connections.is_none();
        if is_open && listener.max_connections > share {
            warning = Some(format!(
                "max_connections is lowered from {} to {share}: the limit of open files \
                 (RLIMIT_NOFILE) leaves no room for more",
                listener.max_connections
            ));
            listener.max_connections = share;
        }
    }
    raise_file_limit(needed(&demands, &caps, share))
        .map_err(|error| format!("can't raise RLIMIT_NOFILE: {error}"))?;
    Ok(warning)
}

/// The most that each listener may have that doesn't say how many.
fn fit(demands: &[Demand], caps: &[usize], most: u64) -> Result<usize, String> {
    let open = || demands.iter().filter(|one| one.spelled_out.is_none());
    let wanted = open().map(|one| one.wanted).max().unwrap_or(0);
    // The largest share that fits; what is needed grows with it.
    let (mut low, mut high) = (0, wanted);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match needed(demands, caps, middle) <= most {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    let least = needed(demands, caps, low.max(usize::from(wanted > 0)));
    if least <= most {
        return Ok(low);
    }
    let spelled_out: usize = demands.iter().filter_map(|one| one.spelled_out).sum();
    let total = spelled_out + open().count();
    Err(format!(
        "max_connections: {total} connections need {least} open files (one each, one more for the \
         upstream of each as far as upstream.NAME.max_connections goes, and {SPARE_FILES} for the rest), \
         and the limit (RLIMIT_NOFILE) is {most}: lower the one or raise the other"
    ))
}

/// The files that are open when all these connections are, the listeners that say nothing having
/// `share` each. A client whose commands go over a shared connection may need one of its own at any
/// time, so that in both modes each may come to have one; the few shared ones are among the rest.
fn needed(demands: &[Demand], caps: &[usize], share: usize) -> u64 {
    let mut behind = vec![0_u64; caps.len()];
    let mut files = SPARE_FILES;
    for demand in demands {
        let count = demand.spelled_out.unwrap_or(share.min(demand.wanted)) as u64;
        files = files.saturating_add(count);
        if let Some(behind) = behind.get_mut(demand.upstream) {
            *behind = behind.saturating_add(count);
        }
    }
    let upstream = behind.iter().zip(caps);
    upstream.fold(files, |files, (clients, cap)| {
        files.saturating_add((*clients).min(*cap as u64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(upstream: usize, spelled_out: Option<usize>) -> Demand {
        Demand {
            upstream,
            spelled_out,
            wanted: spelled_out.unwrap_or(10_000),
        }
    }

    #[test]
    fn who_says_nothing_gets_what_is_left() {
        let all = [demand(0, Some(100)), demand(0, None), demand(1, None)];
        // 100 clients and two shares, all of them with an upstream.
        assert_eq!(
            fit(&all, &[10_000, 10_000], 128 + 2 * (100 + 2 * 50)),
            Ok(50)
        );
        assert_eq!(fit(&all, &[10_000, 10_000], 1 << 20), Ok(10_000));
        // The first upstream takes no more than 10, so that there is room for more clients.
        assert_eq!(fit(&all, &[10, 10_000], 128 + 100 + 10 + 3 * 70), Ok(70));
    }

    #[test]
    fn what_is_spelled_out_fits_or_is_refused() {
        let all = [demand(0, Some(400))];
        assert_eq!(fit(&all, &[10_000], 928), Ok(0));
        let error = fit(&all, &[10_000], 927).unwrap_err();
        assert!(
            error.contains("400 connections need 928 open files"),
            "{error}"
        );
        assert_eq!(fit(&all, &[20], 548), Ok(0));
        // And one for each that says nothing.
        let all = [demand(0, Some(400)), demand(0, None)];
        assert_eq!(fit(&all, &[10_000], 930), Ok(1));
        assert!(fit(&all, &[10_000], 929).is_err());
    }
}
