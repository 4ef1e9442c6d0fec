//! What may differ between two servers that do the same: ids, times, the order of a hash table.
//!
//! A request whose reply has such a thing in it is sent behind `ECHO @mask@kind`. The echo, at the top
//! or in EXEC's array, tells the comparison how to look at the frame behind it, and at no other.

use crate::differences;
use crate::frame::{Body, Frame};

/// How a reply is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mask {
    /// The kind of reply alone: it tells of the process, the clock or chance.
    Kind,
    /// The elements in any order: Redis' hash tables have a seed of their own.
    Unordered,
    /// Numbers may be so far apart as the two runs: times to live, times since.
    Near,
    /// HELLO: the id.
    Hello,
    /// CLIENT LIST, CLIENT INFO: what the client itself has done to its connection.
    Client,
    /// XPENDING, XINFO CONSUMERS: how long ago something was.
    Idle,
}

const ALL: [Mask; 6] = [
    Mask::Kind,
    Mask::Unordered,
    Mask::Near,
    Mask::Hello,
    Mask::Client,
    Mask::Idle,
];

const MARKER: &str = "@mask@";

/// What two runs of a conversation may be apart, in seconds and in milliseconds: more than any takes,
/// and far less than the times that are asked for.
const NEAR: u64 = 20_000;

/// The fields of CLIENT INFO that are compared. `resp` is for the session to say, the rest (addresses,
/// buffers, ages, `user`) is another for a connection of the proxy's.
const FIELDS: [&str; 7] = ["name", "db", "sub", "psub", "multi", "cmd", "resp"];

// === impl Mask ===

impl Mask {
    pub fn marker(self) -> Vec<u8> {
        format!("{MARKER}{self:?}").into_bytes()
    }

    fn of(frame: &Frame) -> Option<Self> {
        let name = frame.text()?.strip_prefix(MARKER.as_bytes())?;
        ALL.into_iter()
            .find(|mask| format!("{mask:?}").as_bytes() == name)
    }

    fn same(self, native: &Frame, ours: &Frame) -> bool {
        // An error is Redis' whatever was asked for.
        if native.is_error() || ours.is_error() || native.kind() != ours.kind() {
            return one(native, ours);
        }
        match self {
            Self::Kind => true,
            Self::Unordered => sorted(native.clone()) == sorted(ours.clone()),
            Self::Near => deep(native, ours, &mut |a, b| match (a.integer(), b.integer()) {
                // -1 and -2 are words, not times.
                (Some(a), Some(b)) if a >= 0 && b >= 0 => a.abs_diff(b) <= NEAR,
                _ => false,
            }),
            Self::Hello => named(native, ours, &[b"id"]),
            Self::Client => fields(native) == fields(ours),
            Self::Idle => idle(native, ours),
        }
    }
}

/// The first place where two streams differ.
pub fn first_difference(native: &[Frame], ours: &[Frame]) -> Option<usize> {
    let mut mask = None;
    for index in 0..native.len().max(ours.len()) {
        let (Some(native), Some(ours)) = (native.get(index), ours.get(index)) else {
            return Some(index);
        };
        let same = match mask {
            // A push may stand between the marker's echo and the reply.
            Some(mask) if native.kind() != b'>' => Mask::same(mask, native, ours),
            _ => one(native, ours),
        };
        if !same && !differences::is_meant(native, ours) {
            return Some(index);
        }
        if native.kind() != b'>' {
            mask = Mask::of(native);
        }
    }
    None
}

/// Nothing is masked, but what stands in it may be.
fn one(native: &Frame, ours: &Frame) -> bool {
    match (&native.body, &ours.body) {
        (Body::Items(inner), Body::Items(our_inner)) => {
            native.head == ours.head && first_difference(inner, our_inner).is_none()
        }
        _ => native == ours || differences::same_words(native, ours),
    }
}

fn sorted(mut frame: Frame) -> Frame {
    if let Body::Items(items) = &mut frame.body {
        let mut inner: Vec<Frame> = std::mem::take(items).into_iter().map(sorted).collect();
        inner.sort();
        *items = inner;
    }
    frame
}

/// The same, where leaves that differ are `near`.
fn deep(native: &Frame, ours: &Frame, near: &mut dyn FnMut(&Frame, &Frame) -> bool) -> bool {
    match (&native.body, &ours.body) {
        (Body::Items(a), Body::Items(b)) => {
            native.head == ours.head && a.iter().zip(b).all(|(a, b)| deep(a, b, near))
        }
        _ => native == ours || near(native, ours),
    }
}

/// The same, but for the values behind these names.
fn named(native: &Frame, ours: &Frame, names: &[&[u8]]) -> bool {
    let (a, b) = (native.items(), ours.items());
    native.head == ours.head
        && a.iter().zip(b).enumerate().all(|(index, (a, b))| {
            let name = index
                .checked_sub(1)
                .and_then(|before| native.items()[before].text());
            let free = name.is_some_and(|name| names.contains(&name));
            a == b || free && a.kind() == b.kind()
        })
}

/// XINFO CONSUMERS has names, the long XPENDING has the time at the third place of four.
fn idle(native: &Frame, ours: &Frame) -> bool {
    native.head == ours.head
        && native.items().iter().zip(ours.items()).all(|(a, b)| {
            let quadruple = a.items().len() == 4 && a.items()[2].integer().is_some();
            if a == b {
                true
            } else if quadruple {
                let without = |frame: &Frame| {
                    let mut items = frame.items().to_vec();
                    items.remove(2);
                    items
                };
                b.items().len() == 4 && without(a) == without(b)
            } else {
                named(a, b, &[b"idle", b"inactive"])
            }
        })
}

fn fields(frame: &Frame) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(frame.text().unwrap_or_default()).into_owned();
    let line = |line: &str| {
        let wanted = |word: &&str| {
            let name = word.split('=').next().unwrap_or_default();
            FIELDS.contains(&name)
        };
        line.split(' ').filter(wanted).map(str::to_owned).collect()
    };
    text.lines().map(line).collect()
}
