//! Scripts that a policy names: by what they say, or by its hash.

use sha1::{Digest, Sha1};

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
}

/// Which scripts a user may run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scripts {
    any: bool,
    pinned: Vec<PinnedScript>,
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
        })
    }

    /// A script that was read from the file `name`.
    pub(super) fn from_body(name: &str, body: Vec<u8>) -> Self {
        Self {
            hash: hash_of(&body),
            body: Some(body.into()),
            text: name.into(),
        }
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

    /// The pinned script of this hash.
    pub fn find(&self, hash: &ScriptHash) -> Option<&PinnedScript> {
        self.pinned.iter().find(|script| script.hash == *hash)
    }

    /// Whether nothing was said about scripts.
    pub fn is_empty(&self) -> bool {
        !self.any && self.pinned.is_empty()
    }

    pub(super) fn set_any(&mut self) {
        self.any = true;
    }

    pub(super) fn pin(&mut self, script: PinnedScript) {
        match self
            .pinned
            .iter_mut()
            .find(|known| known.hash == script.hash)
        {
            // A file says more than its hash.
            Some(known) if known.body.is_none() => *known = script,
            Some(_) => {}
            None => self.pinned.push(script),
        }
    }

    /// The rules that make this, each with a blank behind it.
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        if self.any {
            out.extend_from_slice(b"script=any ");
        }
        for script in &self.pinned {
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
}
