//! Roles: names for rules that stand in their place.

use std::collections::BTreeMap;

use super::rule::RuleError;

/// The roles of all ACL files.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles(BTreeMap<Box<str>, Vec<Box<[u8]>>>);

// === impl Roles ===

impl Roles {
    /// Returns whether the name was free.
    pub(super) fn insert(&mut self, name: &str, words: &[&[u8]]) -> bool {
        let words = words.iter().map(|word| (*word).into()).collect();
        self.0.insert(name.into(), words).is_none()
    }

    /// The rules with every `role=NAME` replaced by the role's own; those that can't be are told.
    pub(super) fn expand<'a>(
        &'a self,
        words: &[&'a [u8]],
        tell: &mut impl FnMut(&[u8], RuleError),
    ) -> Vec<&'a [u8]> {
        let mut out = Vec::new();
        self.expand_into(words.iter().copied(), &mut Vec::new(), &mut out, tell);
        out
    }

    fn expand_into<'a>(
        &'a self,
        words: impl Iterator<Item = &'a [u8]>,
        open: &mut Vec<&'a [u8]>,
        out: &mut Vec<&'a [u8]>,
        tell: &mut impl FnMut(&[u8], RuleError),
    ) {
        for word in words {
            let Some(name) = strip_role(word) else {
                out.push(word);
                continue;
            };
            if open.contains(&name) {
                tell(word, RuleError::RoleCycle);
                continue;
            }
            let role = std::str::from_utf8(name)
                .ok()
                .and_then(|name| self.0.get(name));
            let Some(rules) = role else {
                tell(word, RuleError::UnknownRole);
                continue;
            };
            open.push(name);
            // Boxed iterators would not help: roles nest a few deep at most, and never in a circle.
            let rules: Vec<&[u8]> = rules.iter().map(|rule| &**rule).collect();
            self.expand_into(rules.into_iter(), open, out, tell);
            open.pop();
        }
    }
}

/// The name behind `role=`.
fn strip_role(word: &[u8]) -> Option<&[u8]> {
    let (head, name) = word.split_at_checked(5)?;
    head.eq_ignore_ascii_case(b"role=").then_some(name)
}
