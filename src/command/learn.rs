//! Commands that the table lacks, from what a server says of them: modules, newer versions.
//!
//! Pure: the answer to `COMMAND`, of any version, becomes commands for [`Table::extend`]. What is
//! vague becomes [`Keys::Unknown`], never "no keys". What a module claims is believed as Redis' own
//! ACL believes it: that a command has no keys, and that it is in no category (Redis before 8 puts
//! no module's command into any).

use thiserror::Error;

use super::category::{Categories, Category};
use super::flags::{Flag, Flags};
use super::keys::{Access, Begin, Channels, Find, Keys, Need};
use super::merge::merge;
use super::name::is_name;
use super::record::KeyFlag;
use super::table::{Command, MAX_COMMANDS, Table};
use crate::resp::Reply;

/// What one server teaches.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Learned {
    /// What the table lacks, by name. Containers come before their subcommands.
    pub commands: Vec<Command>,
    /// What it lacks and can't be taught.
    pub skipped: Vec<Skipped>,
}

/// A command that can't be learned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// As the server spells it, cut and without control bytes.
    pub name: String,
    /// Why.
    pub reason: SkipReason,
}

/// Why a command can't be learned.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SkipReason {
    /// Nobody could call it by this name without doubt which command is meant.
    #[error("a command name is 1 to 64 bytes of A-Z a-z 0-9 _ . : -")]
    Name,
    /// COMMAND doesn't describe it as any Redis does.
    #[error("the server describes it as no Redis does")]
    Malformed,
    /// The table is full; nothing behind it was looked at.
    #[error("there are more than {MAX_COMMANDS} commands")]
    TooMany,
}

/// Redis 3.2.7 to 6.2 lists its guard against HTTP requests among the commands.
const PSEUDO: [&str; 2] = ["post", "host:"];

/// So many skipped names are told; a server that has more has nothing to say.
const MAX_SKIPPED: usize = 64;

/// Reads the answer to `COMMAND`. What `table` knows by itself or from the configuration is left
/// alone; what it has only learned is learned anew.
pub fn learn(answer: &Reply, table: &Table) -> Learned {
    let own = table.iter().filter(|(_, command)| !command.learned).count();
    let mut lesson = Lesson {
        table,
        room: MAX_COMMANDS.saturating_sub(own),
        learned: Learned::default(),
    };
    for entry in answer.as_array().unwrap_or_default() {
        if lesson.take(entry).is_err() {
            break;
        }
    }
    let Learned { commands, skipped } = lesson.learned;
    Learned {
        // The same name twice is no Redis' doing; it is then what both descriptions say.
        commands: merge([commands]),
        skipped,
    }
}

/// The table has no more room.
struct Full;

struct Lesson<'a> {
    table: &'a Table,
    room: usize,
    learned: Learned,
}

/// One element of the answer: six items up to 5.x, one more from 6.0, ten from 7.0 on.
struct Entry<'a> {
    arity: i16,
    flags: Flags,
    /// First key, last key, step.
    row: [i64; 3],
    /// `None`: the server knows no categories.
    categories: Option<Categories>,
    specs: &'a [Reply],
    subcommands: &'a [Reply],
}

// === impl Lesson ===

