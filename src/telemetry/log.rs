//! The log: one line an event, to stderr.
//!
//! Written by a thread of its own: stderr is often a pipe, and one that nobody reads for a while must
//! not hold up the sessions.

use std::io::{self, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{self, LogLevel};

use super::lines::{self, Lines, Troubles, Writer};

/// The log at work. When it is dropped, what waits is still written, and nothing after it.
#[derive(Debug)]
pub struct Log {
    writer: Writer,
}

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
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let troubles = Troubles {
        dropped: if settings.json {
            dropped_json
        } else {
            dropped_text
        },
        // There is nowhere else to say it.
        failed: |_| {},
    };
    let writer = lines::start("log", Box::new(io::stderr()), troubles)?;
    let lines = writer.lines().clone();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || Put(lines.clone()))
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    let _ = if settings.json {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
    Ok(Log { writer })
}

fn dropped_text(count: u64) -> String {
    format!("{}  WARN log lines were dropped count={count}\n", now())
}

fn dropped_json(count: u64) -> String {
    let now = now();
    format!(
        "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"fields\":{{\"message\":\"log lines were \
         dropped\",\"count\":{count}}}}}\n"
    )
}

fn now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}

// === impl Log ===

impl Log {
    /// Who asks it later how much was lost.
    pub fn losses(&self) -> LogLosses {
        LogLosses(self.writer.lines().clone())
    }
}

// === impl LogLosses ===

impl LogLosses {
    /// Lines that were dropped since the start, because nobody took them in time.
    pub fn count(&self) -> u64 {
        self.0.counts().1
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
