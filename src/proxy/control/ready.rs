//! What comes of an upstream's having said what it is: what is learned, and what is told.

use crate::proxy::service::Service;
use crate::session::Facts;

/// What an upstream keeps from us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gaps {
    /// Its version; and its refusal of INFO.
    pub version: Option<String>,
    /// Its commands.
    pub commands: bool,
}

/// Learns what the upstream has and the table lacks. Where that fails, it is refused as unknown.
pub(super) fn learn(service: &Service, upstream: &str, facts: &Facts) {
    let commands = &facts.learned.commands;
    match service.keeper.learn(commands) {
        Ok(true) => {
            let commands = commands.len();
            tracing::info!(upstream, commands, "learned what the table lacks");
        }
        Ok(false) => {}
        Err(error) => tracing::error!(
            upstream,
            %error,
            "what the upstream has besides can't be learned: it is refused"
        ),
    }
    for skipped in &facts.learned.skipped {
        tracing::warn!(
            upstream,
            command = skipped.name,
            reason = %skipped.reason,
            "the upstream has a command that can't be learned: it is refused"
        );
    }
}

pub(super) fn warn_of_substitutes(service: &Service, upstream: &str, facts: &Facts) {
    let rules = service.keeper.rules();
    for (name, run) in rules
        .names()
        .unknown_substitutes(rules.table(), |run| facts.knows(run))
    {
        tracing::warn!(
            upstream,
            command = name,
            substitute = run,
            "the upstream does not have the substitute: the command is refused"
        );
    }
}

// === impl Gaps ===

impl Gaps {
    pub(super) fn warn(&self, upstream: &str) {
        if let Some(refusal) = &self.version {
            tracing::warn!(
                upstream,
                refusal,
                "the upstream tells its version neither to INFO nor to HELLO: it is taken for the \
                 oldest, which allows the least (scripts need lethal=config or script= rules)"
            );
        }
        if self.commands {
            tracing::warn!(
                upstream,
                "the upstream does not tell its commands (COMMAND): nothing is learned from it, \
                 substitutes are refused, and what its rename-command hides or swaps is not seen"
            );
        }
    }
}
