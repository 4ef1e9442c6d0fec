//! What holds for every command, whatever its arguments.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::command::Table;
use crate::fixtures::Random;
use crate::resp::OwnedArgs;

/// What one request touches: argument, access, certainty; and how it ended.
type Told = (Vec<(usize, Access, bool)>, Result<(), Unreadable>);

fn list(command: &Command, args: &Args<'_>) -> Told {
    let mut seen = Vec::new();
    let result = touches(command, args, &mut |touch| {
        seen.push(match touch {
            Touch::Key {
                index,
                access,
                certain,
                ..
            } => (index, access, certain),
            Touch::Channel { index, .. } | Touch::AllKeys { index, .. } => {
                (index, Access::NONE, true)
            }
        });
        ControlFlow::Continue(())
    });
    (seen, result)
}

#[test]
fn no_request_panics_and_no_prefix_contradicts_the_whole() {
    const WORDS: &[&str] = &[
        "",
        "a",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "+1",
        "99",
        "999999999",
        "4294967297",
        "*",
        "STORE",
        "store",
        "STOREDIST",
        "BY",
        "GET",
        "get",
        "SET",
        "LIMIT",
        "COUNT",
        "STREAMS",
        "GROUP",
        "NOACK",
        "BLOCK",
        "KEYS",
        "AUTH",
        "AUTH2",
        "COPY",
        "REPLACE",
        "STORE\0",
        "LCS",
        "STRINGS",
        "OVERFLOW",
        "OBJECT",
        "ASC",
        "w_*",
        "#",
        "EX",
        "CLAIM",
    ];
    let seed = 0x5eed_0001;
    let mut random = Random(seed);
    let table = Table::builtin();
    for (_, command) in table.iter() {
        // The parts of the name are no arguments to choose.
        let names = command.name.split('|').count();
        for round in 0..200 {
            let mut words: Vec<&str> = command.name.split('|').collect();
            for _ in 0..random.below(12) {
                words.push(WORDS[random.below(WORDS.len())]);
            }
            let owned: OwnedArgs = words.iter().collect();
            let (whole, result) = list(command, &owned.as_args());
            assert_ne!(
                result,
                Err(Unreadable::Incomplete),
                "seed {seed:#x} round {round} {words:?}"
            );
            let last = whole.iter().map(|(index, ..)| index + 1).max();
            for present in 0..words.len() {
                let context = format!("seed {seed:#x} round {round} {words:?} {present}");
                let (part, part_result) = list(command, &owned.as_partial(present));
                // Visits come in the same order, with no less access than in the end.
                assert!(part.len() <= whole.len(), "{context}");
                for (partial, full) in part.iter().zip(&whole) {
                    assert_eq!(partial.0, full.0, "{context}");
                    assert_eq!(partial.1 | full.1, partial.1, "{context}");
                    assert!(!partial.2 || partial.1 == full.1, "{context}");
                }
                if part_result != Err(Unreadable::Incomplete) {
                    assert_eq!(part_result, result, "{context}");
                    assert_eq!(part.len(), whole.len(), "{context}");
                }
                let satisfied = match command.need {
                    Need::Name => present >= names,
                    Need::FirstKey | Need::LastKey => {
                        present >= names && last.is_some_and(|last| present >= last)
                    }
                    Need::All => false,
                };
                if satisfied && result.is_ok() {
                    assert_eq!(part_result, Ok(()), "{context}");
                }
            }
        }
    }
}
