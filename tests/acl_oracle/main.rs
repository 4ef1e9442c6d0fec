//! Redis' ACL beside ours: what Redis 8 and 7 decide, take, print and refuse, on users, requests and
//! rules by chance.
//!
//! Runs where `RESPGATE_TEST_REDIS_7` and `RESPGATE_TEST_REDIS_8` name a redis-server, as `make test`
//! has it. Differences that are meant stand in docs/policy.md; any other one fails. A failure prints its
//! seed, and `RESPGATE_TEST_SEED` repeats it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::panic, reason = "that is how a test fails")]
#![allow(unreachable_pub, reason = "nothing imports a test")]

mod catalogue;
mod changes;
mod decisions;
mod differences;
mod random;
mod requests;
mod server;
mod shapes;
mod users;
mod words;

#[test]
fn the_decisions_of_redis_8_are_ours() {
    decisions::compare("RESPGATE_TEST_REDIS_8", "8.2.3");
}

#[test]
fn the_decisions_of_redis_7_are_ours() {
    decisions::compare("RESPGATE_TEST_REDIS_7", "7.0.15");
}

#[test]
fn redis_8_takes_refuses_and_prints_the_same_rules() {
    changes::compare("RESPGATE_TEST_REDIS_8", "8.2.3");
}

#[test]
fn redis_7_takes_and_refuses_the_same_rules() {
    changes::compare("RESPGATE_TEST_REDIS_7", "7.0.15");
}

#[test]
fn the_categories_of_redis_8_are_ours() {
    catalogue::compare("RESPGATE_TEST_REDIS_8");
}
