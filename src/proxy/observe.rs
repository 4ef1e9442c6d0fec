//! What there is to be seen: the sums of what the threads have counted, and the state of all.

mod limits;
mod process;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::command::Class;
use crate::telemetry::LineCounts;
use crate::telemetry::metrics::{Distribution, Family, Kind, Value};

use super::metrics::{Condition, Judgement, ThreadMetrics, Use};
use super::service::Service;

pub use status::{ListenerStatus, ReloadStatus, Status, UpstreamStatus};

type Labels = Vec<(&'static str, String)>;

/// Sums by label set.
type Sums = BTreeMap<Labels, u64>;

// === impl Service ===

impl Service {
    /// Every metric. Reads `/proc`, so it may take some milliseconds where many files are open.
    pub fn metrics(&self) -> Vec<Family> {
        let threads = self.metrics.threads();
        let mut families = vec![build()];
        families.extend(self.session_metrics(&threads));
        families.extend(self.request_metrics(&threads));
        families.extend(self.upstream_metrics(&threads));
        families.extend(self.policy_metrics());
        families.extend(self.limit_metrics());
        families.extend(process::metrics(self.metrics.started.1));
        families
    }

    fn session_metrics(&self, threads: &[Arc<ThreadMetrics>]) -> Vec<Family> {
        let mut open = Family::new(
            "respgate_sessions",
            Kind::Gauge,
            "Clients that are served now.",
        );
        let mut opened = counter("respgate_sessions_opened", "Clients that were served.");
        let mut received = counter(
            "respgate_downstream_received_bytes",
            "Bytes of requests that clients have sent, without TLS.",
        );
        let mut sent = counter(
            "respgate_downstream_sent_bytes",
            "Bytes of replies that clients have taken, without TLS.",
        );
        let (mut closed, mut handshakes, mut refused) = (Sums::new(), Sums::new(), Sums::new());
        for listening in &self.listeners {
            let name = || ("listener", listening.name.clone());
            let all = || threads.iter().map(|it| &it.listeners[listening.index]);
            // Ends first: a session that comes meanwhile must not count as minus one.
            let mut ends = BTreeMap::new();
            all().for_each(|it| it.closed.sum(&mut ends));
            let begun: u64 = all().map(|it| it.opened.get()).sum();
            let gone: u64 = ends.values().sum();
            open.put(vec![name()], Value::Count(begun.saturating_sub(gone)));
            opened.put(vec![name()], Value::Count(begun));
            closed.extend(
                ends.into_iter()
                    .map(|(reason, count)| (vec![name(), ("reason", reason.to_owned())], count)),
            );
            let count = all().map(|it| it.received.get()).sum();
            received.put(vec![name()], Value::Count(count));
            let count = all().map(|it| it.sent.get()).sum();
            sent.put(vec![name()], Value::Count(count));
            let mut results = BTreeMap::new();
            all().for_each(|it| it.handshakes.sum(&mut results));
            handshakes.extend(results.into_iter().map(|((result, version), count)| {
                let result = ("result", result.to_owned());
                let version = ("tls_version", version.to_owned());
                (vec![name(), result, version], count)
            }));
            let mut reasons = BTreeMap::new();
            all().for_each(|it| it.refused.sum(&mut reasons));
            refused.extend(
                reasons
                    .into_iter()
                    .map(|(reason, count)| (vec![name(), ("reason", reason.to_owned())], count)),
            );
        }
        vec![
            open,
            opened,
            of_sums(
                counter("respgate_sessions_closed", "Sessions that ended, and how."),
                closed,
            ),
            of_sums(
                counter(
                    "respgate_handshakes",
                    "TLS handshakes: ok, resumed, or why they failed.",
                ),
                handshakes,
            ),
            of_sums(
                counter(
                    "respgate_connections_refused",
                    "Connections that became no session.",
                ),
                refused,
            ),
            received,
            sent,
        ]
    }

    fn request_metrics(&self, threads: &[Arc<ThreadMetrics>]) -> Vec<Family> {
        let mut commands = Sums::new();
        let mut denials = BTreeMap::new();
        for thread in threads {
            thread.each_user(|label, user| {
                for judgement in Judgement::ALL {
                    for class in Class::ALL {
                        let count = user.get(judgement, class);
                        if count == 0 {
                            continue;
                        }
                        let labels = vec![
                            ("user", label.to_string()),
                            ("verdict", judgement.label().to_owned()),
                            ("category", class.label().to_owned()),
                        ];
                        *commands.entry(labels).or_default() += count;
                    }
                }
            });
            thread.denials.sum(&mut denials);
        }
        let denials = denials
            .into_iter()
            .map(|(reason, count)| (vec![("reason", reason.to_owned())], count))
            .collect();
        let owed: i64 = threads.iter().map(|thread| thread.owed.get()).sum();
        vec![
            of_sums(
                counter(
                    "respgate_commands",
                    "Requests that were judged, by user, verdict and kind of command.",
                ),
                commands,
            ),
            of_sums(
                counter("respgate_denials", "Requests that were refused, and why."),
                denials,
            ),
            Family::new(
                "respgate_owed_replies",
                Kind::Gauge,
                "Replies that upstreams owe to clients now.",
            )
            .count(u64::try_from(owed).unwrap_or_default()),
        ]
    }

    fn upstream_metrics(&self, threads: &[Arc<ThreadMetrics>]) -> Vec<Family> {
        let mut up = Family::new(
            "respgate_upstream_up",
            Kind::Gauge,
            "Whether the upstream answers PING with our credential, and serves.",
        );
        let mut info = Family::new(
            "respgate_upstream_info",
            Kind::Gauge,
            "What the upstream has said of itself when it was last there.",
        );
        let mut latency = Family::new(
            "respgate_upstream_latency_seconds",
            Kind::Histogram,
            "How long the upstream takes to answer PING, and ECHO on shared connections.",
        );
        let mut connections = Family::new(
            "respgate_upstream_connections",
            Kind::Gauge,
            "Connections to the upstream that are open, by what they are used for.",
        );
        let mut desyncs = counter(
            "respgate_desync",
            "Replies out of step with requests: connections were closed for it. Must be 0.",
        );
        let mut failures = Sums::new();
        for (number, upstream) in self.upstreams.iter().enumerate() {
            let name = || ("upstream", upstream.name().to_owned());
            let all = || threads.iter().map(|it| &it.upstreams[number]);
            let is_up = matches!(self.metrics.condition(number), Condition::Up);
            up.put(vec![name()], Value::Count(u64::from(is_up)));
            if let Some(facts) = &*upstream.facts.load() {
                let labels = vec![
                    name(),
                    ("version", facts.version.to_string()),
                    ("role", facts.role.clone()),
                    ("mode", facts.mode.clone()),
                ];
                info.put(labels, Value::Count(1));
            }
            let mut distribution = Distribution::default();
            all().for_each(|it| it.latency.sum(&mut distribution));
            latency.put(vec![name()], Value::Distribution(distribution));
            for used in Use::ALL {
                let count: i64 = all().map(|it| it.connections(used)).sum();
                let labels = vec![name(), ("use", used.label().to_owned())];
                let count = u64::try_from(count).unwrap_or_default();
                connections.put(labels, Value::Count(count));
            }
            let count = all().map(|it| it.desyncs.get()).sum();
            desyncs.put(vec![name()], Value::Count(count));
            let mut reasons = BTreeMap::new();
            all().for_each(|it| it.failures.sum(&mut reasons));
            failures.extend(
                reasons
                    .into_iter()
                    .map(|(reason, count)| (vec![name(), ("reason", reason.to_owned())], count)),
            );
        }
        let failures = of_sums(
            counter(
                "respgate_upstream_failures",
                "Connections to the upstream that could not be had, or broke while we watched.",
            ),
            failures,
        );
        vec![up, info, latency, connections, failures, desyncs]
    }

    fn policy_metrics(&self) -> Vec<Family> {
        let rules = self.keeper.snapshot();
        let reloads = &self.metrics.reloads;
        let results = [("ok", &reloads.ok), ("failed", &reloads.failed)];
        let mut by_result = counter("respgate_reloads", "Reloads, and what came of them.");
        for (result, count) in results {
            let count = Value::Count(count.load(Ordering::Relaxed));
            by_result.put(vec![("result", result.to_owned())], count);
        }
        let mut expiry = Family::new(
            "respgate_certificate_expiry_timestamp_seconds",
            Kind::Gauge,
            "When the first certificate of its kind ends.",
        );
        for listening in &self.listeners {
            let state = rules.settings().listener(listening.index);
            let tls = state.and_then(|state| state.tls.as_ref());
            for (what, ends) in tls.map_or(&[][..], |tls| tls.expiry()) {
                let name = ("listener", listening.name.clone());
                let labels = vec![name, ("certificate", (*what).to_owned())];
                expiry.put(labels, Value::Number(*ends as f64));
            }
        }
        for upstream in &self.upstreams {
            for (what, ends) in upstream.connector.certificate_expiry() {
                let name = ("upstream", upstream.name().to_owned());
                let labels = vec![name, ("certificate", (*what).to_owned())];
                expiry.put(labels, Value::Number(ends as f64));
            }
        }
        let hash = rules.policy().content_hash().to_owned();
        let LineCounts {
            written, dropped, ..
        } = self.audit.counts();
        vec![
            Family::new(
                "respgate_generation",
                Kind::Gauge,
                "The generation of the rules in force: each change of users is another one.",
            )
            .count(rules.generation()),
            Family::new(
                "respgate_policy_info",
                Kind::Gauge,
                "The SHA-256 of the ACL files that were last loaded or saved.",
            )
            .with(vec![("hash", hash)], Value::Count(1)),
            by_result,
            expiry,
            counter("respgate_audit_lines", "Lines given to the audit.").count(written),
            counter(
                "respgate_audit_dropped_lines",
                "Lines of the audit that are lost: nobody took them in time.",
            )
            .count(dropped),
        ]
    }

    /// Why clients that come now would not be served; empty: they would.
    ///
    /// Says of an upstream no more than its name: everybody may ask this.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_draining() {
            reasons.push("draining".to_owned());
        }
        // One that was taken out of the file serves nobody, whatever becomes of its upstream.
        let rules = self.keeper.rules();
        let is_served = |index: usize| rules.settings().listener(index).is_some();
        let served = self.listeners.iter().filter(|it| is_served(it.index));
        let needed = served.map(|it| it.upstream);
        for number in needed.collect::<BTreeSet<_>>() {
            let upstream = self.upstreams[number].name();
            match self.metrics.condition(number) {
                Condition::Up => {}
                Condition::Excused(_) => reasons.push(format!("upstream {upstream}: busy")),
                Condition::Down(_) => reasons.push(format!("upstream {upstream}: no answer")),
            }
        }
        reasons
    }

    fn is_draining(&self) -> bool {
        self.sessions.draining.load(Ordering::Acquire)
    }
}

fn build() -> Family {
    let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
    Family::new(
        "respgate_build_info",
        Kind::Gauge,
        "Which respgate this is.",
    )
    .with(vec![version], Value::Count(1))
}

fn counter(name: &'static str, help: &'static str) -> Family {
    Family::new(name, Kind::Counter, help)
}

fn of_sums(mut family: Family, sums: Sums) -> Family {
    for (labels, count) in sums {
        family.put(labels, Value::Count(count));
    }
    family
}
