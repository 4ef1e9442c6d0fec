//! The commands whose options decide on keys or access, parsed as Redis parses them to run them.
//!
//! A word that Redis does not know in its place makes the request unparsable, although Redis would
//! only answer a syntax error: an option of a version to come may move keys. So does a NUL byte in
//! such a word, which Redis' `strcasecmp` would take for the word's end.

use std::ops::ControlFlow;

use super::walk::{Stop, Walk};
use super::{Access, Parser, Touch};

// === impl Parser ===

impl Parser {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "set" => Self::Set,
            "bitfield" => Self::Bitfield,
            "sort" => Self::Sort,
            "sort_ro" => Self::SortRo,
            "georadius" => Self::Georadius,
            "georadiusbymember" => Self::Georadiusbymember,
            "migrate" => Self::Migrate,
            "xread" => Self::Xread,
            "xreadgroup" => Self::Xreadgroup,
            "stralgo" => Self::Stralgo,
            "debug" => Self::Debug,
            _ => return None,
        })
    }
}

// === impl Walk ===

impl<'a, V: FnMut(Touch<'a>) -> ControlFlow<()>> Walk<'_, 'a, V> {
    pub(super) fn parse(&mut self, parser: Parser) -> Result<(), Stop> {
        match parser {
            Parser::Set => self.set(),
            Parser::Bitfield => self.bitfield(),
            Parser::Sort => self.sort(true),
            Parser::SortRo => self.sort(false),
            Parser::Georadius => self.georadius(6),
            Parser::Georadiusbymember => self.georadius(5),
            Parser::Migrate => self.migrate(),
            Parser::Xread => self.xread(false),
            Parser::Xreadgroup => self.xread(true),
            Parser::Stralgo => self.stralgo(),
            Parser::Debug => self.debug(),
        }
    }

    /// `SET key value [option]…` writes, and with GET anywhere behind the value reads. The
    /// comparisons of Redis 8.4 and Valkey 8.1 count as reading too, since their outcome tells the
    /// value.
    fn set(&mut self) -> Result<(), Stop> {
        for index in 3..self.args.len() {
            let Some(option) = self.args.get(index) else {
                return self.key_for(1, Access::READ_WRITE, false);
            };
            // Redis looks at the first three bytes and a terminating zero, so `GET\0x` is GET.
            let word = option.split(|byte| *byte == 0).next().unwrap_or_default();
            if is(word, &["get", "ifeq", "ifne", "ifdeq", "ifdne"]) {
                return self.key(1, Access::READ_WRITE);
            }
        }
        self.key(1, Access::WRITE)
    }

    /// `BITFIELD key [GET t o | SET t o v | INCRBY t o n | OVERFLOW how]…` writes unless it only
    /// gets. What is no such word counts as a write, as Redis' own key search has it.
    fn bitfield(&mut self) -> Result<(), Stop> {
        let len = self.args.len();
        let mut at = 2;
        while at < len {
            let Some(word) = self.args.get(at) else {
                return self.key_for(1, Access::READ_WRITE, false);
            };
            let left = len - at - 1;
            if is(word, &["get"]) && left >= 2 {
                at += 3;
            } else if is(word, &["overflow"]) && left >= 1 {
                at += 2;
            } else {
                return self.key(1, Access::READ_WRITE);
            }
        }
        self.key(1, Access::READ)
    }

    /// `SORT key [BY pattern] [LIMIT offset count] [GET pattern]… [ASC|DESC] [ALPHA] [STORE key]`,
    /// in any order and number; the last STORE counts, and what follows it is a key, be it called
    /// `BY`. Patterns read keys that only the data names: all but a BY without `*`, which is
    /// how one says "do not sort".
    fn sort(&mut self, stores: bool) -> Result<(), Stop> {
        let len = self.args.len();
        self.key(1, Access::READ)?;
        let mut store = None;
        let mut at = 2;
        while at < len {
            let left = len - at - 1;
            let word = self.word(at)?;
            if is(word, &["asc", "desc", "alpha"]) {
                at += 1;
            } else if is(word, &["limit"]) && left >= 2 {
                at += 3;
            } else if stores && is(word, &["store"]) && left >= 1 {
                store = Some(at + 1);
                at += 2;
            } else if is(word, &["by"]) && left >= 1 {
                if self.arg(at + 1)?.contains(&b'*') {
                    self.touch(Touch::AllKeys {
                        index: at + 1,
                        access: Access::READ,
                        why: "BY",
                    })?;
                }
                at += 2;
            } else if is(word, &["get"]) && left >= 1 {
                self.touch(Touch::AllKeys {
                    index: at + 1,
                    access: Access::READ,
                    why: "GET",
                })?;
                at += 2;
            } else {
                return Err(Stop::Unparsable(at));
            }
        }
        store.map_or(Ok(()), |index| self.key(index, Access::WRITE))
    }

