//! respgate: a TLS-terminating, authenticating Redis proxy that judges every command.
//!
//! # Layout
//!
//! The core is sans-io: bytes and time go in, values come out. Tests and benches drive it without a
//! socket.
//!
//! - [`resp`]: request scanner, reply scanner, encoder, limits.
//! - [`command`]: the command table and what a request touches (keys, channels).
//! - [`identity`]: what a verified certificate says, and which user it stands for.
//! - [`policy`]: ACL files compiled to users; `decide`.
//! - [`rewrite`]: rename and substitute.
//! - [`session`]: one client's protocol state: owed replies, MULTI, AUTH.
//!
//! Around it stand thin shells: [`config`], [`telemetry`], [`tls`], [`net`], [`proxy`], [`admin`], and
//! [`app`] and [`cli`] which put them together. Imports run one way; `tests/architecture.rs` holds the table.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod command;
pub mod config;
pub mod demo;
#[cfg(test)]
mod fixtures;
pub mod identity;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod resp;
pub mod rewrite;
pub mod session;
pub mod telemetry;
pub mod tls;
