//! The table of docs/clients.md, from what was seen.

use super::Seen;
use crate::support::redis::ALL;

/// What a Redis, or a library with it, may lack: the letter, a piece of the words in which it says so,
/// and what that means. Anything else fails the test.
const NOTES: [(char, &str, &str); 5] = [
    (
        'a',
        "HELLO",
        "this Redis has no RESP3 (6.0 and newer do), and the library says so: ask it for RESP2",
    ),
    (
        'b',
        "SPUBLISH",
        "sharded publish and subscribe is in Redis since 7.0",
    ),
    ('c', "TRACKING", "CLIENT TRACKING is in Redis since 6.0"),
    (
        'd',
        "client-side caching is supported by Redis 7.4 or later",
        "redis-py's cache asks for Redis 7.4",
    ),
    (
        'e',
        "setresp",
        "the types of RESP3 in scripts are in Redis since 6.0",
    ),
];

/// The rows, with the ways of use and the cells of each.
pub fn render(rows: &[(&str, Vec<&Seen>, &Seen)]) -> String {
    let mut used = Vec::new();
    let mut lines = vec!["| client | how |".to_owned(), "| --- | --- |".to_owned()];
    for version in ALL {
        lines[0].push_str(&format!(" {} |", version.as_str()));
        lines[1].push_str(" --- |");
    }
    lines[0].push_str(" rode shared |");
    lines[1].push_str(" --- |");
    for (how, cells, shared) in rows {
        let mut line = format!("| {} | {how} |", cells[0].library);
        for seen in cells {
            let letters = letters(seen);
            line.push_str(&format!(" {} |", cell(seen, &letters)));
            used.extend(letters);
        }
        line.push_str(&format!(" {} |", share(shared.rode)));
        lines.push(line);
    }
    lines.push(String::new());
    for (letter, _, meaning) in NOTES {
        if used.contains(&letter) {
            lines.push(format!("- {letter}: {meaning}"));
        }
    }
    lines.join("\n") + "\n"
}

fn cell(seen: &Seen, letters: &[char]) -> String {
    let letters: String = letters.iter().flat_map(|letter| [' ', *letter]).collect();
    if seen.passed.is_empty() {
        format!("no:{letters}")
    } else if letters.is_empty() {
        "yes".to_owned()
    } else {
        format!("yes, but{letters}")
    }
}

/// Rounded down: a few requests more or less are chance, as how often a check looks whether something
/// has come.
fn share((rode, own): (u64, u64)) -> String {
    format!("{} %", rode * 100 / (rode + own).max(1))
}

fn letters(seen: &Seen) -> Vec<char> {
    let mut letters: Vec<char> = seen
        .lacks
        .iter()
        .map(|(check, why)| {
            let upper = why.to_uppercase();
            NOTES
                .iter()
                .find(|(_, words, _)| upper.contains(&words.to_uppercase()))
                .unwrap_or_else(|| panic!("{}: {check}: nobody explains {why}", seen.library))
                .0
        })
        .collect();
    letters.sort_unstable();
    letters.dedup();
    letters
}
