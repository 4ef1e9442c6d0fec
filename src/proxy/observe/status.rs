//! The state of all, for people and their scripts.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::proxy::metrics::Condition;
use crate::proxy::service::Service;

/// What `/status` answers.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Of respgate.
    pub version: &'static str,
    /// How long it runs.
    pub uptime_seconds: u64,
    /// Whether it is about to end.
    pub draining: bool,
    /// Of the rules in force: each change of users is another one.
    pub generation: u64,
    /// The SHA-256 of the ACL files that were last loaded or saved.
    pub policy: String,
    /// In the configuration's order.
    pub listeners: Vec<ListenerStatus>,
    /// By name.
    pub upstreams: Vec<UpstreamStatus>,
    /// Absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<ReloadStatus>,
}

/// One listener.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerStatus {
    /// As configured.
    pub name: String,
    /// As configured.
    pub bind: Vec<String>,
    /// Clients that are served now.
    pub sessions: u64,
}

/// One upstream.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamStatus {
    /// As configured.
    pub name: String,
    /// The one in use; absent while none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `up`; `busy`: it answers that it serves nobody just now; `down`.
    pub state: &'static str,
    /// Why it isn't up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it has said of itself when it was last there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// The last reload.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadStatus {
    /// RFC 3339, UTC.
    pub time: String,
    /// Whether it is in force.
    pub ok: bool,
    /// Why not.
    pub problems: Vec<String>,
}

// === impl Service ===

impl Service {
    /// The state of all.
    pub fn status(&self) -> Status {
        let rules = self.keeper.snapshot();
        let last = self.metrics.reloads.last();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.metrics.started.0.elapsed().as_secs(),
            draining: self.is_draining(),
            generation: rules.generation(),
            policy: rules.policy().content_hash().to_owned(),
            listeners: self.listener_status(),
            upstreams: self.upstream_status(),
            last_reload: last.map(|last| ReloadStatus {
                time: rfc3339(last.at),
                ok: last.problems.is_empty(),
                problems: last.problems,
            }),
        }
    }

    fn listener_status(&self) -> Vec<ListenerStatus> {
        let threads = self.metrics.threads();
        let listeners = self.listeners.iter().map(|listening| {
            let all = || threads.iter().map(|it| &it.listeners[listening.index]);
            let mut ends = BTreeMap::new();
            all().for_each(|it| it.closed.sum(&mut ends));
            let opened: u64 = all().map(|it| it.opened.get()).sum();
            ListenerStatus {
                name: listening.name.clone(),
                bind: listening.bind.iter().map(ToString::to_string).collect(),
                sessions: opened.saturating_sub(ends.values().sum()),
            }
        });
        listeners.collect()
    }

    fn upstream_status(&self) -> Vec<UpstreamStatus> {
        let upstreams = self.upstreams.iter().enumerate().map(|(number, upstream)| {
            let (state, reason) = match self.metrics.condition(number) {
                Condition::Up => ("up", None),
                Condition::Excused(excuse) => ("busy", Some(excuse)),
                Condition::Down(reason) => ("down", Some(reason)),
            };
            let facts = upstream.facts.load_full();
            UpstreamStatus {
                name: upstream.name().to_owned(),
                address: upstream.view().address,
                state,
                reason,
                version: facts.as_ref().map(|facts| facts.version.to_string()),
                role: facts.as_ref().map(|facts| facts.role.clone()),
                mode: facts.as_ref().map(|facts| facts.mode.clone()),
            }
        });
        upstreams.collect()
    }
}

fn rfc3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    time.format(&Rfc3339).unwrap_or_default()
}
