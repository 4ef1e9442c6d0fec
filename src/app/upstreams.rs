//! `respgate check --upstream`: what the upstreams say of themselves.

use crate::command::{Channels, Command, Skipped};
use crate::config::{self, UpstreamAddress};
use crate::proxy::{Gaps, Inspection, inspect};
use crate::session::{Facts, Swapped, Version};

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
    for connector in &prepared.upstreams {
        let settings = connector.settings();
        let name = &settings.name;
        let mut roles = Vec::new();
        for (index, address) in settings.addresses.iter().enumerate() {
            match runtime.block_on(inspect(connector, index, prepared.rules.table())) {
                Err(error) => {
                    wrong = true;
                    lines.push(format!("upstream.{name} ({address}): {error}"));
                }
                Ok(inspection) => {
                    let (told, bad) = describe(prepared, settings, address, &inspection);
                    wrong |= bad;
                    let place = match settings.addresses.len() {
                        1 => format!("upstream.{name}"),
                        _ => format!("upstream.{name} ({address})"),
                    };
                    lines.extend(told.into_iter().map(|line| format!("{place}: {line}")));
                    roles.push((address, inspection.facts));
                }
            }
        }
        if let Some(problem) = which_is_used(settings, &roles) {
            wrong = true;
            lines.push(format!("upstream.{name}: {problem}"));
        }
    }
    Ok((lines, wrong))
}

/// What is wrong with several addresses together: nobody or more than one says that he is the master.
fn which_is_used(
    settings: &config::Upstream,
    asked: &[(&UpstreamAddress, Facts)],
) -> Option<String> {
    // Sentinels are all alike. Where none answered, each has said so.
    let alike = asked.iter().all(|(_, facts)| facts.mode == "sentinel");
    if settings.addresses.len() == 1 || alike {
        return None;
    }
    let masters = asked.iter().filter(|(_, facts)| facts.role == "master");
    let masters: Vec<_> = masters.map(|(address, _)| address.to_string()).collect();
    match masters.len() {
        0 => Some("none of its addresses is a master: nobody is served".to_owned()),
        1 => None,
        _ => Some(format!(
            "has several masters, of which the first is used at start: {}",
            masters.join(", ")
        )),
    }
}

fn describe(
    prepared: &Prepared,
    settings: &config::Upstream,
    address: &UpstreamAddress,
    inspection: &Inspection,
) -> (Vec<String>, bool) {
    let facts = &inspection.facts;
    let table = prepared.rules.table();
    let mut lines = about(facts, &inspection.gaps);
    let mut wrong = !facts.swapped.is_empty();
    if let Some(line) = mismatch(prepared, settings, facts) {
        wrong = true;
        lines.push(line);
    }
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
        let who = match address {
            UpstreamAddress::Unix(_) => "Whoever may open its socket",
            UpstreamAddress::Tcp { .. } => "Whoever reaches it",
        };
        let has_certificate = |tls: &config::UpstreamTls| tls.identity.is_some();
        let hint = match settings.password.is_some() {
            _ if settings.tls.as_ref().is_some_and(has_certificate) => {
                "runs commands without our certificate too"
            }
            true => "runs commands without our password too",
            false => "needs no password",
        };
        lines.push(format!(
            "is open: it {hint}. {who} goes around respgate: set requirepass, or let \
             nobody but respgate reach it"
        ));
    }
    (lines, wrong)
}

/// A Sentinel where a Redis should be, or the other way round.
fn mismatch(prepared: &Prepared, settings: &config::Upstream, facts: &Facts) -> Option<String> {
    let upstreams = &prepared.config.upstreams;
    let listeners = &prepared.config.listeners;
    let listener = listeners
        .iter()
        .find(|listener| upstreams[listener.upstream].name == settings.name)?;
    let (name, kind, mode) = (&listener.name, listener.kind, &facts.mode);
    (!kind.is_mode(mode)).then(|| {
        let kind = kind.as_str();
        format!("its redis_mode is {mode}, and listener.{name}.kind = \"{kind}\": it isn't served")
    })
}

