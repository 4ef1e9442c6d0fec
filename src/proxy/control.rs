//! The control connection: what an upstream is, where its master is, and whether it is there.
//!
//! Finds the address to use, asks INFO (HELLO where that is refused), COMMAND and COMMAND INFO at start
//! and after every reconnect (a restarted server is another one), then PING, and ROLE where there are
//! several addresses. What that means for clients is [`super::health`]'s to say; they learn it of
//! [`super::availability`].

mod backoff;
mod inspect;
mod introduce;
mod ready;
mod survey;

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::config::ListenerKind;
use crate::resp::Reply;
use crate::session::{Facts, Swapped};

use super::health::{Health, State};
use super::service::{Service, Upstream};
use super::upstream::{Dialogue, UpstreamError, is_excuse, within};
use backoff::Backoff;
use introduce::{what_it_has, what_it_is};
use ready::{learn, warn_of_substitutes};

pub use inspect::{Inspection, ask, inspect};
pub use ready::Gaps;

/// Between two PINGs. The end of a connection is seen at once; this finds the upstream that hangs, and
/// the one whose role has changed.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Sessions may ask for a PING and a ROLE out of turn (they have met `-READONLY`), and scripts may make
/// them; no more often than this.
const DOUBT_EVERY: Duration = Duration::from_millis(100);

/// Between two looks at the addresses that are not in use: whether one of them says master, too.
const OTHERS_EVERY: Duration = Duration::from_secs(10);

/// COMMAND of a server with modules takes some milliseconds; a busy one (a slow script) may take
/// its time. Longer than that a new connection is tried.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One that is reached over several addresses may fail in as many ways, in turn.
const MOST_TOLD: usize = 4;

/// One upstream's watch.
struct Watch<'a> {
    service: &'a Service,
    /// Its number.
    index: usize,
    upstream: &'a Upstream,
    kind: ListenerKind,
    health: Health,
    backoff: Backoff,
    /// Why it isn't up.
    reason: Option<Arc<str>>,
    /// The reasons that were told since it was there: each is news once.
    told: Vec<String>,
}

/// Watches one upstream until the process ends.
pub(super) async fn watch(service: Arc<Service>, index: usize) {
    let mut watch = Watch {
        service: &service,
        index,
        upstream: &service.upstreams[index],
        kind: service.kind_of(index),
        health: Health::new(Instant::now().into_std()),
        backoff: Backoff::default(),
        reason: None,
        told: Vec::new(),
    };
    loop {
        watch.upstream.availability.try_now();
        match Box::pin(watch.attempt()).await {
            Ok((address, dialogue)) => {
                let (lived, error) = Box::pin(watch.attend(address, dialogue)).await;
                watch.lose(&error);
                // One look at once tells a restart from a death. Not for who lives but a moment.
                if lived {
                    watch.backoff.reset();
                    continue;
                }
            }
            Err(error) => watch.fail(&error),
        }
        watch.rest().await;
    }
}

// === impl Watch ===

