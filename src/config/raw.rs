//! The file as it is written, before anything is checked.
//!
//! Knows TOML (through the `config` crate) and no key. Every value keeps the type that the file
//! gave it: the crate would make a boolean of "yes" and an integer of 3.7, and we want neither.

use std::collections::BTreeMap;
use std::fmt;

use config::{ConfigError, FileFormat, Source};
use serde::Deserialize;

/// A table of the file.
pub(super) type Table = BTreeMap<String, Raw>;

/// A value, with the type that it was written in.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub(super) enum Raw {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Raw>),
    Table(Table),
    /// From the environment: a text in which a number or a boolean may stand.
    #[serde(skip)]
    Variable {
        name: String,
        text: String,
    },
}

/// Parses the text of a configuration file; an error is one line, with the place if it has one.
pub(super) fn parse(text: &str) -> Result<Table, String> {
    // `collect` and not the crate's builder: that one takes a top-level key apart at its dots, so
    // that `"limits.max_args" = 1` would reach a section which the file doesn't have.
    let read = || {
        let table = config::File::from_str(text, FileFormat::Toml).collect()?;
        config::Value::from(table).try_deserialize()
    };
    read().map_err(|error| {
        let text = match &error {
            ConfigError::FileParse { cause, .. } => cause.to_string(),
            other => other.to_string(),
        };
        // The lines between are a picture of the file: it may show what must not be in a log.
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        match (lines.next(), lines.next_back()) {
            (Some(first), Some(last)) => format!("{first}: {last}"),
            (Some(only), None) => format!("no valid TOML: {only}"),
            (None, _) => "no valid TOML".to_owned(),
        }
    })
}

// === impl Raw ===

impl Raw {
    /// The text, where it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Variable { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The environment variable that it comes from: of a table, one that made it.
    pub(super) fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable { name, .. } => Some(name),
            Self::Table(table) => {
                let all = || table.values().map(Self::variable);
                all()
                    .next()
                    .flatten()
                    .filter(|_| all().all(|one| one.is_some()))
            }
            _ => None,
        }
    }

    /// Whether it says nothing: `[]`, `{}` or `""`.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) | Self::Variable { text, .. } => text.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Table(table) => table.is_empty(),
            Self::Boolean(_) | Self::Integer(_) | Self::Float(_) => false,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            // Its `Debug` keeps the ".0" by which it is a float.
            Self::Float(value) => fmt::Debug::fmt(value, f),
            Self::Text(text) | Self::Variable { text, .. } => f.write_str(text),
            Self::List(_) => f.write_str("[…]"),
            Self::Table(_) => f.write_str("{…}"),
        }
    }
}