/// What an operator should know of an upstream before he relies on a policy in front of it.
fn about(facts: &Facts, gaps: &Gaps) -> Vec<String> {
    let first = match &gaps.version {
        None => format!("Redis {} ({}, {})", facts.version, facts.mode, facts.role),
        Some(refusal) => format!(
            "tells its version neither to INFO nor to HELLO ({}): it is taken for the oldest, which \
             allows the least",
            refusal.escape_debug()
        ),
    };
    let mut lines = vec![first];
    if gaps.commands {
        lines.push(
            "COMMAND can't be asked (it came with 2.8.13, or is renamed or refused there): its \
             commands are unknown, nothing is learned, substitutes are refused, and what it renames \
             isn't seen"
                .to_owned(),
        );
    }
    for Swapped { name, runs } in &facts.swapped {
        lines.push(format!(
            "runs '{runs}' for '{name}' (its rename-command): what is judged is not what runs, so \
             it isn't served. Rename '{runs}' to a name that no command has"
        ));
    }
    if !facts.renamed.is_empty() {
        lines.push(format!(
            "has renamed (rename-command); nobody can call them through respgate: {}",
            facts.renamed.join(", ")
        ));
    }
    if !facts.missing.is_empty() {
        lines.push(format!(
            "lacks, though its version should have them (disabled there, or not built in): {}",
            facts.missing.join(", ")
        ));
    }
    lines.extend(facts.learned.commands.iter().map(learned));
    for Skipped { name, reason } in &facts.learned.skipped {
        lines.push(format!("has '{name}', which is refused: {reason}"));
    }
    lines.extend(script_warning(facts.version));
    lines
}

/// One learned command, and what is odd about it.
fn learned(command: &Command) -> String {
    let mut line = format!("learned {}: {}", command.name, command.keys);
    if command.channels == Channels::Unknown {
        line.push_str("; channels unknown: not supported");
    }
    if command.categories.iter().next().is_none() {
        line.push_str("; in no category: only its name and @all cover it");
    }
    line
}

/// Up to 4.0.14 scripts may run what later versions refuse them.
fn script_warning(version: Version) -> Option<String> {
    (version < Version::new(5, 0, 0)).then(|| {
        "CONFIG, BGSAVE and SHUTDOWN can be called from Lua scripts there: whoever may run scripts \
         that you don't know holds them, whatever his rules say. Pin the scripts with script=sha1:…, \
         and give nobody script=any"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Access, Categories, Category, Flags, Keys, Learned, SkipReason};

    const ALL_TOLD: Gaps = Gaps {
        version: None,
        commands: false,
    };

    #[test]
    fn scripts_are_warned_of_up_to_4() {
        let about = |version: &str| {
            let info = format!("redis_version:{version}\r\n");
            about(&Facts::read(info.as_bytes()).unwrap(), &ALL_TOLD).join("\n")
        };
        for version in ["2.8.24", "3.2.13", "4.0.14"] {
            let text = about(version);
            assert!(text.contains("CONFIG, BGSAVE and SHUTDOWN"), "{text}");
            assert!(text.contains("script=sha1:") && text.contains("script=any"));
        }
        for version in ["5.0.0", "5.0.6", "7.0.15"] {
            assert!(!about(version).contains("SHUTDOWN"), "{version}");
        }
    }

    #[test]
    fn everything_that_differs_from_the_table_is_told() {
        let command = |name: &'static str, keys, categories: &[Category], channels| {
            let categories = Categories::of(categories);
            Command::new(name, -1, Flags::default(), categories, keys, channels)
        };
        let one = Keys::range(1, 1, 1, Access::READ);
        let facts = Facts {
            version: Version::new(7, 0, 15),
            mode: "standalone".to_owned(),
            role: "master".to_owned(),
            commands: Some(["get".into()].into()),
            renamed: vec!["config".into()],
            missing: vec!["debug".into(), "keys".into()],
            swapped: vec![Swapped {
                name: "set".into(),
                runs: "flushall".into(),
            }],
            learned: Learned {
                commands: vec![
                    command("ft.search", one, &[Category::Read], Channels::None),
                    command("x.new", Keys::Unknown, &[Category::Read], Channels::Unknown),
                    command("x.old", Keys::None, &[], Channels::None),
                ],
                skipped: vec![Skipped {
                    name: "a b".to_owned(),
                    reason: SkipReason::Malformed,
                }],
            },
            ..Facts::default()
        };
        assert_eq!(
            about(&facts, &ALL_TOLD),
            [
                "Redis 7.0.15 (standalone, master)",
                "runs 'flushall' for 'set' (its rename-command): what is judged is not what runs, so it \
                 isn't served. Rename 'flushall' to a name that no command has",
                "has renamed (rename-command); nobody can call them through respgate: config",
                "lacks, though its version should have them (disabled there, or not built in): debug, \
                 keys",
                "learned ft.search: keys 1..1",
                "learned x.new: keys unknown: refused to users without all keys; channels unknown: not \
                 supported",
                "learned x.old: no keys; in no category: only its name and @all cover it",
                "has 'a b', which is refused: the server describes it as no Redis does",
            ]
        );
        let silent = Gaps {
            version: Some("NOPERM no".to_owned()),
            commands: true,
        };
        let lines = about(&Facts::default(), &silent);
        assert!(lines[0].starts_with("tells its version neither to INFO nor to HELLO (NOPERM no)"));
        assert!(lines[1].starts_with("COMMAND can't be asked"));
    }
}
