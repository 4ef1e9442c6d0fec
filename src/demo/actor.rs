//! Somebody who plays in the tour, and what must come of what he does.

use std::io;

use crate::resp::Reply;

use super::client::{Client, shown, typed};
use super::scene::Scene;
use super::stage::Stage;
use super::{DemoError, failed};

/// What must come back.
pub(super) enum Expected<'a> {
    Ok,
    Queued,
    Bulk(&'a str),
    Integer(i64),
    Nil,
    /// An error that begins like this.
    Error(&'a str),
    /// A pair: what CONFIG GET answers.
    Pair(&'a str, &'a str),
    /// Strings and numbers: a message, a confirmation.
    Words(&'a [&'a str]),
}

/// Somebody with a connection.
pub(super) struct Actor<'a> {
    name: &'a str,
    client: Client,
}

pub(super) fn stdout(error: io::Error) -> DemoError {
    failed("stdout", error)
}

pub(super) fn broken(what: &str, expected: &str, got: &Reply) -> DemoError {
    broken_text(what, expected, shown(got).join(" "))
}

pub(super) fn broken_text(what: &str, expected: &str, got: String) -> DemoError {
    DemoError::Promise {
        what: what.to_owned(),
        expected: expected.to_owned(),
        got,
    }
}

// === impl Actor ===

impl<'a> Actor<'a> {
    /// Somebody with the connection that was tried.
    pub(super) fn new(name: &'a str, client: io::Result<Client>) -> Result<Self, DemoError> {
        let client = client.map_err(|error| failed(format!("connecting as {name}"), error))?;
        Ok(Self { name, client })
    }

    /// A user, by its certificate.
    pub(super) async fn enter(name: &'a str, scene: &Scene) -> Result<Self, DemoError> {
        let tls = scene.tls(Some(name))?;
        Self::new(name, Client::tls(&tls, scene.address(), None).await)
    }

    /// Asks without showing it.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Reply, DemoError> {
        let asked = self.client.ask(words).await;
        asked.map_err(|error| failed(format!("{}> {}", self.name, words[0]), error))
    }

    /// Asks, shows what comes back, and checks it.
    pub(super) async fn play(
        &mut self,
        stage: &mut Stage,
        words: &[&str],
        expected: Expected<'_>,
    ) -> Result<(), DemoError> {
        stage.sent(self.name, words).map_err(stdout)?;
        let reply = self.ask(words).await?;
        stage.reply(&reply).map_err(stdout)?;
        if expected.fits(&reply) {
            return Ok(());
        }
        let what = format!("{}> {}", self.name, typed(words));
        Err(broken(&what, &expected.to_string(), &reply))
    }

    /// Shows what comes unasked, and checks it.
    pub(super) async fn hear(
        &mut self,
        stage: &mut Stage,
        expected: Expected<'_>,
    ) -> Result<(), DemoError> {
        let heard = self.client.listen().await;
        let reply = heard.map_err(|error| failed(format!("{} listens", self.name), error))?;
        stage.act(&format!("{} hears", self.name)).map_err(stdout)?;
        stage.reply(&reply).map_err(stdout)?;
        match expected.fits(&reply) {
            true => Ok(()),
            false => Err(broken(self.name, &expected.to_string(), &reply)),
        }
    }

    /// Waits for the end of the connection; `Err`: something else came.
    pub(super) async fn hear_the_end(&mut self) -> Result<(), Reply> {
        match self.client.listen().await {
            Ok(reply) => Err(reply),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Reply::Null),
            Err(_) => Ok(()),
        }
    }
}

// === impl Expected ===

impl Expected<'_> {
    fn fits(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::Ok, Reply::Status(status)) => &status[..] == b"OK",
            (Self::Queued, Reply::Status(status)) => &status[..] == b"QUEUED",
            (Self::Bulk(text), Reply::Bulk(bytes)) => bytes[..] == *text.as_bytes(),
            (Self::Integer(number), Reply::Integer(got)) => number == got,
            (Self::Nil, Reply::Null) => true,
            (Self::Error(start), Reply::Error(text)) => text.starts_with(start),
            (Self::Pair(first, second), Reply::Array(items)) => match &items[..] {
                [Reply::Bulk(one), Reply::Bulk(other)] => {
                    one[..] == *first.as_bytes() && other[..] == *second.as_bytes()
                }
                _ => false,
            },
            (Self::Words(words), Reply::Array(items)) => {
                let word = |item: &Reply| match item {
                    Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Reply::Integer(number) => number.to_string(),
                    _ => String::new(),
                };
                items.iter().map(word).eq(words.iter().copied())
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Queued => f.write_str("QUEUED"),
            Self::Bulk(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "(integer) {number}"),
            Self::Nil => f.write_str("(nil)"),
            Self::Error(start) => write!(f, "(error) {start}…"),
            Self::Pair(first, second) => write!(f, "1) {first:?} 2) {second:?}"),
            Self::Words(words) => write!(f, "{words:?}"),
        }
    }
}
