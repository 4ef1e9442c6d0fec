//! A conversation, before it is held: who says what, in which pieces.

use std::fmt;

use crate::differences::{is_barred_from_multi, is_judged_otherwise};
use crate::mask::Mask;
use crate::sides::Mode;
use crate::support::command;

/// A conversation over one to three connections.
#[derive(Clone)]
pub struct Conversation {
    /// Whose certificate the connections show.
    pub user: &'static str,
    pub connections: usize,
    /// The upstream connections that respgate has.
    pub mode: Mode,
    /// Some request names a connection by its id.
    pub uses_ids: bool,
    pub steps: Vec<Step>,
}

/// What one connection sends. The next step begins when all that it causes is there.
#[derive(Clone)]
pub struct Step {
    pub connection: usize,
    pub items: Vec<Item>,
    /// Where the bytes are cut into writes, in parts of 65536 of their length.
    pub cuts: Vec<u16>,
    pub ends: Ends,
}

/// How it is known that a step is over.
#[derive(Clone, Eq, PartialEq)]
pub enum Ends {
    /// A PING with this word is answered.
    Pong(String),
    /// Nothing more comes: where a PING would change what is tried, or is not answered.
    Quiet,
    /// The same, and as many clients are blocked as with the other server.
    Blocked,
    /// The client ends its side at once, with replies owed.
    HalfClosed,
    /// The connection is cut under TLS, in the middle of a request.
    Cut,
}

/// One request, or something else that is sent.
#[derive(Clone)]
pub enum Item {
    Request {
        args: Vec<Vec<u8>>,
        mask: Option<Mask>,
    },
    /// Bytes as they are: inline requests, blank lines, what is no request.
    Raw(Vec<u8>),
}

/// Stands in an argument for the upstream's id of a connection, whose number follows.
const ID: &[u8] = b"\x01id\x01";

// === impl Item ===

impl Item {
    pub fn request<A: AsRef<[u8]>>(args: &[A]) -> Self {
        let args = args.iter().map(|arg| arg.as_ref().to_vec()).collect();
        Self::Request { args, mask: None }
    }

    /// A request whose reply is compared with forbearance.
    pub fn masked<A: AsRef<[u8]>>(mask: Mask, args: &[A]) -> Self {
        let args = args.iter().map(|arg| arg.as_ref().to_vec()).collect();
        let mask = Some(mask);
        Self::Request { args, mask }
    }

    /// An argument that becomes the id of a connection.
    pub fn id_of(connection: usize) -> Vec<u8> {
        [ID, connection.to_string().as_bytes()].concat()
    }

    /// Whether it is one of the differences that are meant, for users of narrow rules.
    pub fn is_judged_otherwise(&self) -> bool {
        matches!(self, Self::Request { args, .. } if is_judged_otherwise(args))
    }

    /// Whether respgate refuses it inside MULTI.
    pub fn is_barred_from_multi(&self, mode: Mode) -> bool {
        matches!(self, Self::Request { args, .. } if is_barred_from_multi(args, mode))
    }

    fn encode(&self, ids: &[String], out: &mut Vec<u8>) {
        match self {
            Self::Raw(bytes) => out.extend_from_slice(bytes),
            Self::Request { args, mask } => {
                if let Some(mask) = mask {
                    out.extend_from_slice(&command(&[&b"ECHO"[..], &mask.marker()]));
                }
                let resolve = |arg: &Vec<u8>| match arg.strip_prefix(ID) {
                    Some(number) => {
                        let number: usize = String::from_utf8_lossy(number).parse().unwrap();
                        ids.get(number)
                            .map_or(b"0".to_vec(), |id| id.clone().into())
                    }
                    None => arg.clone(),
                };
                let args: Vec<Vec<u8>> = args.iter().map(resolve).collect();
                out.extend_from_slice(&command(&args));
            }
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 100;
        let short = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            let shown = &bytes[..bytes.len().min(SHOWN)];
            write!(f, "\"{}\"", shown.escape_ascii())?;
            match bytes.len() > SHOWN {
                true => write!(f, "…({} bytes)", bytes.len()),
                false => Ok(()),
            }
        };
        match self {
            Self::Raw(bytes) => {
                f.write_str("raw ")?;
                short(f, bytes)
            }
            Self::Request { args, mask } => {
                for (index, arg) in args.iter().enumerate().take(SHOWN) {
                    if index > 0 {
                        f.write_str(" ")?;
                    }
                    short(f, arg)?;
                }
                if args.len() > SHOWN {
                    write!(f, " …({} arguments)", args.len())?;
                }
                match mask {
                    Some(mask) => write!(f, "      ({mask:?})"),
                    None => Ok(()),
                }
            }
        }
    }
}

// === impl Step ===

impl Step {
    /// The bytes of the step, in the pieces that they are sent in.
    pub fn pieces(&self, ids: &[String]) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        self.items
            .iter()
            .for_each(|item| item.encode(ids, &mut bytes));
        if let Ends::Pong(word) = &self.ends {
            bytes.extend_from_slice(&command(&["PING", word]));
        }
        let mut cuts: Vec<usize> = self
            .cuts
            .iter()
            .map(|&cut| bytes.len() * usize::from(cut) / 65536)
            .collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let pieces = cuts.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec());
        pieces.collect()
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "user {}, {} connections", self.user, self.connections)?;
        for (number, step) in self.steps.iter().enumerate() {
            let end = match &step.ends {
                Ends::Pong(word) => format!("PING {word}"),
                Ends::Quiet => "until nothing comes".to_owned(),
                Ends::Blocked => "until it blocks".to_owned(),
                Ends::HalfClosed => "closes its side".to_owned(),
                Ends::Cut => "cut".to_owned(),
            };
            writeln!(
                f,
                "step {number}: connection {}, {} pieces, {end}",
                step.connection,
                step.cuts.len() + 1
            )?;
            for item in &step.items {
                writeln!(f, "    {item}")?;
            }
        }
        Ok(())
    }
}
