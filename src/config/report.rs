//! Collecting problems and warnings while the file is walked.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::problem::Problem;

/// Where problems are collected. Shared by all the walkers of one file, hence the cells.
pub(super) struct Report {
    file: PathBuf,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    /// The keys that were asked for, under their full names: what docs/configuration.md must have.
    #[cfg(test)]
    pub(super) asked: RefCell<std::collections::BTreeSet<String>>,
}

// === impl Report ===

impl Report {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// The problems and the warnings.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }

    /// The directory that relative paths start from.
    pub(super) fn base(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Notes a problem of a place that has no value, or none to show.
    pub(super) fn problem(&self, key: impl Into<String>, reason: impl Into<String>) {
        self.add(key.into(), String::new(), reason);
    }

    /// Notes a problem of a value of the file.
    pub(super) fn add(&self, key: String, value: String, reason: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            file: self.file.clone(),
            key,
            value,
            reason: reason.into(),
        });
    }

    /// Notes a problem of an environment variable.
    pub(super) fn add_variable(&self, name: &str, value: String, reason: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            file: PathBuf::from("environment"),
            key: name.to_owned(),
            value,
            reason: reason.into(),
        });
    }

    /// Notes what is odd and no reason not to start.
    pub(super) fn warning(&self, key: &str, value: &str, reason: impl Into<String>) {
        let warning = Problem {
            file: self.file.clone(),
            key: key.to_owned(),
            value: value.to_owned(),
            reason: reason.into(),
        };
        self.warnings.borrow_mut().push(warning);
    }
}