impl Lesson<'_> {
    fn take(&mut self, reply: &Reply) -> Result<(), Full> {
        let Some(name) = name_of(reply) else {
            return self.skip(b"?", SkipReason::Malformed);
        };
        let own = |command: &&Command| !command.learned;
        let known = self.table.find(name).map(|id| self.table.command(id));
        if PSEUDO
            .iter()
            .any(|pseudo| name.eq_ignore_ascii_case(pseudo.as_bytes()))
        {
            return Ok(());
        }
        let Some(folded) = folded(name) else {
            return self.skip(name, SkipReason::Name);
        };
        let entry = Entry::read(reply);
        if let Some(known) = known.filter(own) {
            return match entry {
                // Subcommands of what has none here would change what it is.
                Some(entry) if known.container => self.take_subcommands(&folded, &entry),
                _ => Ok(()),
            };
        }
        let Some(entry) = entry else {
            return self.skip(name, SkipReason::Malformed);
        };
        let place = self.learned.commands.len();
        self.push(entry.command(folded.clone()), name)?;
        self.take_subcommands(&folded, &entry)?;
        // It has subcommands, and none that we can tell apart: whatever its keys are, they are theirs.
        if !entry.subcommands.is_empty() && self.learned.commands.len() == place + 1 {
            let container = &mut self.learned.commands[place];
            container.keys = Keys::Unknown;
            container.need = Need::of(&container.keys, container.channels);
        }
        Ok(())
    }

    fn take_subcommands(&mut self, container: &str, entry: &Entry<'_>) -> Result<(), Full> {
        for reply in entry.subcommands {
            let Some(full) = name_of(reply) else {
                self.skip(container.as_bytes(), SkipReason::Malformed)?;
                continue;
            };
            // In full: `container|name`.
            let own = full
                .split_at_checked(container.len())
                .filter(|(before, _)| before.eq_ignore_ascii_case(container.as_bytes()))
                .and_then(|(_, own)| folded(own.strip_prefix(b"|")?));
            let Some(own) = own else {
                self.skip(full, SkipReason::Name)?;
                continue;
            };
            let name = format!("{container}|{own}");
            let known = self.table.find_full(&name);
            if known.is_some_and(|id| !self.table.command(id).learned) {
                continue;
            }
            match Entry::read(reply) {
                Some(entry) => self.push(entry.command(name), full)?,
                None => self.skip(full, SkipReason::Malformed)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, command: Command, name: &[u8]) -> Result<(), Full> {
        if self.learned.commands.len() >= self.room {
            // Even if that makes one too many: that much was left out must be told.
            self.learned.skipped.truncate(MAX_SKIPPED - 1);
            self.skip(name, SkipReason::TooMany)?;
            return Err(Full);
        }
        self.learned.commands.push(command);
        Ok(())
    }

    fn skip(&mut self, name: &[u8], reason: SkipReason) -> Result<(), Full> {
        if self.learned.skipped.len() < MAX_SKIPPED {
            let name = String::from_utf8_lossy(&name[..name.len().min(80)]);
            self.learned.skipped.push(Skipped {
                name: name.escape_debug().to_string(),
                reason,
            });
        }
        Ok(())
    }
}

// === impl Entry ===

impl<'a> Entry<'a> {
    fn read(reply: &'a Reply) -> Option<Self> {
        let items = reply.as_array()?;
        let number = |at: usize| match items.get(at)? {
            Reply::Integer(number) => Some(*number),
            _ => None,
        };
        let list = |at: usize| items.get(at).and_then(Reply::as_array);
        let flags: Flags = list(2)?
            .iter()
            // Versions differ in the flags they know.
            .filter_map(|word| Flag::parse(std::str::from_utf8(word.as_bytes()?).ok()?))
            .collect();
        let categories = list(6).map(|words| {
            let category = |word: &Reply| {
                let name = word.as_bytes()?.strip_prefix(b"@")?;
                // A module's own category is no part of the language here.
                Category::parse(std::str::from_utf8(name).ok()?)
            };
            words.iter().filter_map(category).collect()
        });
        Some(Self {
            arity: i16::try_from(number(1)?).ok()?,
            flags,
            row: [number(3)?, number(4)?, number(5)?],
            categories,
            specs: list(8).unwrap_or_default(),
            subcommands: list(9).unwrap_or_default(),
        })
    }

    fn command(&self, name: String) -> Command {
        let channels = match self.flags.contains(Flag::Pubsub) {
            true => Channels::Unknown,
            false => Channels::None,
        };
        let categories = self.categories.unwrap_or_else(|| implied(self.flags));
        Command::new(
            name,
            self.arity,
            self.flags,
            categories,
            self.keys(),
            channels,
        )
        .told()
    }

    fn keys(&self) -> Keys {
        let movable = self.flags.contains(Flag::Movablekeys);
        if self.specs.is_empty() {
            return match movable {
                true => Keys::Unknown,
                false => self.legacy_keys(),
            };
        }
        let Some(specs) = self.specs.iter().map(spec).collect::<Option<Vec<_>>>() else {
            return Keys::Unknown;
        };
        // A command whose keys are in plain rows is movable only if something else finds more of
        // them: a module's own function, which may do so beside any spec.
        let plain = |(_, find, _): &(Begin, Find, Vec<KeyFlag>)| matches!(find, Find::Range { .. });
        if movable && (self.flags.contains(Flag::Module) || specs.iter().all(plain)) {
            return Keys::Unknown;
        }
        let specs = specs
            .iter()
            .map(|(begin, find, flags)| (*begin, *find, flags.as_slice()));
        Keys::of_specs(specs, movable)
    }

    /// Where the keys are by first, last and step: all that is said up to 6.2.
    fn legacy_keys(&self) -> Keys {
        let reads = self.flags.contains(Flag::Readonly) && !self.flags.contains(Flag::Write);
        let access = match reads {
            true => Access::READ,
            false => Access::READ_WRITE,
        };
        let [first, last, step] = self.row;
        match (
            u16::try_from(first),
            i16::try_from(last),
            u16::try_from(step),
        ) {
            (Ok(first), Ok(last), Ok(step)) => Keys::range(first, last, step, access),
            _ => Keys::Unknown,
        }
    }
}

/// One key spec of Redis 7 and later; `None` if it makes no sense.
fn spec(reply: &Reply) -> Option<(Begin, Find, Vec<KeyFlag>)> {
    let flags = field(reply, b"flags")?.as_array()?;
    // A flag of a version to come may say anything: the strictest of what is known.
    let flag = |word: &Reply| {
        let known = word.as_bytes().and_then(KeyFlag::parse);
        known.unwrap_or(KeyFlag::VariableFlags)
    };
    let flags = flags.iter().map(flag).collect();
    let (begin, find) = (field(reply, b"begin_search")?, field(reply, b"find_keys")?);
    let number = |of: &Reply, name: &[u8]| match field(field(of, b"spec")?, name)? {
        Reply::Integer(number) => Some(*number),
        _ => None,
    };
    let count = |of: &Reply, name: &[u8]| u16::try_from(number(of, name)?).ok();
    // From 1 on: argument 0 is the name.
    let positive = |of: &Reply, name: &[u8]| count(of, name).filter(|number| *number > 0);
    let kind = |of| field(of, b"type").and_then(Reply::as_bytes);
    let begin = match kind(begin)? {
        b"index" => Begin::Index(positive(begin, b"index")?),
        // A keyword, or nobody knows.
        _ => Begin::Unknown,
    };
    let find = match kind(find)? {
        b"range" => Find::Range {
            last: i16::try_from(number(find, b"lastkey")?).ok()?,
            step: positive(find, b"keystep")?,
            limit: count(find, b"limit")?,
        },
        b"keynum" => Find::Keynum {
            count: count(find, b"keynumidx")?,
            first: count(find, b"firstkey")?,
            step: positive(find, b"keystep")?,
        },
        _ => Find::Unknown,
    };
    Some((begin, find, flags))
}

/// A field of a map, which RESP2 puts as a flat array.
fn field<'a>(map: &'a Reply, name: &[u8]) -> Option<&'a Reply> {
    map.as_array()?
        .chunks_exact(2)
        .find(|pair| pair[0].as_bytes() == Some(name))
        .map(|pair| &pair[1])
}

/// The name that an element of the answer starts with.
fn name_of(reply: &Reply) -> Option<&[u8]> {
    reply.as_array()?.first()?.as_bytes()
}

/// A name in lower case, if it is one.
fn folded(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    is_name(name.as_bytes()).then(|| name.to_ascii_lowercase())
}

/// The categories that flags put a command into (`acl.c`, `setImplicitACLCategories`), for servers
/// that know none.
fn implied(flags: Flags) -> Categories {
    let mut found = vec![match flags.contains(Flag::Fast) {
        true => Category::Fast,
        false => Category::Slow,
    }];
    for (flag, categories) in [
        (Flag::Write, &[Category::Write][..]),
        (Flag::Readonly, &[Category::Read]),
        (Flag::Admin, &[Category::Admin, Category::Dangerous]),
        (Flag::Pubsub, &[Category::Pubsub]),
        (Flag::Blocking, &[Category::Blocking]),
    ] {
        if flags.contains(flag) {
            found.extend(categories);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests;
