//! The load generator of `make bench`: Redis clients over mutual TLS, or plain ones.
//!
//! redis-benchmark can't mix SET and GET, keep a rate, count handshakes or hold idle connections, and
//! over TLS it spends 40 ms on each large value, whoever serves it. This one does, from one thread: an
//! epoll loop over sockets and rustls, one write a batch and one read an event, so that on two cores
//! the servers have the larger part.
//!
//! ```text
//! load run        --port N [--seconds S] [--connections N] [--pipeline N] [--size BYTES] [--mix G:S]
//!                 [--window N] [--rate OPS] [--keys N] [--warmup S]
//! load idle       --port N [--connections N]       prints READY, and holds them until stdin ends
//! load handshakes --port N [--count N] [--rate N] [--resume]
//! load fill       --port N [--keys N] [--size BYTES]
//! all:            [--ca FILE --cert FILE --key FILE]    without them: no TLS
//! ```
//!
//! Each prints one line of JSON. Every reply is checked: a GET must bring nil or a value of the right
//! length, a SET `+OK`; what doesn't is an error, and errors are counted and the first is told.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "and what went wrong goes to its caller"
)]

mod epoll;
mod handshakes;
mod histogram;
mod idle;
mod link;
mod options;
mod replies;
mod requests;
mod run;

use std::process::ExitCode;

use options::{Mode, Options};

/// What ends the program.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` and `cargo bench` start it too, without a server to load.
    if arguments.iter().all(|argument| argument == "--bench") {
        println!("load: nothing is measured: make bench starts it where it has work");
        return ExitCode::SUCCESS;
    }
    match Options::parse(&arguments).and_then(|options| start(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<(), Failure> {
    match options.mode {
        Mode::Run => run::run(options),
        Mode::Idle => idle::idle(options),
        Mode::Handshakes => handshakes::handshakes(options),
        Mode::Fill => idle::fill(options),
    }
}
