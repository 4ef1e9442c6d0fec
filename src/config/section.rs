//! Walking the raw tables: every key is asked for by name, and what nobody asked for is unknown.
//!
//! Knows types and places, not what any key means. A problem is noted and the walk goes on, so that
//! the operator sees all of them at once.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::parse;
use super::raw::{Raw, Table};
use super::report::Report;

/// A table whose keys are being read.
pub(super) struct Section<'a> {
    pub(super) report: &'a Report,
    path: String,
    /// What nobody asked for yet.
    rest: Table,
    /// What has been asked for, there or not.
    known: Vec<&'static str>,
}

/// A value and its place.
pub(super) struct Entry<'a> {
    report: &'a Report,
    pub(super) key: String,
    pub(super) raw: Raw,
}

// === impl Section ===

impl<'a> Section<'a> {
    /// The file itself, or a table of it under its full name.
    pub(super) fn new(report: &'a Report, path: impl Into<String>, table: Table) -> Self {
        Self {
            report,
            path: path.into(),
            rest: table,
            known: Vec::new(),
        }
    }

    /// The full name of one of its keys.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Goes on under a better name, once it is known.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// The value of a key, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        let raw = self.rest.remove(key)?;
        Some(Entry {
            report: self.report,
            key: self.key(key),
            raw,
        })
    }

    /// All that nobody asked for yet: for tables whose keys are the operator's own.
    pub(super) fn take_rest(&mut self) -> Vec<Entry<'a>> {
        std::mem::take(&mut self.rest)
            .into_iter()
            .map(|(key, raw)| Entry {
                report: self.report,
                key: self.key(&key),
                raw,
            })
            .collect()
    }

    /// Names the operator's own keys, without taking them.
    pub(super) fn names(&self) -> Vec<String> {
        self.rest.keys().cloned().collect()
    }

    /// Notes that a key must be given.
    pub(super) fn missing(&self, key: &str, reason: &str) {
        self.report.problem(self.key(key), reason);
    }

    /// A text that may be empty.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.take(key).filter(|entry| entry.text().is_some())
    }

    /// A text that must be there, and say something.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<Entry<'a>> {
        match self.take(key) {
            None => {
                self.missing(key, "is required");
                None
            }
            Some(entry) if entry.text()?.is_empty() => {
                entry.problem("must not be empty");
                None
            }
            Some(entry) => Some(entry),
        }
    }

    /// A path, relative to the file; `None` where it is missing or empty.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let entry = self.text(key)?;
        let text = entry.text().filter(|text| !text.is_empty())?;
        Some(self.report.base().join(text))
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        Some(self.flag(key)?.1)
    }

    /// The same with its place.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<(Entry<'a>, bool)> {
        let entry = self.take(key)?;
        let value = match &entry.raw {
            Raw::Boolean(value) => Some(*value),
            Raw::Variable { text, .. } if text == "true" => Some(true),
            Raw::Variable { text, .. } if text == "false" => Some(false),
            _ => None,
        };
        if value.is_none() {
            entry.problem("must be true or false");
        }
        Some((entry, value?))
    }

    /// An integer within `range`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(entry) = self.take(key) else {
            return default;
        };
        let value = match &entry.raw {
            Raw::Integer(value) => u32::try_from(*value).ok(),
            Raw::Variable { text, .. } => {
                parse::integer(text).and_then(|value| u32::try_from(value).ok())
            }
            _ => None,
        };
        match value.filter(|value| range.contains(value)) {
            Some(value) => value,
            None => {
                let (low, high) = range.into_inner();
                entry.problem(format!("must be an integer from {low} to {high}"));
                default
            }
        }
    }

    /// An integer that may be negative, of 16 bits.
    pub(super) fn signed(&mut self, key: &'static str) -> Option<i16> {
        let entry = self.take(key)?;
        let value = match &entry.raw {
            Raw::Integer(value) => i16::try_from(*value).ok(),
            _ => None,
        };
        if value.is_none() {
            entry.problem("must be an integer from -32768 to 32767");
        }
        value
    }

    /// A duration, not zero.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let Some((entry, duration)) = self.any_duration(key) else {
            return default;
        };
        if duration.is_zero() {
            entry.problem("must be longer than \"0s\"");
        }
        duration
    }

    /// A duration that zero turns off.
    pub(super) fn duration_or_never(
        &mut self,
        key: &'static str,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let Some((_, duration)) = self.any_duration(key) else {
            return default;
        };
        Some(duration).filter(|duration| !duration.is_zero())
    }

    /// A size within `range`; `form` is the range as the operator would write it.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        form: &str,
        default: u64,
    ) -> u64 {
        let Some(entry) = self.take(key) else {
            return default;
        };
        let size = match &entry.raw {
            Raw::Integer(bytes) => u64::try_from(*bytes).map_err(|_| "must not be negative".into()),
            _ => match entry.raw.as_text() {
                Some(text) => parse::size(text),
                None => Err("must be a size such as \"64MB\", or bytes".to_owned()),
            },
        };
        match size {
            Ok(size) if range.contains(&size) => return size,
            Ok(_) => entry.problem(format!("must be from {form}")),
            Err(reason) => entry.problem(reason),
        }
        default
    }

    /// One of a few words. `None` also where it is none of them, which is then noted.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<(Entry<'a>, T)> {
        let entry = self.take(key)?;
        let choice = entry.choice(choices)?;
        Some((entry, choice))
    }

    /// The entries of a list; `None` where there is no such key.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<Entry<'a>>> {
        self.take(key)?.into_items()
    }

    /// A table; an empty one where there is no such key, or something else under it.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'a> {
        let path = self.key(key);
        let table = self.take(key).and_then(Entry::into_table);
        table.unwrap_or_else(|| Section::new(self.report, path, Table::new()))
    }

    /// The entries of a list that must be there, and have some; `reason` says why.
    pub(super) fn required_list(&mut self, key: &'static str, reason: &str) -> Vec<Entry<'a>> {
        match self.take(key).filter(|entry| !entry.raw.is_empty()) {
            Some(entry) => entry.into_items().unwrap_or_default(),
            None => {
                self.missing(key, reason);
                Vec::new()
            }
        }
    }

    /// The tables of `[[key]]`, named by their place; there must be some, and `reason` says why.
    pub(super) fn required_tables(&mut self, key: &'static str, reason: &str) -> Vec<Section<'a>> {
        let entries = self.required_list(key, reason);
        entries.into_iter().filter_map(Entry::into_table).collect()
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self) {
        #[cfg(test)]
        {
            let known = self.known.iter().map(|key| self.key(key));
            self.report.asked.borrow_mut().extend(known);
        }
        for (key, raw) in &self.rest {
            let reason = match parse::nearest(key, self.known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {near:?}?"),
                None => "unknown key".to_owned(),
            };
            // Not its value: an unknown key may well be a password.
            match raw.variable() {
                Some(name) => self.report.add_variable(name, String::new(), reason),
                None => self.report.problem(self.key(key), reason),
            }
        }
    }

    fn any_duration(&mut self, key: &'static str) -> Option<(Entry<'a>, Duration)> {
        let entry = self.take(key)?;
        // A number alone is the usual slip: the unit is what is missing.
        let Some(text) = entry.raw.as_text() else {
            entry.problem(parse::NO_DURATION);
            return None;
        };
        match parse::duration(text) {
            Ok(duration) => Some((entry, duration)),
            Err(reason) => {
                entry.problem(reason);
                None
            }
        }
    }
}

// === impl Entry ===

impl<'a> Entry<'a> {
    /// Notes a problem with this value.
    pub(super) fn problem(&self, reason: impl Into<String>) {
        match (&self.raw, self.raw.variable()) {
            // A table that variables made is not what the variable holds.
            (Raw::Table(_), Some(name)) => self.report.add_variable(name, String::new(), reason),
            (raw, Some(name)) => self.report.add_variable(name, raw.to_string(), reason),
            (raw, None) => self.report.add(self.key.clone(), raw.to_string(), reason),
        }
    }

    /// Notes a problem with this value, which may hold a secret.
    pub(super) fn secret_problem(&self, reason: impl Into<String>) {
        match self.raw.variable() {
            Some(name) => self.report.add_variable(name, String::new(), reason),
            None => self.report.problem(self.key.clone(), reason),
        }
    }

    /// The text; anything else is noted.
    pub(super) fn text(&self) -> Option<&str> {
        let text = self.raw.as_text();
        if text.is_none() {
            self.problem("must be a string");
        }
        text
    }

    /// The integer, where it is one.
    pub(super) fn integer(&self) -> Option<i64> {
        match &self.raw {
            Raw::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The text through a parser, whose error is noted.
    pub(super) fn parsed<T>(&self, parser: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parser(self.text()?)
            .map_err(|reason| self.problem(reason))
            .ok()
    }

    /// The choice that the text stands for; any other text is noted.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let words: Vec<_> = choices
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect();
        self.problem(format!("must be one of {}", words.join(", ")));
        None
    }

    /// The entries of a list; anything else is noted.
    pub(super) fn into_items(self) -> Option<Vec<Entry<'a>>> {
        let Raw::List(items) = self.raw else {
            self.problem("must be a list: [ … ]");
            return None;
        };
        let entries = items.into_iter().enumerate().map(|(index, raw)| Entry {
            report: self.report,
            key: format!("{}[{index}]", self.key),
            raw,
        });
        Some(entries.collect())
    }

    /// The entries of a list that must have some, or a text that stands alone.
    pub(super) fn into_one_or_many(self) -> Vec<Entry<'a>> {
        if self.raw.as_text().is_some() {
            return vec![self];
        }
        if self.raw == Raw::List(Vec::new()) {
            self.problem("must not be empty: nothing could match it");
            return Vec::new();
        }
        if !matches!(self.raw, Raw::List(_)) {
            self.problem("must be a string or a list of strings");
            return Vec::new();
        }
        self.into_items().unwrap_or_default()
    }

    /// The entries of a list, or a text that stands alone; what a variable holds is a list between
    /// commas.
    pub(super) fn into_listed(self) -> Vec<Entry<'a>> {
        let Raw::Variable { name, text } = &self.raw else {
            return self.into_one_or_many();
        };
        let items = text.split(',').map(|item| Entry {
            report: self.report,
            key: self.key.clone(),
            raw: Raw::Variable {
                name: name.clone(),
                text: item.trim().to_owned(),
            },
        });
        items.collect()
    }

    /// The table; anything else is noted.
    pub(super) fn into_table(self) -> Option<Section<'a>> {
        let Raw::Table(table) = self.raw else {
            self.problem("must be a table");
            return None;
        };
        Some(Section::new(self.report, self.key, table))
    }
}
