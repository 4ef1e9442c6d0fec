//! The operator's TOML file, read once into checked values.
//!
//! Only this module names the `config` crate. Knows what may be written in the file; opens no
//! socket, parses no certificate and no ACL file, and doesn't know which commands there are, only what
//! can be said of one.
//!
//! - [`load()`] reads the file (`raw`), lays the environment over it (`environment`) and validates
//!   section by section, collecting every problem on the way.
//! - `audit`: `[audit]`; `commands`: what `policy.extra_commands` declares; `limits`: `[limits]` with its
//!   tables.
//! - `section` walks the tables; `parse` knows the spelling of single values.

mod admin;
mod audit;
mod commands;
mod environment;
mod identity;
mod limits;
mod listener;
mod load;
mod parse;
mod problem;
mod raw;
mod report;
mod runtime;
mod section;
mod settings;
#[cfg(test)]
mod tests;
mod types;
mod upstream;

pub use environment::environment;
pub use load::{LoadError, Loaded, load};
pub use problem::{Problem, Problems};
pub use types::*;
