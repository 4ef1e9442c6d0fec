//! A run: conversations one after the other, and what is said of one on which the two sides differ.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::differences::{met, summary};
use crate::docs::Grammar;
use crate::frame::{Cutter, Frame};
use crate::generate::Author;
use crate::mask::first_difference;
use crate::play::{Heard, MONITORED, frames_of, play};
use crate::script::{Conversation, Ends};
use crate::sides::{Mode, Policy, Side, User};
use crate::support::{RedisServer, Version};
use crate::wire::hurry;

/// Commands that COMMAND DOCS must give at least: fewer, and nothing was read.
const FEWEST_COMMANDS: usize = 120;

/// Differences that don't show again when they are looked at: the machine was busy, or a race in
/// respgate, which a person should look at.
const MOST_UNREPEATED: usize = 3;

/// How long a conversation on which the sides differ is made shorter.
const SHORTENING: Duration = Duration::from_secs(20);

struct Run {
    native: Side,
    proxied: Side,
    played: u32,
    /// What Redis said.
    frames: usize,
    errors: usize,
}

/// Holds `count` conversations with both sides.
pub fn run(test: &str, users: &[User], mode: Mode, policy: Policy, count: u64) {
    let grammar = Grammar::ask(&RedisServer::start(Version::V7_0_15, &[]));
    assert!(
        grammar.names() > FEWEST_COMMANDS,
        "COMMAND DOCS was not read"
    );
    let (seed, numbers) = chosen(count);
    tell(&format!("differential, {test}: RESPGATE_SEED={seed}"));
    let names: Vec<&'static str> = users.iter().map(|user| user.name).collect();
    // The last one is there to start with; who is compared are the others.
    let names = &names[..names.len().saturating_sub(1).max(1)];
    let mut run = Run {
        native: Side::native(users),
        proxied: Side::proxied(users, "lethal=* script=any", mode, policy),
        played: 0,
        frames: 0,
        errors: 0,
    };
    let start = Instant::now();
    let (mut found, mut unrepeated) = (Vec::new(), Vec::new());
    // One is enough to fail; who repairs wants to see more of them.
    let enough = std::env::var("RESPGATE_FAILURES").map_or(1, |text| text.parse().unwrap());
    for number in numbers.clone() {
        let conversation = Author::write(seed, number, names, mode, &grammar);
        let Some(first) = run.differ(&conversation) else {
            continue;
        };
        let again = (0..2).find_map(|_| run.differ(&conversation));
        let place = format!(
            "RESPGATE_SEED={seed} RESPGATE_CONVERSATIONS={number}..{}",
            number + 1
        );
        match again {
            Some(_) => {
                let (short, why) = run.shorten(conversation, first);
                tell(&format!("{test}, DIFFERENCE: {place}\n{short}\n{why}"));
                found.push(place);
                if found.len() >= enough {
                    break;
                }
            }
            None => {
                let text = format!("{test}, seen once: {place}\n{conversation}\n{first}");
                tell(&text);
                unrepeated.push(place);
            }
        }
        assert!(
            unrepeated.len() <= MOST_UNREPEATED,
            "differences that don't repeat: {unrepeated:?}"
        );
    }
    tell(&format!(
        "differential, {test}: {} conversations in {:?}, {} frames, {} of them errors; {} differences \
         seen once; meant: {}",
        numbers.end - numbers.start,
        start.elapsed(),
        run.frames,
        run.errors,
        unrepeated.len(),
        summary()
    ));
    assert!(found.is_empty(), "respgate and Redis differ: {found:?}");
}

fn chosen(count: u64) -> (u64, Range<u64>) {
    let number = |text: &str| -> u64 { text.parse().expect("a number") };
    let seed = match std::env::var("RESPGATE_SEED") {
        Ok(text) => number(&text),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_nanos() as u64 >> 20
        }
    };
    let numbers = match std::env::var("RESPGATE_CONVERSATIONS") {
        Ok(text) => match text.split_once("..") {
            Some((from, to)) => number(from)..number(to),
            None => 0..number(&text),
        },
        Err(_) => 0..count,
    };
    (seed, numbers)
}

// === impl Run ===

impl Run {
    /// What differs, in words.
    fn differ(&mut self, conversation: &Conversation) -> Option<String> {
        self.played += 1;
        let at = self.played;
        let source = format!(
            "127.{}.{}.{}",
            1 + at / 62_500 % 250,
            at / 250 % 250,
            1 + at % 250
        );
        let native = play(conversation, &mut self.native, &source, None);
        let said = native.streams.iter().flat_map(|stream| &stream.frames);
        self.frames += said.clone().count();
        self.errors += said.filter(|frame| frame.is_error()).count();
        let ours = play(conversation, &mut self.proxied, &source, Some(&native));
        let goodbyes = [&mut self.native, &mut self.proxied].map(Side::wait_for_goodbyes);
        if let Some(text) = difference(conversation, &native, &ours) {
            return Some(text);
        }
        if let Some(text) = goodbyes.into_iter().find_map(Result::err) {
            return Some(text);
        }
        (native.digest != ours.digest).then(|| {
            let (a, b) = (self.native.data(), self.proxied.data());
            let mut text = "the data differ in the end:\n".to_owned();
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                if a.get(key) != b.get(key) {
                    let _ = writeln!(text, "  {key}: {:?}, {:?}", a.get(key), b.get(key));
                }
            }
            text
        })
    }

    /// Leaves out what is not needed for a difference.
    fn shorten(&mut self, mut best: Conversation, mut why: String) -> (Conversation, String) {
        hurry(true);
        let start = Instant::now();
        let mut smaller = true;
        while std::mem::take(&mut smaller) {
            for candidate in shorter(&best) {
                if start.elapsed() > SHORTENING {
                    break;
                }
                if let Some(text) = self.differ(&candidate) {
                    (best, why, smaller) = (candidate, text, true);
                    break;
                }
            }
        }
        hurry(false);
        (best, why)
    }
}

