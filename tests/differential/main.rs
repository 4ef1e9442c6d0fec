//! The same conversation with Redis 7.0.15, which has TLS itself, and with respgate in front of the
//! same Redis: every byte that a client reads must be the same, and so must the data be in the end.
//!
//! Conversations are made by chance: commands from the server's own COMMAND DOCS, damaged ones,
//! pipelines in any pieces, transactions, subscriptions, blocking commands, scripts, both protocols,
//! over one to three connections, and with upstream connections of both kinds: each client's own, and
//! shared ones; and with a policy that allows nothing and is only tried. `RESPGATE_SEED` and `RESPGATE_CONVERSATIONS` (how many, or `N..M`)
//! repeat a run; the seed is printed. What differs on purpose stands in `differences`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::panic, reason = "that is how a test fails")]
#![allow(clippy::print_stderr, reason = "the support of the scenarios does")]
#![allow(missing_docs, unreachable_pub, reason = "nothing imports a test")]

mod compare;
mod differences;
mod docs;
mod frame;
mod generate;
mod listeners;
mod mask;
mod play;
mod random;
mod scenes;
mod script;
mod sides;
#[allow(dead_code, unused_imports, reason = "the scenarios use the rest")]
#[path = "../scenarios/support/mod.rs"]
mod support;
mod wire;

use sides::{Mode, Policy, User};

/// May do everything, in Redis' eyes and, by `lethal=` and `script=`, in ours.
const ADMIN: User = User {
    name: "admin",
    rules: "~* &* +@all",
};

/// Each is narrow in another way. All may ECHO, PING and tell their ids, which the harness needs.
const NARROW: [User; 6] = [
    User {
        name: "cart",
        rules: "~a:* &a:* +@all -@dangerous -@scripting +client|id",
    },
    User {
        name: "search",
        rules: "%R~a:* ~b:* &* +@read +@write +@connection +@transaction +@pubsub +@blocking -@scripting",
    },
    User {
        name: "app_readonly",
        rules: "%R~* &a:* +@read +@connection +@pubsub -keys",
    },
    User {
        name: "app_writer",
        rules: "%W~* %R~a:* resetchannels +@write +@fast -@scripting -exec -set +echo +client|id",
    },
    User {
        name: "gateway",
        rules: "~a:s* &news +get +set +mget +mset +echo +ping +client|id +client|setname +config|get +@transaction +select +publish",
    },
    User {
        name: "nobody",
        rules: "~b:* +@all -@scripting -@write -@dangerous +client|id (+@write ~a:* &a:*) (+publish +subscribe &b:*)",
    },
];

#[test]
fn an_open_policy_is_redis_itself() {
    compare::run("open", &[ADMIN], Mode::Dedicated, Policy::Same, 850);
}

#[test]
fn a_narrow_policy_is_redis_acl() {
    compare::run("narrow", &narrow(), Mode::Dedicated, Policy::Same, 750);
}

#[test]
fn an_open_policy_is_redis_itself_where_clients_share_connections() {
    compare::run("open, shared", &[ADMIN], Mode::Shared, Policy::Same, 850);
}

#[test]
fn a_narrow_policy_is_redis_acl_where_clients_share_connections() {
    compare::run("narrow, shared", &narrow(), Mode::Shared, Policy::Same, 750);
}

#[test]
fn a_policy_that_is_only_tried_is_redis_itself() {
    compare::run("shadow", &[ADMIN], Mode::Dedicated, Policy::Shadow, 300);
}

#[test]
fn a_policy_that_is_only_tried_is_redis_itself_where_clients_share_connections() {
    compare::run(
        "shadow, shared",
        &[ADMIN],
        Mode::Shared,
        Policy::Shadow,
        300,
    );
}

fn narrow() -> Vec<User> {
    NARROW.into_iter().chain([ADMIN]).collect()
}
