//! One user of an ACL file.

use std::sync::Arc;

use subtle::Choice;

use crate::command::Table;

use super::lethal::Lethal;
use super::password::PasswordHash;
use super::rule::{LethalRule, Rule, RuleError, ScriptFiles, ScriptRule, no_files};
use super::script::Scripts;
use super::selector::Selector;

/// A user: whether it may log in, with what, and what it may do.
#[derive(Clone, Debug)]
pub struct User {
    name: Box<str>,
    /// The same in all that became of a user; who is made anew under an old name is somebody else.
    birth: Arc<()>,
    enabled: bool,
    nopass: bool,
    /// `skip-sanitize-payload`: kept for those who print it. Only Redis itself can look into a
    /// RESTORE's payload, and a legacy one doesn't.
    skips_sanitizing: bool,
    passwords: Vec<PasswordHash>,
    /// The root first. They are tried in order and never combined.
    selectors: Vec<Selector>,
    lethal: Lethal,
    scripts: Scripts,
    /// Some selector may not use every database. Set by [`User::compile`].
    restricts_databases: bool,
    /// Some selector allows everything. Set by [`User::compile`].
    unrestricted: bool,
}

// === impl User ===

impl User {
    /// A user as Redis makes one: off, without password, allowed nothing.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            birth: Arc::default(),
            enabled: false,
            nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            selectors: vec![Selector::default()],
            lethal: Lethal::default(),
            scripts: Scripts::default(),
            restricts_databases: false,
            unrestricted: false,
        }
    }

    /// Applies one rule as written; rules build on each other, left to right.
    ///
    /// # Errors
    /// The rule is refused, in Redis' words; the user is as before.
    pub fn apply(&mut self, text: &[u8], table: &Table) -> Result<(), RuleError> {
        self.apply_with(text, table, &no_files)
    }

    /// The same, where `script=FILE` can be read.
    pub(super) fn apply_with(
        &mut self,
        text: &[u8],
        table: &Table,
        files: ScriptFiles<'_>,
    ) -> Result<(), RuleError> {
        let Some(rule) = Rule::parse(text, table, files)? else {
            return Ok(());
        };
        match rule {
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
                if !self.passwords.contains(&hash) {
                    self.passwords.push(hash);
                }
            }
            Rule::RemovePassword(hash) => {
                let at = self.passwords.iter().position(|known| *known == hash);
                self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
            }
            Rule::Sanitize(sanitize) => self.skips_sanitizing = !sanitize,
            Rule::Reset => *self = Self::new(&self.name).born_as(self),
            Rule::ClearSelectors => self.selectors.truncate(1),
            Rule::Selector(selector) => self.selectors.push(*selector),
            Rule::Root(rule) => self.selectors[0].apply(rule, table)?,
            Rule::Lethal(LethalRule::None) => self.lethal = Lethal::default(),
            Rule::Lethal(LethalRule::Any) => self.lethal.allow_any(),
            Rule::Lethal(LethalRule::Command(id)) => self.lethal.allow(id, table),
            Rule::Script(ScriptRule::None) => self.scripts = Scripts::default(),
            Rule::Script(ScriptRule::Any) => self.scripts.set_any(),
            Rule::Script(ScriptRule::Pinned(script)) => self.scripts.pin(script),
        }
        Ok(())
    }

    /// After the last rule: prepares for many requests. Without it, databases and scripts are not
    /// judged right.
    pub fn compile(&mut self, table: &Table) {
        self.selectors.iter_mut().for_each(Selector::compile);
        let all_databases = self.selectors.iter().all(Selector::allows_all_databases);
        self.restricts_databases = !all_databases;
        self.unrestricted = self
            .selectors
            .iter()
            .any(|one| one.allows_everything(table));
    }

    /// The same rules over a table that has grown.
    pub(super) fn recompile(&mut self, table: &Table) {
        let selectors = self.selectors.iter_mut();
        selectors.for_each(|selector| selector.recompile(table));
        self.compile(table);
    }

    /// This user, who became of that one.
    pub(super) fn born_as(self, other: &Self) -> Self {
        Self {
            birth: Arc::clone(&other.birth),
            ..self
        }
    }

    /// Whether this is what became of that user, and it was never deleted in between.
    pub fn became_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.birth, &other.birth)
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

    /// `skip-sanitize-payload`.
    pub fn skips_sanitizing(&self) -> bool {
        self.skips_sanitizing
    }

    /// Whether there is a password to give.
    pub fn has_password(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// What its passwords hash to, in the order in which they came.
    pub fn passwords(&self) -> &[PasswordHash] {
        &self.passwords
    }

    /// The sets of permissions, the root first.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The lethal commands that it may run, if it may run them.
    pub fn lethal(&self) -> &Lethal {
        &self.lethal
    }

    /// The scripts that it may run.
    pub fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// Whether some database is closed to it.
    #[inline]
    pub fn restricts_databases(&self) -> bool {
        self.restricts_databases
    }

    /// Whether it is no narrower than `+@all ~* &*` in every database: what a script does, it may do
    /// itself.
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// Whether a policy says something of it that only who holds `lethal=acl` may say at run time:
    /// else `ACL SETUSER` would be the way round.
    pub fn is_privileged(&self) -> bool {
        !self.lethal.is_empty() || !self.scripts.is_empty()
    }

    /// Whether it may change users that are privileged.
    pub fn may_administer(&self, table: &Table) -> bool {
        let acl = table.find(b"acl");
        acl.is_some_and(|acl| self.lethal.allows(acl, table))
    }

    /// Whether AUTH with this password logs in. Takes the same time whichever password matches.
    pub fn accepts(&self, given: &PasswordHash) -> bool {
        let any = |found: Choice, known: &PasswordHash| found | known.matches(given);
        let known = self.passwords.iter().fold(Choice::from(0), any);
        self.enabled && (bool::from(known) | self.nopass)
    }

    /// The rules that make this user, as `ACL LIST` prints them behind `user NAME `
    /// (`ACLDescribeUser` of Redis 7.2 and later), and those of our own behind the passwords.
    pub fn describe(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for flag in self.flags() {
            out.extend_from_slice(flag.as_bytes());
            out.push(b' ');
        }
        for hash in &self.passwords {
            out.extend_from_slice(format!("#{hash} ").as_bytes());
        }
        self.lethal.describe(&mut out);
        self.scripts.describe(&mut out);
        for (number, selector) in self.selectors.iter().enumerate() {
            if number == 0 {
                selector.describe(&mut out);
            } else {
                out.extend_from_slice(b" (");
                selector.describe(&mut out);
                out.push(b')');
            }
        }
        out
    }

    /// The rules about lethal commands, `lethal=debug`; `None`: there are none.
    pub fn describe_lethal(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.lethal.describe(&mut out);
        (out.pop() == Some(b' ')).then_some(out)
    }

    /// The rules about scripts, `script=any`; `None`: there are none.
    pub fn describe_scripts(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.scripts.describe(&mut out);
        (out.pop() == Some(b' ')).then_some(out)
    }

    /// Whether two users of one table may do the same, and log in with the same.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.scripts == other.scripts && self.describe() == other.describe()
    }

    /// The flags in the order of `ACL GETUSER`.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let enabled = if self.enabled { "on" } else { "off" };
        let nopass = self.nopass.then_some("nopass");
        let sanitize = if self.skips_sanitizing {
            "skip-sanitize-payload"
        } else {
            "sanitize-payload"
        };
        [Some(enabled), nopass, Some(sanitize)]
            .into_iter()
            .flatten()
    }
}
