//! RESP on the wire: requests in, replies back, both scanned flat and in place.
//!
//! Knows framing and nothing else: not what a command means, nor who may run it.
//!
//! A request that [`RequestScanner`] accepts is *canonical*: its bytes equal its re-encoding, so
//! the buffer it came in may be forwarded as it is and Redis reads exactly what was judged. All
//! other forms (inline commands) are re-encoded; what is neither is a [`ProtocolError`].

mod args;
mod decode;
mod encode;
mod error;
mod header;
mod inline;
mod limits;
mod reply;
mod request;
mod tail;

pub use args::{Args, OwnedArgs, Span};
pub use decode::{DecodeError, Reply, decode_reply, take_reply};
pub use encode::{encode_bulk, encode_header, encode_request};
pub use error::{ProtocolError, ReplyError};
pub use inline::split_inline;
pub use limits::Limits;
pub use reply::{ReplyKind, ReplyScanner, ReplyStep};
pub use request::{RequestScanner, Scan};
pub use tail::{Tail, TailStep};

#[cfg(test)]
mod tests;
