//! The log: one line an event, to stderr.

use tracing_subscriber::filter::LevelFilter;

use crate::config::{Log, LogLevel};

/// Starts the log for the whole process. Called once; a second call changes nothing.
pub fn start_log(settings: &Log) {
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let _ = if settings.json {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
}
