//! What panics have said, so that it can be repeated behind a long log.

use std::collections::VecDeque;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, Once};
use std::thread;

/// The last ones, of all tests: the thread's name, and what it said.
static LAST: Mutex<VecDeque<(String, String)>> = Mutex::new(VecDeque::new());
const KEPT: usize = 32;

/// From now on panics are remembered.
pub fn remember() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            keep(info);
            before(info);
        }));
    });
}

/// What this thread has panicked with, and what those without a name have: it may have started them.
pub fn said() -> String {
    let own = name();
    let last = LAST.lock().unwrap();
    let ours = last
        .iter()
        .filter(|(name, _)| *name == own || name.is_empty());
    ours.map(|(_, text)| text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

fn keep(info: &PanicHookInfo<'_>) {
    let mut last = LAST.lock().unwrap();
    last.truncate(KEPT - 1);
    last.push_front((name(), info.to_string()));
}

fn name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}
