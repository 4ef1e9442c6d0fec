//! Scenarios: the real program between real clients and real Redis servers, one sentence a test.
//!
//! `make test` fetches the servers; a server that is missing fails the tests that need it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and its parts are documented where they surprise"
)]

mod acl_commands;
mod acl_files;
mod acl_log;
mod admin;
mod admission;
mod audit;
mod auth;
mod client_matrix;
mod clients;
mod cluster;
mod commandline;
mod contain;
mod databases;
mod deploy_examples;
mod egress;
mod failover;
mod framing;
mod harness;
mod identity;
mod large_values;
mod learn;
mod limits;
mod listeners;
mod live_policy;
mod metrics;
mod modes;
mod pipelines;
mod production_users;
mod proxy_protocol;
mod refusals;
mod reload;
mod replication;
mod reviewed;
mod rewrite;
mod scripts;
mod sentinel;
mod service_life;
mod shadow;
mod shared;
mod soak;
mod subscriptions;
mod support;
mod tls;
mod upstream;
mod upstream_errors;
mod upstream_tls;
