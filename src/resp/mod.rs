//! RESP on the wire: requests in, replies back, both scanned flat and in place.
//!
//! Knows framing and nothing else: not what a command means, nor who may run it.

mod args;

pub use args::{Args, OwnedArgs, Span};
