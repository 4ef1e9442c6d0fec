//! `[audit]`: what is written of decisions and connections, where, and what happens where it can't be.

use super::section::Section;
use super::types::{Audit, AuditDecisions, AuditKeys, AuditSettings, AuditSink};

/// Reads `[audit]`.
pub(super) fn audit(root: &mut Section<'_>) -> Audit {
    let mut section = root.table("audit");
    let base = section.report.base();
    let sink = section.text("path").and_then(|entry| {
        entry.parsed(|text| match text {
            "" => Err("must be a path, \"-\" for stdout, \"syslog\" or \"journald\"".to_owned()),
            "-" => Ok(AuditSink::Stdout),
            "syslog" => Ok(AuditSink::Syslog),
            "journald" => Ok(AuditSink::Journal),
            _ => Ok(AuditSink::File(base.join(text))),
        })
    });
    let decisions = [
        ("deny", AuditDecisions::Deny),
        ("all", AuditDecisions::All),
        ("none", AuditDecisions::None),
    ];
    let decisions = section
        .choice("decisions", &decisions)
        .map_or(AuditDecisions::Deny, |(_, decisions)| decisions);
    let keys = [("plain", AuditKeys::Plain), ("sha256", AuditKeys::Sha256)];
    let keys = section.choice("keys", &keys);
    let connections = section.flag("connections");
    let when_full = section.choice("when_full", &[("drop", false), ("refuse", true)]);
    // Who turns all of it off and asks for more of it counts on one of the two.
    if decisions == AuditDecisions::None {
        let nothing = "asks for lines, and audit.decisions = \"none\" writes nothing at all";
        for (entry, wanted) in connections.iter().chain(&when_full) {
            if *wanted {
                entry.problem(nothing);
            }
        }
    }
    section.finish();
    Audit {
        sink: sink.unwrap_or(AuditSink::Stdout),
        settings: AuditSettings {
            decisions,
            keys: keys.map_or(AuditKeys::Plain, |(_, keys)| keys),
            // An audit of everything tells where each session came from and what became of it; one
            // of refusals would be mostly these.
            connections: connections.map_or(decisions == AuditDecisions::All, |(_, wanted)| wanted),
            refuse: when_full.is_some_and(|(_, refuse)| refuse),
        },
    }
}
