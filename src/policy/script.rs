//! Scripts that a policy names: by what they say, or by its hash.

use sha1::{Digest, Sha1};

use crate::command::Gate;
use crate::resp::Args;

/// The SHA-1 that Redis knows a script by.
pub type ScriptHash = [u8; 20];

/// One script that a user may run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PinnedScript {
    hash: ScriptHash,
    /// Known where the policy names a file: then the proxy can load it by itself.
    body: Option<Box<[u8]>>,
    /// What stands behind `script=`.
    text: Box<str>,
    /// The file without the line ends that it ends in. One rule stands for both.
    trimmed: bool,
}

/// Which scripts a user may run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scripts {
    any: bool,
    pinned: Vec<PinnedScript>,
}

/// What the rules say of a request's script.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Named {
    /// This one is pinned; see [`Scripts::get`].
    Pinned(usize),
    /// None is, or the command runs what nobody can name.
    Unnamed,
    /// The script has not arrived.
    Incomplete,
    /// There is none.
    Missing,
}

// === impl PinnedScript ===

impl PinnedScript {
    /// A script of which only the hash is known, 40 hex digits in any case, as EVALSHA takes them.
    pub(super) fn from_sha1(hex: &str) -> Option<Self> {
        let hash = read_hash(hex.as_bytes())?;
        Some(Self {
            hash,
            body: None,
            text: format!("sha1:{}", hex.to_ascii_lowercase()).into(),
            trimmed: false,
        })
    }

    /// A script that was read from the file `name`.
    pub(super) fn from_body(name: &str, body: Vec<u8>) -> Self {
        Self {
            hash: hash_of(&body),
            body: Some(body.into()),
            text: name.into(),
            trimmed: false,
        }
    }

    /// What a shell's `$(cat FILE)` makes of the file, if that is anything else.
    fn trim(&self) -> Option<Self> {
        let mut body = self.body.as_deref()?;
        while let Some(shorter) = body.strip_suffix(b"\n") {
            body = shorter;
        }
        (Some(body) != self.body()).then(|| Self {
            trimmed: true,
            ..Self::from_body(&self.text, body.to_vec())
        })
    }

    /// What Redis knows it by.
    pub fn hash(&self) -> &ScriptHash {
        &self.hash
    }

    /// The script itself, where the policy names a file.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// The rule's text behind `script=`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The hash of a script's body.
pub fn hash_of(body: &[u8]) -> ScriptHash {
    Sha1::digest(body).into()
}

/// Reads the hash that EVALSHA is given; Redis folds the digits' case.
pub fn read_hash(hex: &[u8]) -> Option<ScriptHash> {
    let mut hash = [0; 20];
    if hex.len() != 40 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(hash)
}

// === impl Scripts ===

impl Scripts {
    /// `script=any`: whatever it says.
    pub fn allow_any(&self) -> bool {
        self.any
    }

    /// The pinned script of this number.
    pub fn get(&self, number: usize) -> Option<&PinnedScript> {
        self.pinned.get(number)
    }

    /// Every pinned script.
    pub(super) fn pinned(&self) -> impl Iterator<Item = &PinnedScript> {
        self.pinned.iter()
    }

    /// Which pinned script a request of a command with this gate runs or loads.
    pub fn named_by(&self, gate: Gate, args: &Args<'_>) -> Named {
        let index = match gate {
            Gate::Script | Gate::ScriptHash => 1,
            Gate::ScriptLoad => 2,
            _ => return Named::Unnamed,
        };
        let Some(script) = args.get(index) else {
            return if index < args.len() {
                Named::Incomplete
            } else {
                Named::Missing
            };
        };
        let number = if gate == Gate::ScriptHash {
            let hash = read_hash(script);
            let called = |known: &PinnedScript| Some(known.hash) == hash;
            self.pinned.iter().position(called)
        } else {
            let hash = hash_of(script);
            // Two scripts of one SHA-1 can be made; where the text is known, the hash isn't asked.
            let same = |known: &PinnedScript| match known.body() {
                Some(body) => body == script,
                None => known.hash == hash,
            };
            self.pinned.iter().position(same)
        };
        number.map_or(Named::Unnamed, Named::Pinned)
    }

    /// Whether nothing was said about scripts.
    pub fn is_empty(&self) -> bool {
        !self.any && self.pinned.is_empty()
    }

    pub(super) fn set_any(&mut self) {
        self.any = true;
    }

    pub(super) fn pin(&mut self, script: PinnedScript) {
        let trimmed = script.trim();
        for script in [Some(script), trimmed].into_iter().flatten() {
            self.pin_one(script);
        }
    }

    fn pin_one(&mut self, script: PinnedScript) {
        let same = |known: &&mut PinnedScript| known.hash == script.hash;
        match self.pinned.iter_mut().find(same) {
            // A file says more than its hash, and a rule more than what it implies.
            Some(known) if known.body.is_none() || known.trimmed => *known = script,
            Some(_) => {}
            None => self.pinned.push(script),
        }
    }

    /// The rules that make this, each with a blank behind it.
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        if self.any {
            out.extend_from_slice(b"script=any ");
        }
        for script in self.pinned.iter().filter(|script| !script.trimmed) {
            out.extend_from_slice(b"script=");
            out.extend_from_slice(script.text.as_bytes());
            out.push(b' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_redis_own() {
        let hex = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert_eq!(read_hash(hex.as_bytes()), Some(hash_of(b"return 1")));
        assert_eq!(
            read_hash(hex.to_uppercase().as_bytes()),
            Some(hash_of(b"return 1"))
        );
        assert_eq!(read_hash(b"e0e1"), None);
        assert_eq!(read_hash(hex.replace('0', "g").as_bytes()), None);
    }

    #[test]
    fn a_file_takes_the_place_of_its_hash() {
        let mut scripts = Scripts::default();
        let hex = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        scripts.pin(PinnedScript::from_sha1(hex).unwrap());
        scripts.pin(PinnedScript::from_body("one.lua", b"return 1".to_vec()));
        let mut text = Vec::new();
        scripts.describe(&mut text);
        assert_eq!(text, b"script=one.lua ");
    }

    #[test]
    fn a_file_is_pinned_with_and_without_its_last_line_end() {
        let mut scripts = Scripts::default();
        scripts.pin(PinnedScript::from_body("a.lua", b"return 1\n".to_vec()));
        for body in [&b"return 1"[..], b"return 1\n"] {
            let hash = hash_of(body);
            let pinned = scripts.pinned().find(|script| script.hash == hash);
            assert_eq!(pinned.and_then(PinnedScript::body), Some(body));
        }
        let mut text = Vec::new();
        scripts.describe(&mut text);
        assert_eq!(text, b"script=a.lua ");
        scripts.pin(PinnedScript::from_body("b.lua", b"return 1".to_vec()));
        scripts.describe(&mut text);
        assert_eq!(text, b"script=a.lua script=a.lua script=b.lua ");
        assert_eq!(scripts.pinned().count(), 2);
    }
}