impl Watch<'_> {
    /// Opens a control connection to the address to use, and makes that known.
    async fn attempt(&mut self) -> Result<(usize, Dialogue), UpstreamError> {
        let upstream = self.upstream;
        let connector = &upstream.connector;
        let in_use = upstream.availability.status().address;
        let found = survey::find(connector, in_use, self.kind);
        let (address, mut dialogue) = self.during(found).await?;
        let (facts, gaps) = self.introduce(&mut dialogue).await?;
        let name = upstream.name();
        tracing::info!(
            upstream = name,
            address = %connector.settings().addresses[address],
            version = %facts.version,
            mode = facts.mode,
            role = facts.role,
            commands = facts.commands.as_ref().map_or(0, std::collections::HashSet::len),
            "the upstream is ready"
        );
        gaps.warn(name);
        self.take_note(facts);
        self.put_in_use(Some(address));
        self.health.introduced(Instant::now().into_std());
        self.reason = None;
        self.told.clear();
        self.publish(true);
        Ok((address, dialogue))
    }

    /// Asks it what it is and what it has.
    async fn introduce(&mut self, dialogue: &mut Dialogue) -> Result<(Facts, Gaps), UpstreamError> {
        let connector = &self.upstream.connector;
        let identified = self.during(what_it_is(connector, dialogue)).await;
        let (mut facts, version) = identified?;
        self.health.stirred(Instant::now().into_std());
        self.publish(false);
        let rules = self.service.keeper.snapshot();
        let listed = what_it_has(dialogue, &mut facts, rules.table());
        let commands = self.during(listed).await?;
        self.refuse_others(&facts)?;
        Ok((facts, Gaps { version, commands }))
    }

    fn take_note(&self, facts: Facts) {
        let name = self.upstream.name();
        warn_of_substitutes(self.service, name, &facts);
        learn(self.service, name, &facts);
        self.upstream.facts.store(Some(Arc::new(facts)));
    }

    /// What stands there may not be what the rules were written for.
    fn refuse_others(&self, facts: &Facts) -> Result<(), UpstreamError> {
        let text = if let Some(Swapped { name, runs }) = facts.swapped.first() {
            // Redis would not run what was judged. It may have been in order before a restart.
            format!("it runs '{runs}' for '{name}' (its rename-command): not served")
        } else if !self.kind.is_mode(&facts.mode) {
            let (mode, kind) = (&facts.mode, self.kind.as_str());
            format!("its redis_mode is {mode}, and its listener's kind {kind}: not served")
        } else {
            return Ok(());
        };
        self.upstream.facts.store(None);
        Err(UpstreamError::Answer(text))
    }

    /// Asks PING until something is wrong. Returns what, and whether anything was answered before.
    async fn attend(&mut self, address: usize, mut dialogue: Dialogue) -> (bool, UpstreamError) {
        let mut lived = false;
        let others = watch_others(self.upstream, address, self.kind);
        let asking = async {
            // At once: who asks for readiness need not wait for the first round.
            if let Err(error) = self.ask(&mut dialogue).await {
                return error;
            }
            loop {
                if let Err(error) = self.ask_in_time(&mut dialogue).await {
                    return error;
                }
                lived = true;
            }
        };
        let error = tokio::select! {
            error = asking => error,
            never = others => match never {},
        };
        (lived, error)
    }

    /// Waits until it is time, and asks whether all is as it was.
    async fn ask_in_time(&mut self, dialogue: &mut Dialogue) -> Result<(), UpstreamError> {
        let availability = &self.upstream.availability;
        let last = Instant::now();
        tokio::select! {
            biased;
            error = dialogue.ended() => return Err(error),
            () = sleep(PING_EVERY) => {}
            () = availability.outgrown() => {
                let (facts, _) = self.introduce(dialogue).await?;
                self.take_note(facts);
            }
            () = availability.doubted() => {
                let upstream = self.upstream.name();
                tracing::debug!(upstream, "a session doubts the upstream: it is asked");
                sleep_until(last + DOUBT_EVERY).await;
            }
        }
        self.ask(dialogue).await
    }

    /// Asks whether all is as it was.
    async fn ask(&mut self, dialogue: &mut Dialogue) -> Result<(), UpstreamError> {
        let availability = &self.upstream.availability;
        let asked = Instant::now();
        self.health.asked(asked.into_std());
        let ping = within(ANSWER_WITHIN, "PING", dialogue.ask(&["PING"]));
        let answer = self.during(ping).await?;
        self.tell_answer(&answer, asked.elapsed());
        alive(&answer)?;
        availability.pinged(asked.elapsed());
        if self.upstream.connector.settings().addresses.len() > 1 {
            let role = within(ANSWER_WITHIN, "ROLE", survey::role_of(dialogue));
            if let Some(role) = self.during(role).await?
                && !survey::fits(Some(&role), self.kind)
            {
                return Err(UpstreamError::Demoted(role));
            }
        }
        self.hear();
        Ok(())
    }

    fn tell_answer(&self, answer: &Reply, took: Duration) {
        let excuse = match answer {
            Reply::Error(error) if is_excuse(error) => Some(&**error),
            _ => None,
        };
        self.service.metrics.answered(self.index, took, excuse);
    }

    /// Does something that may take its time, which is noticed meanwhile.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let deadline = self.health.deadline();
            let patience = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                output = &mut work => return output,
                () = patience => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        if !self.health.tick(Instant::now().into_std()) {
            return;
        }
        let upstream = self.upstream.name();
        self.reason
            .get_or_insert_with(|| "it doesn't answer".into());
        match self.health.state() {
            State::Down => tracing::warn!(
                upstream,
                "the upstream is silent: clients are turned away until it answers"
            ),
            state => tracing::debug!(upstream, state = state.label(), "no answer yet"),
        }
        self.publish(false);
    }

    fn hear(&mut self) {
        let before = self.health.state();
        self.health.heard(Instant::now().into_std());
        if self.health.state() != before {
            self.reason = None;
            self.publish(false);
        }
    }

    /// A control connection that was ready is of no use any more.
    fn lose(&mut self, error: &UpstreamError) {
        let upstream = self.upstream.name();
        tracing::warn!(upstream, %error, "the upstream is gone");
        self.service.metrics.lost(self.index, error);
        match error {
            // Nobody is served with a credential that has ceased to be good.
            UpstreamError::LoggedOut(_) => self.upstream.facts.store(None),
            UpstreamError::Demoted(_) => self.put_in_use(None),
            _ => {}
        }
        self.health.lost(Instant::now().into_std());
        self.reason = Some(error.to_string().into());
        self.publish(false);
    }

    /// An attempt has failed.
    fn fail(&mut self, error: &UpstreamError) {
        let upstream = self.upstream.name();
        self.service.metrics.lost(self.index, error);
        let reason = error.to_string();
        if self.told.len() < MOST_TOLD && !self.told.contains(&reason) {
            tracing::warn!(upstream, %error, "the upstream is not there");
            self.told.push(reason.clone());
        } else {
            tracing::debug!(upstream, %error, "still no upstream");
        }
        if matches!(error, UpstreamError::Nobody(nobody) if nobody.demoted) {
            self.put_in_use(None);
        }
        let now = Instant::now().into_std();
        if error.is_excuse() {
            self.health.heard(now);
        } else if error.is_silence() {
            self.health.unheard(now);
        } else {
            self.health.refused(now);
        }
        self.reason = Some(reason.into());
        self.publish(true);
    }

    /// Waits for the next attempt; less where somebody wants one.
    async fn rest(&mut self) {
        let availability = &self.upstream.availability;
        let wait = self.backoff.next();
        self.during(async {
            let begun = Instant::now();
            tokio::select! {
                () = sleep(wait) => {}
                () = availability.wanted() => {
                    sleep_until(begun + wait.min(Backoff::when_wanted())).await;
                }
            }
        })
        .await;
    }

    /// Makes an address the one in use. Connections to the one before are let go of.
    fn put_in_use(&self, address: Option<usize>) {
        if !self.upstream.availability.put_in_use(address) {
            return;
        }
        let upstream = self.upstream.name();
        let addresses = &self.upstream.connector.settings().addresses;
        match address.and_then(|index| addresses.get(index)) {
            Some(address) => tracing::warn!(upstream, %address, "another address is the master"),
            None => tracing::warn!(
                upstream,
                "the master is none any more: another is looked for"
            ),
        }
        // Sessions with connections of their own look up from their sockets.
        self.service.bell.ring();
    }

    /// `tried`: an attempt has ended.
    fn publish(&self, tried: bool) {
        let (state, since) = (self.health.state(), self.health.since());
        let reason = self.reason.clone();
        self.upstream
            .availability
            .publish(state, since, reason, tried);
    }
}

/// Looks, now and then, whether another address says that it is the master, too.
async fn watch_others(upstream: &Upstream, in_use: usize, kind: ListenerKind) -> Infallible {
    let connector = &upstream.connector;
    let addresses = &connector.settings().addresses;
    let mut told = Vec::new();
    // Of Sentinels several are as it should be.
    while addresses.len() > 1 && kind == ListenerKind::Redis {
        let mut masters = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            if index == in_use {
                continue;
            }
            match survey::role_at(connector, index).await {
                Ok(role) if role.as_deref() == Some("master") => masters.push(address.to_string()),
                Ok(_) => {}
                Err(error) => {
                    let upstream = upstream.name();
                    tracing::debug!(upstream, %address, %error, "another address is not there");
                }
            }
        }
        if !masters.is_empty() && masters != told {
            tracing::warn!(
                upstream = upstream.name(),
                in_use = %addresses[in_use],
                others = masters.join(", "),
                "two masters: writes go to the one in use; see that the others become its replicas"
            );
        }
        told = masters;
        sleep(OTHERS_EVERY).await;
    }
    pending().await
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
