//! The control connection: what an upstream is, and whether it is there.
//!
//! Asks INFO (HELLO where that is refused), COMMAND and COMMAND INFO at start and after every
//! reconnect (a restarted server is another one), then PING. Until it has answered, clients are
//! closed after the handshake.

mod introduce;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::command::Table;
use crate::resp::Reply;
use crate::session::{Facts, Swapped};

use super::service::Service;
use super::upstream::{Connector, UpstreamError, is_excuse, within};
use introduce::introduce;

/// Between two PINGs. A dead upstream is seen by its sessions at once; this finds the one that
/// comes back, and the one that hangs.
const PING_EVERY: Duration = Duration::from_secs(1);

/// COMMAND of a server with modules takes some milliseconds; a busy one (a slow script) may take
/// its time. Longer than that it serves nobody.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The wait between two attempts, doubling.
const RETRY_FROM: Duration = Duration::from_millis(100);
const RETRY_TO: Duration = Duration::from_secs(2);

/// One that is reached over several addresses may fail in as many ways, in turn.
const MOST_TOLD: usize = 4;

/// What `check --upstream` wants to know.
#[derive(Debug)]
pub struct Inspection {
    /// What it said of itself.
    pub facts: Facts,
    /// What it didn't say.
    pub gaps: Gaps,
    /// Whether it runs commands for anybody who reaches it, without our credential.
    pub open: bool,
}

/// What an upstream keeps from us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gaps {
    /// Its version; and its refusal of INFO.
    pub version: Option<String>,
    /// Its commands.
    pub commands: bool,
}

/// Watches one upstream until the process ends.
pub(super) async fn watch(service: Arc<Service>, index: usize) {
    let name = service.upstreams[index].name();
    let mut wait = RETRY_FROM;
    // The reasons that were told since it was there: each is news once.
    let mut told: Vec<String> = Vec::new();
    loop {
        let followed = follow(&service, index).await;
        service.metrics.lost(index, &followed.1);
        match followed {
            // It was there: what follows is news, and the next attempt comes soon.
            (true, error) => {
                tracing::warn!(upstream = name, %error, "the upstream is gone");
                wait = RETRY_FROM;
                told.clear();
            }
            (false, error) => {
                let reason = error.to_string();
                if told.len() < MOST_TOLD && !told.contains(&reason) {
                    tracing::warn!(upstream = name, %error, "the upstream is not there");
                    told.push(reason);
                } else {
                    tracing::debug!(upstream = name, %error, "still no upstream");
                }
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_TO);
    }
}

/// One control connection, from connect to its end; and whether it was ever ready.
async fn follow(service: &Service, index: usize) -> (bool, UpstreamError) {
    let upstream = &service.upstreams[index];
    let rules = service.keeper.snapshot();
    let introduced = introduce(&upstream.connector, rules.table()).await;
    let (mut dialogue, facts, gaps) = match introduced {
        Ok(introduced) => introduced,
        Err(error) => return (false, error),
    };
    let name = upstream.name();
    if let Some(Swapped { name, runs }) = facts.swapped.first() {
        // Redis would not run what was judged. It may have been in order before a restart.
        upstream.facts.store(None);
        let text = format!("it runs '{runs}' for '{name}' (its rename-command): not served");
        return (false, UpstreamError::Answer(text));
    }
    let kind = service.kind_of(index);
    if !kind.is_mode(&facts.mode) {
        // What stands there isn't what the rules were written for.
        upstream.facts.store(None);
        let (mode, kind) = (&facts.mode, kind.as_str());
        let text = format!("its redis_mode is {mode}, and its listener's kind {kind}: not served");
        return (false, UpstreamError::Answer(text));
    }
    tracing::info!(
        upstream = name,
        version = %facts.version,
        mode = facts.mode,
        role = facts.role,
        commands = facts.commands.as_ref().map_or(0, std::collections::HashSet::len),
        "the upstream is ready"
    );
    gaps.warn(name);
    warn_of_substitutes(service, name, &facts);
    learn(service, name, &facts);
    upstream.facts.store(Some(Arc::new(facts)));
    loop {
        let asked = Instant::now();
        let answer = within(ANSWER_WITHIN, "PING", dialogue.ask(&["PING"])).await;
        if let Ok(answer) = &answer {
            let excuse = match answer {
                Reply::Error(error) if is_excuse(error) => Some(&**error),
                _ => None,
            };
            service.metrics.answered(index, asked.elapsed(), excuse);
        }
        if let Err(error) = answer.and_then(|answer| alive(&answer)) {
            if matches!(error, UpstreamError::LoggedOut(_)) {
                upstream.facts.store(None);
            }
            return (true, error);
        }
        sleep(PING_EVERY).await;
    }
}

/// Learns what the upstream has and the table lacks. Where that fails, it is refused as unknown.
fn learn(service: &Service, upstream: &str, facts: &Facts) {
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

fn warn_of_substitutes(service: &Service, upstream: &str, facts: &Facts) {
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
    fn warn(&self, upstream: &str) {
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

/// Whether an answer to PING means that the upstream serves. Any answer does, errors too: one that
/// loads, or whose master is gone, says so to clients as well, and a policy may refuse us PING.
fn alive(answer: &Reply) -> Result<(), UpstreamError> {
    match answer {
        // Our credential has ceased to be good; no client is served with it.
        Reply::Error(error) if error.starts_with("NOAUTH") => {
            Err(UpstreamError::LoggedOut(error.clone()))
        }
        _ => Ok(()),
    }
}

/// Asks an upstream what it is, and what it has that `table` lacks.
///
/// # Errors
/// It can't be reached or refuses us.
pub async fn ask(connector: &Connector, table: &Table) -> Result<Facts, UpstreamError> {
    Ok(introduce(connector, table).await?.1)
}

/// Asks an upstream what `check --upstream` reports.
///
/// # Errors
/// It can't be reached or refuses us.
pub async fn inspect(connector: &Connector, table: &Table) -> Result<Inspection, UpstreamError> {
    let (_, facts, gaps) = introduce(connector, table).await?;
    Ok(Inspection {
        facts,
        gaps,
        open: is_open(connector).await?,
    })
}

/// Whether the upstream runs commands for anybody who reaches it: without our password, and without
/// our certificate.
async fn is_open(connector: &Connector) -> Result<bool, UpstreamError> {
    let mut anonymous = connector.settings().clone();
    anonymous.password = None;
    anonymous.password_file = None;
    anonymous.username = None;
    if let Some(tls) = &mut anonymous.tls {
        tls.identity = None;
    }
    let anonymous = Connector::load(anonymous).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        UpstreamError::Tls(problems.join("; "))
    })?;
    let asked = async {
        let mut dialogue = anonymous.open().await?;
        within(ANSWER_WITHIN, "PING", dialogue.ask(&["PING"])).await
    };
    match asked.await {
        Ok(answer) => Ok(matches!(answer, Reply::Status(_))),
        // It was there a moment ago: now it wants a certificate, and may say so in any way.
        Err(_) if connector.settings().tls.is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_answer_but_noauth_is_alive() {
        for text in ["LOADING x", "MASTERDOWN x", "NOPERM x", "ERR x"] {
            assert!(alive(&Reply::Error(text.to_owned())).is_ok(), "{text}");
        }
        assert!(alive(&Reply::Status("PONG".into())).is_ok());
        let lost = Reply::Error("NOAUTH Authentication required.".to_owned());
        assert!(matches!(alive(&lost), Err(UpstreamError::LoggedOut(_))));
    }
}
