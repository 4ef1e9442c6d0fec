//! Which keys a selector allows.

use crate::command::Access;

use super::heads::HeadIndex;
use super::pattern::Pattern;
use super::rule::RuleError;

/// The keys of one selector.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    All,
    Some(KeyPatterns),
}

#[derive(Clone, Debug, Default)]
pub(super) struct KeyPatterns {
    /// In the order of their rules.
    list: Vec<KeyPattern>,
    /// Only saves time: without it the list is gone through.
    index: Option<HeadIndex>,
}

#[derive(Clone, Debug)]
struct KeyPattern {
    pattern: Pattern,
    access: Access,
}

/// So many key patterns are sooner gone through than looked up.
const UNINDEXED: usize = 4;

// === impl Keys ===

impl Default for Keys {
    fn default() -> Self {
        Self::Some(KeyPatterns::default())
    }
}

impl Keys {
    /// The same pattern twice adds its permissions up.
    pub(super) fn add(&mut self, pattern: Pattern, access: Access) -> Result<(), RuleError> {
        let Self::Some(patterns) = self else {
            return Err(RuleError::KeyAfterAll);
        };
        patterns.index = None;
        let list = &mut patterns.list;
        match list.iter_mut().find(|key| key.pattern == pattern) {
            Some(known) => known.access = known.access | access,
            None => list.push(KeyPattern { pattern, access }),
        }
        Ok(())
    }

    /// After the last rule: prepares for many requests.
    pub(super) fn compile(&mut self) {
        if let Self::Some(patterns) = self
            && patterns.list.len() > UNINDEXED
        {
            let heads = patterns.list.iter().map(|key| key.pattern.head());
            patterns.index = Some(HeadIndex::new(heads));
        }
    }

    /// Whether every key may be touched like this: `allkeys`, or `*` as a pattern (`%R~*`), which
    /// Redis looks at key by key and takes for all in SORT … BY
    /// (`ACLSelectorHasUnrestrictedKeyAccess`).
    pub(super) fn allow_any(&self, access: Access) -> bool {
        match self {
            Self::All => true,
            Self::Some(patterns) => patterns
                .list
                .iter()
                .any(|key| key.pattern.source() == b"*" && key.access.covers(access)),
        }
    }

    /// Whether a key may be touched like this. A key that is neither read nor written (EXISTS)
    /// needs some pattern that matches, whatever it grants.
    #[inline]
    pub(super) fn allow(&self, name: &[u8], access: Access) -> bool {
        match self {
            Self::All => true,
            Self::Some(patterns) => {
                let allows =
                    |key: &KeyPattern| key.access.covers(access) && key.pattern.matches(name);
                match &patterns.index {
                    None => patterns.list.iter().any(allows),
                    Some(index) => index.any(name, |number| allows(&patterns.list[number])),
                }
            }
        }
    }

    /// The pattern that allows a key like this, or else one that matches it and doesn't allow
    /// enough, as a rule.
    pub(super) fn deciding_rule(&self, name: &[u8], access: Access) -> Option<String> {
        let Self::Some(patterns) = self else {
            return Some("~*".to_owned());
        };
        let matching = || patterns.list.iter().filter(|key| key.pattern.matches(name));
        matching()
            .find(|key| key.access.covers(access))
            .or_else(|| matching().next())
            .map(|key| String::from_utf8_lossy(&key.describe()).into_owned())
    }

    /// The patterns as Redis prints them, a blank between two.
    pub(super) fn describe(&self) -> Vec<u8> {
        match self {
            Self::All => b"~*".to_vec(),
            Self::Some(patterns) => {
                let rules: Vec<_> = patterns.list.iter().map(KeyPattern::describe).collect();
                rules.join(&b' ')
            }
        }
    }
}

// === impl KeyPattern ===

impl KeyPattern {
    fn describe(&self) -> Vec<u8> {
        let sign: &[u8] = match (self.access.reads(), self.access.writes()) {
            (true, true) => b"~",
            (true, false) => b"%R~",
            (false, _) => b"%W~",
        };
        [sign, self.pattern.source()].concat()
    }
}
