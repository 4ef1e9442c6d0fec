//! The command table, and what a request touches: keys, channels.
//!
//! Knows what Redis' commands are; not who may run them.
