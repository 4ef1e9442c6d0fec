//! The log: one line an event, to stderr.
//!
//! Written by a thread of its own: stderr is often a pipe, and one that nobody reads for a while must
//! not hold up the sessions.

use std::io::{self, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{self, LogLevel};

use super::lines::{self, Lines, Troubles, Writer};
use super::sink::Stream;

/// The log at work. When it is dropped, what waits is still written, and nothing after it.
#[derive(Debug)]
pub struct Log {
    writer: Writer,
    level: LogLevelHandle,
}

/// Changes the level of a log that is at work.
#[derive(Clone, Debug)]
pub struct LogLevelHandle(reload::Handle<LevelFilter, Registry>);

/// What of the log nobody took. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogLosses(Lines);

/// One event on its way: it comes in one piece.
struct Put(Lines);

/// Starts the log for the whole process. Called once; a second call changes nothing.
///
/// # Errors
/// The system has no thread left.
pub fn start_log(settings: &config::Log) -> io::Result<Log> {
    // Each place in the code remembers whether its lines are wanted, until the level changes.
    let (filter, level) = reload::Layer::new(filter(settings.level));
    let troubles = Troubles {
        dropped: if settings.json {
            dropped_json
        } else {
            dropped_text
        },
        // There is nowhere else to say it.
        failed: |_| {},
        recovered: || {},
        reopened: |_| {},
    };
    let stderr = Stream::inherited(&io::stderr())?;
    let writer = lines::start("log", Box::new(stderr), troubles)?;
    let lines = writer.lines().clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || Put(lines.clone()))
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    let registry = tracing_subscriber::registry().with(filter);
    let _ = if settings.json {
        registry.with(layer.json()).try_init()
    } else {
        registry.with(layer.with_target(false)).try_init()
    };
    Ok(Log {
        writer,
        level: LogLevelHandle(level),
    })
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

fn dropped_text(count: u64) -> Vec<u8> {
    format!("{}  WARN log lines were dropped count={count}\n", now()).into_bytes()
}

fn dropped_json(count: u64) -> Vec<u8> {
    let now = now();
    let line = format!(
        "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"fields\":{{\"message\":\"log lines were \
         dropped\",\"count\":{count}}}}}\n"
    );
    line.into_bytes()
}

fn now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}

// === impl Log ===

impl Log {
    /// To change its level.
    pub fn level(&self) -> LogLevelHandle {
        self.level.clone()
    }

    /// Who asks it later how much was lost.
    pub fn losses(&self) -> LogLosses {
        LogLosses(self.writer.lines().clone())
    }
}

// === impl LogLevelHandle ===

impl LogLevelHandle {
    /// Lines of this level and of graver ones are written from now on.
    pub fn set(&self, level: LogLevel) {
        // Fails when there is no log any more.
        let _ = self.0.reload(filter(level));
    }
}

// === impl LogLosses ===

impl LogLosses {
    /// Lines that were dropped since the start, because nobody took them in time.
    pub fn count(&self) -> u64 {
        self.0.counts().dropped
    }
}

// === impl Put ===

impl Write for Put {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
