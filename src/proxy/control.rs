//! The control connection: what an upstream is, and whether it is there.
//!
//! Asks INFO, COMMAND and COMMAND INFO at start and after every reconnect (a restarted server is
//! another one), then PING. Until it has answered, clients are closed after the handshake.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::command::Table;
use crate::config;
use crate::resp::Reply;
use crate::session::{Facts, Swapped};

use super::service::Service;
use super::upstream::{Dialogue, UpstreamError, open, within};

/// Between two PINGs. A dead upstream is seen by its sessions at once; this finds the one that
/// comes back, and the one that hangs.
const PING_EVERY: Duration = Duration::from_secs(1);

/// COMMAND of a server with modules takes some milliseconds; a busy one (a slow script) may take
/// its time. Longer than that it serves nobody.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The wait between two attempts, doubling.
const RETRY_FROM: Duration = Duration::from_millis(100);
const RETRY_TO: Duration = Duration::from_secs(2);

/// What `check --upstream` wants to know.
#[derive(Debug)]
pub struct Inspection {
    /// What it said of itself.
    pub facts: Facts,
    /// Whether it runs commands for anybody who reaches it, without our credential.
    pub open: bool,
}

/// Watches one upstream until the process ends.
pub(super) async fn watch(service: Arc<Service>, index: usize) {
    let name = service.upstreams[index].settings.name.as_str();
    let mut wait = RETRY_FROM;
    let mut told = false;
    loop {
        match follow(&service, index).await {
            // It was there: what follows is news, and the next attempt comes soon.
            (true, error) => {
                tracing::warn!(upstream = name, %error, "the upstream is gone");
                (wait, told) = (RETRY_FROM, true);
            }
            (false, error) if !told => {
                tracing::warn!(upstream = name, %error, "the upstream is not there");
                told = true;
            }
            (false, error) => tracing::debug!(upstream = name, %error, "still no upstream"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_TO);
    }
}

/// One control connection, from connect to its end; and whether it was ever ready.
async fn follow(service: &Service, index: usize) -> (bool, UpstreamError) {
    let upstream = &service.upstreams[index];
    let rules = service.keeper.snapshot();
    let introduced = introduce(&upstream.settings, rules.table()).await;
    let (mut dialogue, facts) = match introduced {
        Ok(introduced) => introduced,
        Err(error) => return (false, error),
    };
    let name = &*upstream.settings.name;
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
    warn_of_gaps(service, name, &facts);
    learn(service, name, &facts);
    upstream.facts.store(Some(Arc::new(facts)));
    loop {
        sleep(PING_EVERY).await;
        if let Err(error) = within(ANSWER_WITHIN, dialogue.ask(&["PING"])).await {
            return (true, error);
        }
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

fn warn_of_gaps(service: &Service, upstream: &str, facts: &Facts) {
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

/// Connects, logs in, and asks what the upstream is and has.
async fn introduce(
    settings: &config::Upstream,
    table: &Table,
) -> Result<(Dialogue, Facts), UpstreamError> {
    let mut dialogue = open(settings).await?;
    let facts = within(ANSWER_WITHIN, async {
        // All sections in one answer: role and version come from different ones.
        let info = dialogue.ask(&["INFO"]).await?;
        let told = match &info {
            Reply::Bulk(info) => Facts::read(info),
            Reply::Error(error) if error.starts_with("NOAUTH") => {
                return Err(UpstreamError::NoCredential);
            }
            Reply::Error(error) => return Err(UpstreamError::Answer(format!("{error} (INFO)"))),
            _ => None,
        };
        let no_version = || UpstreamError::Answer("INFO tells no version".to_owned());
        let mut facts = told.ok_or_else(no_version)?;
        let listed = dialogue.ask(&["COMMAND"]).await?;
        let names = facts.take_commands(&listed, table);
        if !names.is_empty() {
            let mut request = vec!["COMMAND", "INFO"];
            request.extend(names.iter().map(String::as_str));
            let found = dialogue.ask(&request).await?;
            facts.take_names(&names, &found, &listed, table);
        }
        Ok(facts)
    })
    .await?;
    Ok((dialogue, facts))
}

/// Asks an upstream what it is, and what it has that `table` lacks.
///
/// # Errors
/// It can't be reached or refuses us.
pub async fn ask(settings: &config::Upstream, table: &Table) -> Result<Facts, UpstreamError> {
    Ok(introduce(settings, table).await?.1)
}

/// Asks an upstream what `check --upstream` reports.
///
/// # Errors
/// It can't be reached or refuses us.
pub async fn inspect(
    settings: &config::Upstream,
    table: &Table,
) -> Result<Inspection, UpstreamError> {
    let facts = ask(settings, table).await?;
    let mut anonymous = settings.clone();
    anonymous.password = None;
    anonymous.username = None;
    let mut dialogue = open(&anonymous).await?;
    let answer = within(ANSWER_WITHIN, dialogue.ask(&["PING"])).await?;
    Ok(Inspection {
        facts,
        open: matches!(answer, Reply::Status(_)),
    })
}
