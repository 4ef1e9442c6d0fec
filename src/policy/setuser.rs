//! `ACL SETUSER` and `ACL DELUSER`: all rules of one change, or none (`acl.c`,
//! `ACLStringSetUser`).

use std::borrow::Cow;
use std::sync::Arc;

use crate::command::Table;

use super::rule::{RuleError, has_spaces};
use super::store::Policy;
use super::user::User;

/// Why a change is refused; the texts are Redis' own.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetUserError {
    /// A name that could not be written down.
    #[error("Usernames can't contain spaces or null characters")]
    Name,
    /// A name that Redis would take: here names are text, as certificates and files have them.
    #[error("respgate: usernames must be UTF-8 and not empty")]
    NotText,
    /// `(` without `)`.
    #[error("Unmatched parenthesis in acl selector starting at '{0}'.")]
    Unmatched(String),
    /// A rule is refused.
    #[error("Error in ACL SETUSER modifier '{rule}': {error}")]
    Rule {
        /// As the client sent it: it may be a password, and is the client's alone.
        rule: String,
        /// Why.
        error: RuleError,
    },
}

impl Policy {
    /// This policy with one user made or changed by rules, left to right.
    ///
    /// # Errors
    /// One of the rules is refused; nothing has changed.
    pub fn with_user(
        &self,
        name: &[u8],
        rules: &[&[u8]],
        table: &Table,
    ) -> Result<Self, SetUserError> {
        if has_spaces(name) {
            return Err(SetUserError::Name);
        }
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty());
        let name = name.ok_or(SetUserError::NotText)?;
        let refused = |rule: &[u8], error| SetUserError::Rule {
            rule: String::from_utf8_lossy(rule).into_owned(),
            error,
        };
        let mut wrong = None;
        let words = self.roles().expand(rules, &mut |word, error| {
            wrong.get_or_insert_with(|| refused(word, error));
        });
        if let Some(error) = wrong {
            return Err(error);
        }
        let mut user = match self.user(name) {
            Some(known) => User::clone(known),
            None => User::new(name),
        };
        for rule in &merge_selectors(&words)? {
            let applied = user.apply(rule, table);
            applied.map_err(|error| refused(rule, error))?;
        }
        user.compile(table);
        Ok(self.with(Arc::new(user)))
    }
}

/// Rules with selectors put together that are spread over several words.
pub(super) fn merge_selectors<'a>(words: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, SetUserError> {
    let mut merged = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    let mut start: &[u8] = &[];
    for word in words {
        let closes = word.last() == Some(&b')');
        match &mut open {
            None if word.first() == Some(&b'(') && !closes => {
                open = Some(word.to_vec());
                start = word;
            }
            None => merged.push(Cow::Borrowed(*word)),
            Some(selector) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if closes {
                    merged.extend(open.take().map(Cow::Owned));
                }
            }
        }
    }
    match open {
        None => Ok(merged),
        Some(_) => {
            let start = String::from_utf8_lossy(start).into_owned();
            Err(SetUserError::Unmatched(start))
        }
    }
}
