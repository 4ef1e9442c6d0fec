//! What SETUSER and DELUSER make of the users, and who may do that.

use crate::policy::{Policy, SetUserError, masked};

use super::super::rules::Rules;

/// A change of users that a client asks for.
#[derive(Clone, Copy, Debug)]
pub enum UserChange<'a> {
    /// SETUSER.
    Set {
        /// The user's name.
        name: &'a [u8],
        /// What the client sent behind it. There may be passwords in it.
        rules: &'a [&'a [u8]],
    },
    /// DELUSER.
    Delete {
        /// The users' names, those of nobody included.
        names: &'a [&'a [u8]],
    },
}

/// A change, made.
#[derive(Debug)]
pub struct MadeChange {
    /// All users.
    pub policy: Policy,
    /// The names of those that are not as before, or no more.
    pub touched: Vec<String>,
}

/// Why a change isn't made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChangeError {
    /// A name or a rule is refused.
    Rules(SetUserError),
    /// Redis can't be without its default user, and clients rely on the error.
    DefaultUser,
    /// It would change a user that holds rules which only who holds `lethal=acl` may give.
    Privileged,
    /// The caller lost the right to ask for it a moment ago.
    NotAllowed,
}

/// Why users are not loaded or saved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FilesError {
    /// There is no ACL file.
    NoFile,
    /// The reason, without passwords: what LOAD tells the client. SAVE tells only the log.
    Failed(String),
}

/// What may take its time: files are read or written, and all users are compiled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Errand {
    /// LOAD.
    Load,
    /// SAVE.
    Save,
}

/// The most of a change that the log and the audit are told, in letters.
const MAX_DESCRIPTION: usize = 1024;

// === impl UserChange ===

impl UserChange<'_> {
    /// Makes the change on behalf of the user `caller`. `rules` are those in force, which may be
    /// newer than what the request was judged by: nobody changes users by rights that are lost.
    ///
    /// # Errors
    /// Why it isn't made.
    pub fn make(&self, caller: &str, rules: &Rules) -> Result<MadeChange, ChangeError> {
        let (policy, table) = (rules.policy(), rules.table());
        let caller = policy.user(caller).ok_or(ChangeError::NotAllowed)?;
        let subcommand = match self {
            Self::Set { .. } => "acl|setuser",
            Self::Delete { .. } => "acl|deluser",
        };
        let allowed = |id| caller.selectors().iter().any(|one| one.allows_command(id));
        if !caller.is_enabled() || !table.find_full(subcommand).is_some_and(allowed) {
            return Err(ChangeError::NotAllowed);
        }
        let made = match self {
            Self::Set { name, rules } => {
                let made = policy.with_user(name, rules, table);
                MadeChange {
                    policy: made.map_err(ChangeError::Rules)?,
                    touched: vec![String::from_utf8_lossy(name).into_owned()],
                }
            }
            Self::Delete { names } => {
                if names.contains(&&b"default"[..]) {
                    return Err(ChangeError::DefaultUser);
                }
                let known = |user: &&str| names.contains(&user.as_bytes());
                let touched = policy.users().map(|user| user.name()).filter(known);
                MadeChange {
                    touched: touched.map(str::to_owned).collect(),
                    policy: policy.without_users(names).0,
                }
            }
        };
        // Whoever could give these rules, or set the password of who holds them, would hold them
        // himself.
        let privileged = |name: &String| {
            let both = [policy.user(name), made.policy.user(name)];
            both.into_iter().flatten().any(|user| user.is_privileged())
        };
        if made.touched.iter().any(privileged) && !caller.may_administer(table) {
            return Err(ChangeError::Privileged);
        }
        Ok(made)
    }

    /// The change for the log and the audit: no password, no hash. Only of a change that was made
    /// or is about rights: a rule that nobody knows may be a password.
    pub fn describe(&self) -> String {
        let text = match self {
            Self::Set { name, rules } => {
                let rules = rules.iter().map(|rule| masked(rule));
                let name = String::from_utf8_lossy(name).into_owned();
                let words: Vec<String> = [name].into_iter().chain(rules).collect();
                format!("SETUSER {}", words.join(" "))
            }
            Self::Delete { names } => {
                let names = names.iter().map(|name| String::from_utf8_lossy(name));
                format!("DELUSER {}", names.collect::<Vec<_>>().join(" "))
            }
        };
        match text.char_indices().nth(MAX_DESCRIPTION) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}
