//! `respgate check --upstream`: what the upstreams say of themselves.

use crate::config::{self, UpstreamAddress};
use crate::proxy::{Inspection, inspect};

use super::{AppError, Prepared};

/// What the upstreams say of themselves, a line or more each; and whether any is wrong.
///
/// # Errors
/// [`AppError::Start`] if nothing could be asked at all.
pub fn check_upstreams(prepared: &Prepared) -> Result<(Vec<String>, bool), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::Start(vec![error.to_string()]))?;
    let mut lines = Vec::new();
    let mut wrong = false;
    for settings in &prepared.config.upstreams {
        let name = &settings.name;
        match runtime.block_on(inspect(settings, prepared.rules.table())) {
            Err(error) => {
                wrong = true;
                lines.push(format!("upstream.{name} ({}): {error}", settings.address));
            }
            Ok(inspection) => {
                let (told, bad) = describe(prepared, settings, &inspection);
                wrong |= bad;
                lines.extend(
                    told.into_iter()
                        .map(|line| format!("upstream.{name}: {line}")),
                );
            }
        }
    }
    Ok((lines, wrong))
}

fn describe(
    prepared: &Prepared,
    settings: &config::Upstream,
    inspection: &Inspection,
) -> (Vec<String>, bool) {
    let facts = &inspection.facts;
    let table = prepared.rules.table();
    let mut lines = vec![format!(
        "Redis {} ({}, {})",
        facts.version, facts.mode, facts.role
    )];
    match &facts.commands {
        None => lines.push("COMMAND can't be asked: its commands are unknown".to_owned()),
        Some(known) => {
            let foreign: Vec<&str> = known
                .iter()
                .map(|name| &**name)
                .filter(|name| table.find(name.as_bytes()).is_none())
                .filter(|name| !matches!(*name, "post" | "host:"))
                .collect();
            if !foreign.is_empty() {
                lines.push(format!(
                    "has commands that respgate doesn't know and refuses (renamed, or a module's): \
                     {}",
                    sorted(foreign)
                ));
            }
            // Commands of every Redis since 2.8.13 that are gone were renamed or disabled.
            let usual = [
                "config", "debug", "eval", "flushall", "flushdb", "keys", "shutdown",
            ];
            let gone: Vec<&str> = usual
                .into_iter()
                .filter(|name| !known.contains(*name))
                .collect();
            if !gone.is_empty() {
                lines.push(format!(
                    "lacks (renamed or disabled there): {}",
                    sorted(gone)
                ));
            }
        }
    }
    let mut wrong = false;
    for (name, run) in prepared
        .rules
        .names()
        .unknown_substitutes(table, |command| facts.knows(command))
    {
        wrong = true;
        lines.push(format!(
            "doesn't have '{run}', the substitute of '{name}': it is refused"
        ));
    }
    if inspection.open {
        let who = match settings.address {
            UpstreamAddress::Unix(_) => "Whoever may open its socket",
            UpstreamAddress::Tcp { .. } => "Whoever reaches it",
        };
        let hint = if settings.password.is_some() {
            "runs commands without our password too"
        } else {
            "needs no password"
        };
        lines.push(format!(
            "is open: it {hint}. {who} goes around respgate: set requirepass, or let \
             nobody but respgate reach it"
        ));
    }
    (lines, wrong)
}

fn sorted(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    names.join(", ")
}
