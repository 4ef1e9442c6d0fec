//! Holds a conversation with one side, step by step.
//!
//! With Redis a step is over when its PING is answered or nothing more comes. With respgate it is over
//! when each connection has read as many frames as there, so that what one connection does happens
//! before or after what another one does, alike on both sides.

use std::time::{Duration, Instant};

use crate::frame::{Cutter, Frame};
use crate::script::{Conversation, Ends, Step};
use crate::sides::{BARRIER, Mode, Side};
use crate::support::{PATIENCE, command};
use crate::wire::{Wire, nap, overdue};

/// What was read.
pub struct Heard {
    pub streams: Vec<Cutter>,
    /// How things stood after each step.
    marks: Vec<Mark>,
    pub digest: String,
    /// Connections whose last request was not answered: they wait for something.
    waiting: Vec<bool>,
    /// Why it was broken off.
    pub failure: Option<String>,
}

#[derive(Clone)]
struct Mark {
    frames: Vec<usize>,
    ended: Vec<bool>,
    blocked: i64,
}

/// Redis answers at once but for who blocks, for 20 ms at most where not for ever.
const UNANSWERED: Duration = Duration::from_millis(150);

/// A client that has no answer for so long is blocked: what it has sent in many pieces may be on its
/// way for some turns, on a busy machine.
const BLOCKED_AFTER: Duration = Duration::from_millis(30);

/// A client that Redis stops reading from after so much in one turn.
const READ_AT_ONCE: usize = 8 << 10;

/// Commands that the proxy answers, or asks by itself: MONITOR's lines of them are one side's own.
const UNHEARD: [&str; 9] = [
    "\"auth\"",
    "\"hello\"",
    "\"quit\"",
    "\"reset\"",
    "\"acl\"",
    "\"info\"",
    "\"ping\"",
    "\"client\" \"setname\"",
    "\"client\" \"reply\"",
];

/// The same where clients share connections: one of them is in the right database already, what a
/// client tells or asks of itself is not Redis' business, and whether replies are in step is asked.
const UNHEARD_WHERE_SHARED: [&str; 4] = [
    "\"select\"",
    "\"wait\"",
    "\"client\" \"getname\"",
    "\"client\" \"id\"",
];

/// The beginning of MONITOR's lines, as they are compared.
pub const MONITORED: &str = "+monitor ";

/// What a client would compare: MONITOR's lines without their times and addresses, and without those
/// of one side's own.
pub fn frames_of(stream: &Cutter, mode: Mode) -> Vec<Frame> {
    let frames = stream.frames.iter();
    let mut frames: Vec<Frame> = frames.filter_map(|frame| heard(frame, mode)).collect();
    // One message for several patterns of a client comes in the order of a hash table.
    frames
        .chunk_by_mut(|a, b| message(a).is_some() && message(a) == message(b))
        .for_each(<[Frame]>::sort);
    frames
}

/// What was published, of a message for a pattern.
fn message(frame: &Frame) -> Option<&[Frame]> {
    let items = frame.items();
    let name = items.first().and_then(Frame::text);
    (items.len() == 4 && name == Some(b"pmessage")).then(|| &items[2..])
}

fn heard(frame: &Frame, mode: Mode) -> Option<Frame> {
    let Some(line) = monitored(frame) else {
        return Some(frame.clone());
    };
    let lower = line.to_ascii_lowercase();
    let own = UNHEARD.iter().any(|name| match *name {
        // Ours have an argument.
        "\"ping\"" => lower == *name,
        name => lower.starts_with(name),
    });
    let where_shared = || is_unheard_where_shared(&lower);
    let own = own || lower.contains(BARRIER) || mode == Mode::Shared && where_shared();
    let head = format!("{MONITORED}{}", without_ids(&line)).into_bytes();
    let body = frame.body.clone();
    (!own).then_some(Frame { head, body })
}

fn is_unheard_where_shared(line: &str) -> bool {
    let mut names = UNHEARD_WHERE_SHARED.iter();
    let echo = line.strip_prefix("\"echo\" \"");
    let is_ours = echo
        .and_then(|rest| rest.strip_suffix('"'))
        .is_some_and(|word| {
            let is_canary = word.len() == 48 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_canary || word == "respgate"
        });
    is_ours || names.any(|name| line.starts_with(name))
}

