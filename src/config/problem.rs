//! What is wrong with a configuration, told so that the operator finds the place.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// One thing that is wrong, or odd, in the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file; `environment` where an environment variable is at fault.
    pub file: PathBuf,
    /// The key with its tables, as `listener.main.bind[0]`, or the variable; empty where the file
    /// as a whole is meant.
    pub key: String,
    /// The value as it was found, never a secret; empty where there is none.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Everything that is wrong with a configuration; never empty. Displays one a line.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub struct Problems(pub Vec<Problem>);

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.key.is_empty() {
            // Keys and values are the file's own text: quoted, a line break in them makes no line.
            write!(f, "{}", self.key.escape_debug())?;
            if !self.value.is_empty() {
                write!(f, " = {:?}", self.value)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.reason)
    }
}

// === impl Problems ===

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
