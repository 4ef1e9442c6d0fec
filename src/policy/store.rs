//! All users of one moment, as a value: a change makes another one, which shares what is the same.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::command::Table;

use super::file::Source;
use super::password::PasswordHash;
use super::roles::Roles;
use super::user::User;

/// All users, compiled.
#[derive(Clone, Debug)]
pub struct Policy {
    /// By name. A change copies the pointers: 10,000 of them in about 50 µs.
    users: Arc<[Arc<User>]>,
    roles: Arc<Roles>,
    content_hash: Arc<str>,
}

// === impl Policy ===

impl Policy {
    pub(super) fn new(mut users: Vec<Arc<User>>, roles: Roles, sources: &[Source]) -> Self {
        users.sort_by(|one, other| one.name().cmp(other.name()));
        let content_hash = Self::hash_of(&users, sources).into();
        Self {
            users: users.into(),
            roles: Arc::new(roles),
            content_hash,
        }
    }

    /// One SHA-256 over ACL files and the scripts that their users name, hex.
    fn hash_of(users: &[Arc<User>], sources: &[Source]) -> String {
        let mut digest = Sha256::new();
        for source in sources {
            // Length first: two files never hash like one that holds both.
            digest.update((source.content.len() as u64).to_be_bytes());
            digest.update(&source.content);
        }
        // A script's file belongs to the ACL file that names it.
        for script in users.iter().flat_map(|user| user.scripts().pinned()) {
            if script.body().is_some() {
                digest.update(script.hash());
            }
        }
        let hash = digest.finalize();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        Some(&self.users[self.find(name).ok()?])
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.users.binary_search_by(|user| user.name().cmp(name))
    }

    /// Every user, by name.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.iter()
    }

    pub(super) fn roles(&self) -> &Roles {
        &self.roles
    }

    /// One SHA-256 over all files and the scripts that they name, hex.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// The user that a name and a password log in as. Hashes the password whether the user exists
    /// or not, so that the time taken doesn't tell.
    pub fn authenticate(&self, name: &str, password: &[u8]) -> Option<&Arc<User>> {
        let given = PasswordHash::of(password);
        self.user(name).filter(|user| user.accepts(&given))
    }

    /// This policy with one user put in its place.
    pub(super) fn with(&self, user: Arc<User>) -> Self {
        let (before, behind) = match self.find(user.name()) {
            Ok(at) => (&self.users[..at], &self.users[at + 1..]),
            Err(at) => self.users.split_at(at),
        };
        let users = before.iter().cloned();
        let users = users.chain([user]).chain(behind.iter().cloned());
        Self {
            users: users.collect(),
            ..self.clone()
        }
    }

    /// This policy without the users of these names, and how many there were.
    pub fn without_users(&self, names: &[&[u8]]) -> (Self, usize) {
        let kept = |user: &&Arc<User>| !names.contains(&user.name().as_bytes());
        let users: Arc<[_]> = self.users.iter().filter(kept).cloned().collect();
        let gone = self.users.len() - users.len();
        let rest = Self {
            users,
            ..self.clone()
        };
        (rest, gone)
    }

    /// This policy over a table that has grown: rules about all commands or a category cover what is
    /// new.
    pub fn recompiled(&self, table: &Table) -> Self {
        let recompile = |user: &Arc<User>| {
            let mut user = User::clone(user);
            user.recompile(table);
            Arc::new(user)
        };
        Self {
            users: self.users.iter().map(recompile).collect(),
            ..self.clone()
        }
    }

    /// This policy with the users of `old` that say the same, so that nobody takes them for changed.
    pub fn reusing(&self, old: &Self) -> Self {
        let keep = |user: &Arc<User>| match old.user(user.name()) {
            Some(known) if known.says_the_same(user) => Arc::clone(known),
            Some(known) => Arc::new(User::clone(user).born_as(known)),
            None => Arc::clone(user),
        };
        Self {
            users: self.users.iter().map(keep).collect(),
            ..self.clone()
        }
    }
}
