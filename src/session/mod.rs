//! One client's protocol state: what it may ask, what it is owed, who it is.
//!
//! Sans-io: bytes come in through [`Pipe`]s and leave through them; no socket, no clock, no log.
//! What a session needs beyond them, and what it tells the operator, goes through its [`Host`].
//!
//! - `state`: [`Session`], and how it begins and ends.
//! - `requests`, `replies`: the two directions.
//! - `conclude`: what becomes of requests that are not forwarded.
//! - `prepare`: a request judged, and its reply ready if it is not forwarded.
//! - `judge`: the verdict on one request; `shadow`: what goes on against it; `own`: what the proxy answers itself.
//! - `acl`: the ACL command family.
//! - `adopt`: new rules for a session that is at work.
//! - `slots`: the replies that are owed, in order.
//! - `known`: what they have told of the connection to the upstream; `pubsub`: its subscriptions.
//! - `replicate`: a client that is a replica; `silence`: one that doesn't want its replies.
//! - `mapping`: replies that name addresses.
//! - `shim`: what old upstreams lack, answered for them.
//! - `routing`: whose connection the next request goes to.
//! - `trunk`: a connection that many sessions use.
//! - `place`: the databases that the next request may run in.
//! - `scripts`: what is done so that Redis knows the scripts that the policy names.
//! - `login`, `hello`: who the client is; `throttle`: how often it may guess.
//! - `meter`: how much it may use of what it shares with others.
//! - `rules`: what all of it is judged by, one generation after the other.
//! - `host`: what is asked of the world outside; `errands`: what it takes its time for.
//! - `outcome`: the one place where a refusal becomes bytes, a label, a level.
//! - `tally`: what was allowed, counted.
//! - `facts`: what is known of the upstream.

mod acl;
mod adopt;
mod conclude;
mod errands;
mod explain;
mod facts;
mod hello;
mod host;
mod judge;
mod kind;
mod known;
mod login;
mod mapping;
mod meter;
mod outcome;
mod own;
mod pipe;
mod place;
mod prepare;
mod pubsub;
mod replicate;
mod replies;
mod requests;
mod route;
mod routing;
mod rules;
mod scripts;
mod shadow;
mod shim;
mod silence;
mod slots;
mod state;
mod tally;
mod throttle;
mod trunk;

pub use acl::{ChangeError, Errand, FilesError, MadeChange, UserChange};
pub use explain::{Foresight, Own, foresee};
pub use facts::{Facts, Swapped, Version};
pub use host::{Allowed, Host, Oversight, Refused};
pub use login::{Login, LoginError, Revoked};
pub use meter::Meter;
pub use outcome::{ConnectionRefusal, Refusal, Severity};
pub use pipe::Pipe;
pub use replies::Desync;
pub use routing::{Berth, Need};
pub use rules::{Rules, TeachError};
pub use state::Session;
pub use tally::Tally;
pub use throttle::{Throttle, network};
pub use trunk::{Load, Rider, Trunk};

#[cfg(test)]
mod tests;