/// The same with less in it, the largest parts first.
fn shorter(conversation: &Conversation) -> Vec<Conversation> {
    let mut all = Vec::new();
    let logins = conversation.connections;
    for index in (logins..conversation.steps.len()).rev() {
        let mut less = conversation.clone();
        less.steps.remove(index);
        all.push(less);
    }
    for (index, step) in conversation.steps.iter().enumerate() {
        if !step.cuts.is_empty() {
            let mut less = conversation.clone();
            less.steps[index].cuts.clear();
            all.push(less);
        }
        if index < logins || step.items.len() < 2 {
            continue;
        }
        for item in (0..step.items.len()).rev() {
            let mut less = conversation.clone();
            less.steps[index].items.remove(item);
            all.push(less);
        }
    }
    all
}

fn difference(conversation: &Conversation, native: &Heard, ours: &Heard) -> Option<String> {
    for (index, (theirs, our)) in native.streams.iter().zip(&ours.streams).enumerate() {
        let mode = conversation.mode;
        let (a, b) = (frames_of(theirs, mode), frames_of(our, mode));
        if let Some(at) = first_difference(&a, &b)
            && !pushes_alone(&a, &b, is_ended(conversation, index, &a))
        {
            let failure = ours.failure.as_deref().unwrap_or("both held it to the end");
            let mut text = format!("connection {index}, frame {at} ({failure}):\n");
            around(&mut text, "Redis", &a, at);
            around(&mut text, "respgate", &b, at);
            bytes(&mut text, theirs, our);
            return Some(text);
        }
        if theirs.rest() != our.rest() {
            let mut text = format!("connection {index}, behind the last frame:\n");
            bytes(&mut text, theirs, our);
            return Some(text);
        }
    }
    let failure = native.failure.as_ref().or(ours.failure.as_ref());
    failure.map(|failure| format!("the same was read, but: {failure}"))
}

/// Whether a connection ended while it said its last: by a protocol error, QUIT, or its client's leaving.
fn is_ended(conversation: &Conversation, connection: usize, native: &[Frame]) -> bool {
    let mut steps = conversation.steps.iter();
    let leaves = |ends: &Ends| matches!(ends, Ends::HalfClosed | Ends::Cut);
    let left = steps.any(|step| step.connection == connection && leaves(&step.ends));
    let mut frames = native.iter().rev();
    let last = frames.find(|frame| frame.kind() != b'>');
    left || last.is_some_and(|last| {
        last.head.starts_with(b"-ERR Protocol error") || last.head.starts_with(b"+OK")
    })
}

/// RESP3's pushes and MONITOR's lines may stand between any two replies, of which some are the
/// proxy's own, and invalidations may come as one or as several,
/// with a key once or as often as it was written: that depends on what Redis read in one turn.
fn pushes_alone(native: &[Frame], ours: &[Frame], ended: bool) -> bool {
    let is_line = |frame: &Frame| frame.head.starts_with(MONITORED.as_bytes());
    let is_push =
        |frame: &&Frame| is_line(frame) || frame.kind() == b'>' || frame.invalidated().is_some();
    let replies = |frames: &[Frame]| -> Vec<Frame> {
        let replies = frames.iter().filter(|frame| !is_push(frame));
        replies.cloned().collect()
    };
    let others = |frames: &[Frame]| -> Vec<Frame> {
        let pushes = frames.iter().filter(is_push);
        let others = pushes.filter(|push| push.invalidated().is_none());
        let mut others: Vec<Frame> = others.cloned().collect();
        // What a client does that was blocked, and what others do then, has no order.
        others.sort_by_key(|push| is_line(push).then(|| push.clone()));
        others
    };
    let keys = |frames: &[Frame]| -> BTreeSet<Frame> {
        let keys = frames.iter().filter_map(Frame::invalidated);
        keys.flatten().cloned().collect()
    };
    // Invalidations come behind the reply or at the end of Redis' turn; whom it is about to close, or
    // who is leaving, may have them or not.
    let same_keys = ended || keys(native) == keys(ours);
    let any = native.iter().chain(ours).any(|frame| is_push(&frame));
    let same = any
        && others(native) == others(ours)
        && same_keys
        && first_difference(&replies(native), &replies(ours)).is_none();
    if same {
        met("pushes");
    }
    same
}

fn around(text: &mut String, name: &str, frames: &[Frame], at: usize) {
    let _ = writeln!(text, "  {name}, {} frames:", frames.len());
    let from = at.saturating_sub(4);
    for (index, frame) in frames.iter().enumerate().skip(from).take(8) {
        let mark = if index == at { '>' } else { ' ' };
        let _ = writeln!(text, "  {mark} {index}: {frame}");
    }
}

/// Both streams from a little before the first byte that differs.
fn bytes(text: &mut String, native: &Cutter, ours: &Cutter) {
    let (a, b) = (&native.bytes, &ours.bytes);
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(120);
    let part = |bytes: &[u8]| {
        let shown = &bytes[from..bytes.len().min(same + 300)];
        shown.escape_ascii().to_string()
    };
    let _ = writeln!(text, "  the first byte that differs, masked or not: {same}");
    let _ = writeln!(text, "  Redis    …{}", part(a));
    let _ = writeln!(text, "  respgate …{}", part(b));
}

/// Says something on the real standard error: what `eprintln` writes is hidden where a test passes.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
