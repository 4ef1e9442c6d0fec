//! One client's protocol state: what it may ask, what it is owed, who it is.
//!
//! Sans-io: bytes come in through [`Pipe`]s and leave through them; no socket, no clock, no log.
//! What must be told to the operator goes to a [`Witness`].
//!
//! - `state`: [`Session`], and how it begins and ends.
//! - `requests`, `replies`: the two directions.
//! - `judge`: the verdict on one request; `own`: what the proxy answers itself.
//! - `slots`: the replies that are owed, in order.
//! - `login`, `hello`: who the client is.
//! - `outcome`: the one place where a refusal becomes bytes, a label, a level.
//! - `facts`: what is known of the upstream.

mod explain;
mod facts;
mod hello;
mod judge;
mod kind;
mod login;
mod outcome;
mod own;
mod pipe;
mod replies;
mod requests;
mod rules;
mod slots;
mod state;

pub use explain::{Foresight, foresee};
pub use facts::{Facts, Swapped, Version};
pub use login::{Login, LoginError};
pub use outcome::{ConnectionRefusal, Refusal, Severity};
pub use pipe::Pipe;
pub use replies::Desync;
pub use requests::{Refused, Witness};
pub use rules::Rules;
pub use state::Session;

#[cfg(test)]
mod tests;
