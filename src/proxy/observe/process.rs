//! The process as the kernel sees it, by the names that every Prometheus client uses.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::telemetry::metrics::{Family, Kind, Value};

/// What `/proc/self` says. What can't be read there is left out.
pub(super) fn metrics(started: SystemTime) -> Vec<Family> {
    let mut families = Vec::new();
    let mut number = |name, kind, help, value: Option<f64>| {
        if let Some(value) = value {
            families.push(Family::new(name, kind, help).with(Vec::new(), Value::Number(value)));
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    number(
        "process_cpu_seconds",
        Kind::Counter,
        "Processor time in user and kernel mode.",
        cpu_seconds(&stat, clock_ticks_per_second()),
    );
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = |index| -> Option<f64> {
        let pages: u64 = statm.split_whitespace().nth(index)?.parse().ok()?;
        Some((pages * page_size() as u64) as f64)
    };
    number(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Address space.",
        pages(0),
    );
    number(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Memory that is in RAM.",
        pages(1),
    );
    let files = fs::read_dir("/proc/self/fd").ok();
    number(
        "process_open_fds",
        Kind::Gauge,
        "Open files.",
        // Without the folder that is read for it.
        files.map(|files| files.count().saturating_sub(1) as f64),
    );
    number(
        "process_max_fds",
        Kind::Gauge,
        "Files that may be open.",
        getrlimit(Resource::Nofile).current.map(|most| most as f64),
    );
    let since = started.duration_since(UNIX_EPOCH).ok();
    number(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the process started, Unix time.",
        since.map(|since| since.as_secs_f64()),
    );
    families
}

/// utime and stime, fields 14 and 15. The second field is the program's name in parentheses, and may
/// hold anything.
fn cpu_seconds(stat: &str, ticks: u64) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some((next()? + next()?) as f64 / ticks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(cpu_seconds(stat, 100), Some(3.0));
        assert_eq!(cpu_seconds("", 100), None);
    }

    #[test]
    fn this_process_has_all_of_them() {
        let families = metrics(SystemTime::now());
        assert_eq!(families.len(), 6);
        for family in families {
            let Value::Number(value) = family.samples[0].value else {
                panic!("{family:?}");
            };
            // A process may have used no whole tick yet.
            assert!(value > 0.0 || family.name == "process_cpu_seconds");
        }
    }
}
