//! The command table, and what a request touches: keys, channels.
//!
//! Knows what Redis' commands are; not who may run them, how they came here or where they go.
//!
//! # Layout
//!
//! - `table`: [`Table`], built at start from the generated data; [`Table::resolve`] names the
//!   command of a request.
//! - `keys`: [`touches`] visits the keys and channels of a request; `walk` follows key specs,
//!   `options` holds the hand-written parsers of those commands whose keys depend on their options.
//! - `databases`: which databases a request reaches; `gate`: what a command asks for besides a rule.
//! - `sharing`: which of them may follow those of other clients on one connection.
//! - `learn`: commands that the table lacks, from what a server says of them; `merge`: from what
//!   several say.
//! - `name`: [`NameIndex`], a perfect hash from names to small numbers.
//! - `category`, `flags`: the closed sets that Redis sorts its commands into; `class`: what metrics
//!   count by.
//! - `record`, `generated`: the static data. `generate.py NEWEST OLDER… > generated.rs` writes it from
//!   what the named redis-server binaries say.

mod category;
mod class;
mod databases;
mod flags;
mod gate;
mod generated;
mod keys;
mod learn;
mod merge;
mod name;
mod record;
mod sharing;
mod table;
#[cfg(test)]
mod tests;

pub use category::{Categories, Category};
pub use class::Class;
pub use databases::{Databases, UnreadableDatabase, database};
pub use flags::{Flag, Flags};
pub use gate::Gate;
pub use keys::{
    Access, Begin, Channels, Find, KeySpec, Keys, Need, Parser, Touch, Unreadable, touches,
};
pub use learn::{Learned, SkipReason, Skipped, learn};
pub use merge::merge;
pub use name::{MAX_NAME_LEN, NameError, NameIndex};
pub use sharing::Sharing;
pub use table::{Command, CommandId, MAX_COMMANDS, Resolved, Table, TableError};
