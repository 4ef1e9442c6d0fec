//! Clients that are crates: their checks run here.

use super::Seen;

/// Why a check didn't pass, where it didn't panic.
#[derive(Debug, Eq, PartialEq)]
pub enum Unmet {
    /// The library's own words.
    Error(String),
    /// The library, or this way to use it, has no such thing.
    NotHere,
}

pub type Outcome = Result<(), Unmet>;

/// A check's name, and what it does with a factory of connections.
pub type Check<M> = (&'static str, fn(&M) -> Outcome);

impl<E: std::error::Error> From<E> for Unmet {
    fn from(error: E) -> Self {
        Unmet::Error(error.to_string())
    }
}

/// Runs each check of a crate by the proxy, and one that fails once more directly.
pub fn run<M>(krate: &str, checks: &[Check<M>], proxied: &M, direct: &M) -> Seen {
    let mut seen = Seen {
        library: format!("{} {}", title(krate), locked(krate)),
        ..Seen::default()
    };
    run_into(&mut seen, checks, proxied, direct);
    seen
}

pub fn run_into<M>(seen: &mut Seen, checks: &[Check<M>], proxied: &M, direct: &M) {
    for (name, check) in checks {
        match check(proxied) {
            Ok(()) => seen.passed.push((*name).to_owned()),
            Err(Unmet::NotHere) => seen.none.push((*name).to_owned()),
            Err(Unmet::Error(why)) => {
                assert_eq!(
                    check(direct),
                    Err(Unmet::Error(why.clone())),
                    "{name} fails through the proxy: {why}"
                );
                seen.lacks.push(((*name).to_owned(), why));
            }
        }
    }
}

fn title(krate: &str) -> &str {
    if krate == "redis" { "redis-rs" } else { krate }
}

/// The version of a crate that is built here.
fn locked(krate: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let (_, rest) = lock
        .split_once(&format!("name = \"{krate}\"\nversion = \""))
        .expect("it is a dependency");
    rest.split('"').next().expect("a version")
}