    /// `GEORADIUS[BYMEMBER] key … unit [option]…`: the last of STORE and STOREDIST counts.
    /// `options` is the first argument that is an option.
    fn georadius(&mut self, options: usize) -> Result<(), Stop> {
        let len = self.args.len();
        self.key(1, Access::READ)?;
        let mut store = None;
        let mut at = options;
        while at < len {
            let left = len - at - 1;
            let word = self.word(at)?;
            let plain = ["withdist", "withhash", "withcoord", "any", "asc", "desc"];
            if is(word, &plain) {
                at += 1;
            } else if is(word, &["count"]) && left >= 1 {
                at += 2;
            } else if is(word, &["store", "storedist"]) && left >= 1 {
                store = Some(at + 1);
                at += 2;
            } else {
                return Err(Stop::Unparsable(at));
            }
        }
        store.map_or(Ok(()), |index| self.key(index, Access::WRITE))
    }

    /// `MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH pw] [AUTH2 user pw] [KEYS key…]`;
    /// KEYS takes all that follows, and only with an empty key before. With nothing behind it 8.2
    /// checks the empty key and 7.0 none.
    fn migrate(&mut self) -> Result<(), Stop> {
        let len = self.args.len();
        let mut at = 6;
        while at < len {
            let left = len - at - 1;
            let word = self.word(at)?;
            if is(word, &["copy", "replace"]) {
                at += 1;
            } else if is(word, &["auth"]) && left >= 1 {
                at += 2;
            } else if is(word, &["auth2"]) && left >= 2 {
                at += 3;
            } else if is(word, &["keys"]) && left >= 1 && self.arg(3)?.is_empty() {
                return self.keys(at + 1, len, 1, Access::READ_WRITE);
            } else {
                return Err(Stop::Unparsable(at));
            }
        }
        self.key(3, Access::READ_WRITE)
    }

    /// `XREAD … STREAMS key… id…`; `XREADGROUP GROUP group consumer …` the same. A group or consumer
    /// may be called STREAMS. CLAIM is new in Redis 8.4.
    fn xread(&mut self, group: bool) -> Result<(), Stop> {
        let len = self.args.len();
        let mut at = 1;
        while at < len {
            let left = len - at - 1;
            let word = self.word(at)?;
            if is(word, &["block", "count"]) && left >= 1 {
                at += 2;
            } else if is(word, &["streams"]) && left >= 2 && left.is_multiple_of(2) {
                // Reading as a group changes the group, yet Redis asks for no more than reading.
                return self.keys(at + 1, at + 1 + left / 2, 1, Access::READ);
            } else if group && is(word, &["group"]) && left >= 2 {
                at += 3;
            } else if group && is(word, &["noack"]) {
                at += 1;
            } else if group && is(word, &["claim"]) && left >= 1 {
                at += 2;
            } else {
                return Err(Stop::Unparsable(at));
            }
        }
        Err(Stop::Unparsable(len.saturating_sub(1)))
    }

    /// `STRALGO LCS [KEYS a b | STRINGS a b] [option]…`, Redis 6.x only.
    fn stralgo(&mut self) -> Result<(), Stop> {
        let len = self.args.len();
        if len > 1 && !is(self.word(1)?, &["lcs"]) {
            return Err(Stop::Unparsable(1));
        }
        let mut at = 2;
        while at < len {
            let left = len - at - 1;
            let word = self.word(at)?;
            if is(word, &["idx", "len", "withmatchlen"]) {
                at += 1;
            } else if is(word, &["minmatchlen"]) && left >= 1 {
                at += 2;
            } else if is(word, &["strings"]) && left >= 2 {
                at += 3;
            } else if is(word, &["keys"]) && left >= 2 {
                self.keys(at + 1, at + 3, 1, Access::READ)?;
                at += 3;
            } else {
                return Err(Stop::Unparsable(at));
            }
        }
        Ok(())
    }

    /// Redis' ACL sees no key in DEBUG; some of its subcommands read one all the same, and most of
    /// the others reach into the whole data set.
    fn debug(&mut self) -> Result<(), Stop> {
        let len = self.args.len();
        if len < 2 {
            return Ok(());
        }
        let word = self.word(1)?;
        let one_key = [
            "object",
            "sdslen",
            "ziplist",
            "listpack",
            "quicklist",
            "htstats-key",
        ];
        let no_key = [
            "sleep",
            "error",
            "log",
            "protocol",
            "help",
            "set-active-expire",
        ];
        if is(word, &one_key) {
            self.key(2, Access::READ)
        } else if is(word, &["digest-value"]) {
            self.keys(2, len, 1, Access::READ)
        } else if is(word, &no_key) {
            Ok(())
        } else {
            self.touch(Touch::AllKeys {
                index: 1,
                access: Access::READ_WRITE,
                why: "DEBUG",
            })
        }
    }

    /// An argument in the place of a keyword.
    fn word(&self, index: usize) -> Result<&'a [u8], Stop> {
        let word = self.arg(index)?;
        if word.contains(&0) {
            return Err(Stop::Unparsable(index));
        }
        Ok(word)
    }
}

/// Whether a word is one of these, which are in lower case, as C's `strcasecmp` sees it.
fn is(word: &[u8], any: &[&str]) -> bool {
    any.iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}