/// Ids that CLIENT is given.
fn without_ids(line: &str) -> String {
    if !line.to_ascii_lowercase().starts_with("\"client\"") {
        return line.to_owned();
    }
    let is_id = |word: &&str| word.trim_matches('"').parse::<u64>().is_ok();
    let words = line
        .split(' ')
        .map(|word| if is_id(&word) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// The words of one of MONITOR's lines.
fn monitored(frame: &Frame) -> Option<String> {
    let line = std::str::from_utf8(&frame.head).ok()?;
    let rest = line.strip_prefix('+')?;
    let (time, rest) = rest.split_once(" [")?;
    let (place, words) = rest.split_once("] ")?;
    let is_time = time.contains('.') && time.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let database = place.split(' ').next()?;
    is_time
        .then(|| format!("[{database}] {words}"))
        .map(|text| {
            text.split_once("] ")
                .map_or(text.clone(), |(_, words)| words.to_owned())
        })
}

/// Holds a conversation, and leaves the data as they are then; `guide` is what Redis said to it.
pub fn play(
    conversation: &Conversation,
    side: &mut Side,
    source: &str,
    guide: Option<&Heard>,
) -> Heard {
    side.clean();
    let mut wires: Vec<Wire> = (0..conversation.connections)
        .map(|_| side.connect(conversation.user, source))
        .collect();
    let ids = match conversation.uses_ids {
        true => wires.iter_mut().map(client_id).collect(),
        false => Vec::new(),
    };
    let mut heard = Heard {
        streams: Vec::new(),
        marks: Vec::new(),
        digest: String::new(),
        waiting: vec![false; conversation.connections],
        failure: None,
    };
    for (number, step) in conversation.steps.iter().enumerate() {
        let pieces = step.pieces(&ids);
        let total = pieces.iter().map(Vec::len).sum();
        let wire = &mut wires[step.connection];
        pieces.iter().for_each(|piece| wire.send(piece));
        if step.ends == Ends::Cut {
            wire.cut();
        }
        let result = match guide {
            None => {
                heard.waiting[step.connection] =
                    !settle(&mut wires, step, total, side, conversation.mode);
                Ok(())
            }
            Some(guide) => match guide.marks.get(number) {
                Some(mark) => {
                    if step.ends == Ends::HalfClosed {
                        wires[step.connection].half_close();
                    }
                    follow(&mut wires, mark, step, side, conversation.mode)
                }
                None => Ok(()),
            },
        };
        if let Err(why) = result {
            heard.failure = Some(format!("step {number}: {why}"));
            break;
        }
        let blocked = match guide.is_none() && step.ends == Ends::Blocked {
            true => side.blocked_clients(),
            false => 0,
        };
        heard.marks.push(Mark {
            frames: wires
                .iter()
                .map(|wire| count(wire, conversation.mode))
                .collect(),
            ended: wires.iter().map(|wire| wire.ended).collect(),
            blocked,
        });
    }
    if heard.failure.is_none() {
        let waiting = guide.map_or(&heard.waiting, |guide| &guide.waiting);
        heard.failure = hang_up(&mut wires, waiting);
    }
    heard.digest = side.digest();
    heard.streams = wires.into_iter().map(|wire| wire.stream).collect();
    heard
}

/// What the server calls this connection.
fn client_id(wire: &mut Wire) -> String {
    wire.send(&command(&["CLIENT", "ID"]));
    let start = Instant::now();
    while wire.stream.frames.is_empty() && !wire.ended {
        assert!(start.elapsed() < PATIENCE, "CLIENT ID is not answered");
        wire.pump();
        nap();
    }
    let stream = std::mem::take(&mut wire.stream);
    let id = stream.frames.first().and_then(Frame::integer);
    id.unwrap_or_default().to_string()
}

/// Frames that both sides have. How many invalidations there are is chance.
fn count(wire: &Wire, mode: Mode) -> usize {
    let unheard = |frame: &&Frame| match frame.kind() {
        b'+' => heard(frame, mode).is_none(),
        _ => frame.invalidated().is_some(),
    };
    wire.stream.frames.len() - wire.stream.frames.iter().filter(unheard).count()
}

/// Until Redis has done all of a step. Returns whether the connection waits for nothing more.
fn settle(wires: &mut [Wire], step: &Step, sent: usize, side: &mut Side, mode: Mode) -> bool {
    let quiet_turns = 2 + sent / READ_AT_ONCE;
    let word = match &step.ends {
        Ends::Pong(word) => Some(word.as_bytes()),
        _ => None,
    };
    let start = Instant::now();
    let mut quiet = 0;
    let mut last = start;
    let mut known = 0;
    let answered = loop {
        wires.iter_mut().for_each(|wire| {
            wire.pump();
        });
        // MONITOR shows the barriers too.
        let now: usize = wires
            .iter()
            .map(|wire| count(wire, mode) + wire.stream.rest().len() + usize::from(wire.ended))
            .sum();
        let wire = &wires[step.connection];
        if let Some(word) = word {
            // It may be in no reply: nothing is owed to a client that wants none, or has been cut.
            let tail = &wire.stream.bytes[wire.stream.bytes.len().saturating_sub(256)..];
            let here = tail.windows(word.len()).any(|part| part == word);
            if here || wire.ended {
                break true;
            }
            if quiet > quiet_turns && last.elapsed() > UNANSWERED {
                break false;
            }
        } else if quiet >= quiet_turns
            && (step.ends != Ends::Blocked || last.elapsed() > BLOCKED_AFTER)
        {
            break step.ends != Ends::Blocked;
        }
        if now != known {
            (quiet, last, known) = (0, Instant::now(), now);
        } else {
            quiet += 1;
        }
        assert!(start.elapsed() < 2 * PATIENCE, "Redis goes on and on");
        side.turn();
    };
    // What it had for the other connections was written in the same turn.
    side.turn();
    wires.iter_mut().for_each(|wire| {
        wire.pump();
    });
    if step.ends == Ends::HalfClosed {
        // Redis drops what it has not written: it was given the time.
        wires[step.connection].half_close();
    }
    answered
}

/// Until all is there that Redis had said.
fn follow(
    wires: &mut [Wire],
    mark: &Mark,
    step: &Step,
    side: &mut Side,
    mode: Mode,
) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let mut any = false;
        wires.iter_mut().for_each(|wire| any |= wire.pump());
        let missing = wires.iter().enumerate().find(|(index, wire)| {
            count(wire, mode) < mark.frames[*index] || mark.ended[*index] && !wire.ended
        });
        let Some((index, wire)) = missing else {
            if step.ends != Ends::Blocked || side.blocked_clients() == mark.blocked {
                return Ok(());
            }
            if start.elapsed() > overdue() {
                return Err(format!("{} clients should be blocked", mark.blocked));
            }
            nap();
            continue;
        };
        let late = start.elapsed() > overdue();
        if late || wire.ended && !mark.ended[index] {
            return Err(format!(
                "connection {index}: {} frames and {}, expected {} and {}",
                count(wire, mode),
                open(wire.ended),
                mark.frames[index],
                open(mark.ended[index]),
            ));
        }
        if !any {
            nap();
        }
    }
}

fn open(ended: bool) -> &'static str {
    if ended { "closed" } else { "open" }
}

/// Each client ends its side and reads to the end, so that nothing goes unheard that is too much.
/// Clients that wait are cut: Redis forgets them, respgate would wait for what they are owed.
fn hang_up(wires: &mut [Wire], waiting: &[bool]) -> Option<String> {
    for (index, (wire, waiting)) in wires.iter_mut().zip(waiting).enumerate() {
        if wire.ended || *waiting {
            continue;
        }
        wire.half_close();
        let start = Instant::now();
        while !wire.ended {
            wire.pump();
            if start.elapsed() > overdue() {
                return Some(format!("connection {index} does not end"));
            }
            nap();
        }
    }
    None
}
