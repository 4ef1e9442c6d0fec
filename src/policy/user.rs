//! One user of an ACL file.

use subtle::Choice;

use crate::command::Table;

use super::password::PasswordHash;
use super::rule::{Rule, RuleError};
use super::selector::Selector;

/// A user: whether it may log in, with what, and what it may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    name: Box<str>,
    enabled: bool,
    nopass: bool,
    passwords: Vec<PasswordHash>,
    /// The root first. They are tried in order and never combined.
    selectors: Vec<Selector>,
}

// === impl User ===

impl User {
    /// A user as Redis makes one: off, without password, allowed nothing.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            enabled: false,
            nopass: false,
            passwords: Vec::new(),
            selectors: vec![Selector::default()],
        }
    }

    /// Applies one rule as written; rules build on each other, left to right.
    ///
    /// # Errors
    /// The rule is refused, in Redis' words; the user is as before.
    pub fn apply(&mut self, text: &str, table: &Table) -> Result<(), RuleError> {
        if text.is_empty() {
            // "Empty string is a no-operation" (acl.c).
            return Ok(());
        }
        let rule = Rule::parse(text, table)?;
        match &rule {
            Rule::On => self.enabled = true,
            Rule::Off => self.enabled = false,
            Rule::NoPass => {
                self.nopass = true;
                self.passwords.clear();
            }
            Rule::ResetPass => {
                self.nopass = false;
                self.passwords.clear();
            }
            Rule::AddPassword(hash) => {
                self.nopass = false;
                if !self.passwords.contains(hash) {
                    self.passwords.push(hash.clone());
                }
            }
            Rule::RemovePassword(hash) => {
                let at = self.passwords.iter().position(|known| known == hash);
                self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
            }
            Rule::Reset => *self = Self::new(&self.name),
            _ => {}
        }
        self.selectors[0].apply(rule, text, table)
    }

    /// After the last rule: prepares for many requests. What is allowed is the same without it.
    pub fn compile(&mut self) {
        self.selectors.iter_mut().for_each(Selector::compile);
    }

    /// The name, as AUTH gives it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `on`.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// `nopass`: any password will do.
    pub fn is_nopass(&self) -> bool {
        self.nopass
    }

    /// Whether there is a password to give.
    pub fn has_password(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// The sets of permissions, the root first.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Whether AUTH with this password logs in. Takes the same time whichever password matches.
    pub fn accepts(&self, given: &PasswordHash) -> bool {
        let any = |found: Choice, known: &PasswordHash| found | known.matches(given);
        let known = self.passwords.iter().fold(Choice::from(0), any);
        self.enabled && (bool::from(known) | self.nopass)
    }
}
