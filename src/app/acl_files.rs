//! The ACL files: read and compiled at start, and again at every reload.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::command::Table;
use crate::config::Config;
use crate::identity::{self, AuthKind, Naming};
use crate::policy::{self, Policy, Source, User};
use crate::proxy::{Compiled, PolicyFiles, PolicyText, Replacement};
use crate::session::Rules;

use super::replace_files::replace_files;
use super::script_files::{beside, is_script, read_scripts};

/// Where the users are defined, and the identity rules that they must fit.
#[derive(Debug)]
pub(super) struct AclFiles {
    /// The configuration's own path, for messages.
    config: PathBuf,
    /// Files and directories.
    paths: Vec<PathBuf>,
    identities: Vec<identity::Rule>,
    /// Users on whom the policy is only tried.
    shadow_users: Vec<String>,
}

// === impl AclFiles ===

impl AclFiles {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            config: config.path.clone(),
            paths: config.acl_files.clone(),
            identities: config.identities.clone(),
            shadow_users: config.shadow.users.clone(),
        }
    }

    /// Compiles what was read, without a look at what could not be.
    pub(super) fn parse(
        &self,
        text: &PolicyText,
        table: &Table,
    ) -> Result<(Policy, Vec<policy::Problem>), Vec<policy::Problem>> {
        let read = |acl: &Path, name: &str| {
            let script = text.scripts.get(&beside(acl, name));
            // Only of a name that wasn't there when the files were read.
            script
                .cloned()
                .unwrap_or_else(|| Err("not read with the ACL files".to_owned()))
        };
        Policy::parse_with(&text.sources, table, &read)
    }

    /// The policy that the files make; `None` if anything in them is wrong. What of it is wrong for
    /// the identity rules is told beside it.
    pub(super) fn accept(
        &self,
        text: PolicyText,
        parsed: Result<(Policy, Vec<policy::Problem>), Vec<policy::Problem>>,
        problems: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Option<Policy> {
        // A user may stand in the file that couldn't be read.
        let whole = text.unreadable.is_empty();
        problems.extend(text.unreadable);
        match parsed {
            Ok((policy, doubts)) => {
                warnings.extend(doubts.iter().map(ToString::to_string));
                if !whole {
                    return None;
                }
                self.check_users(&policy, problems, warnings);
                Some(policy)
            }
            Err(wrong) => {
                problems.extend(wrong.iter().map(ToString::to_string));
                None
            }
        }
    }

    /// What only the configuration and users together show.
    fn check_users(&self, policy: &Policy, problems: &mut Vec<String>, warnings: &mut Vec<String>) {
        for (index, name) in self.shadow_users.iter().enumerate() {
            if policy.user(name).is_none() {
                let file = self.config.display();
                problems.push(format!(
                    "{file}: policy.shadow_users[{index}] = \"{name}\": no ACL file defines this user"
                ));
            }
        }
        for (index, rule) in self.identities.iter().enumerate() {
            let key = |field: &str| format!("{}: identity[{index}].{field}", self.config.display());
            let mut known: Vec<&User> = Vec::new();
            for name in named_users(rule) {
                match policy.user(name) {
                    None => problems.push(format!(
                        "{} = \"{name}\": no ACL file defines this user",
                        key("user")
                    )),
                    Some(user) if !user.is_enabled() => {
                        warnings.push(format!("{} = \"{name}\": the user is off", key("user")));
                    }
                    Some(user) => known.push(user),
                }
            }
            if matches!(rule.naming(), Naming::Chosen) {
                known.extend(policy.users().map(|user| &**user));
            }
            if rule.auth() == AuthKind::Password {
                for user in known
                    .iter()
                    .filter(|user| user.is_enabled() && user.is_nopass())
                {
                    problems.push(format!(
                        "{} = \"password\": user \"{}\" is 'nopass': any password would do; give it \
                         one, or 'off'",
                        key("auth"),
                        user.name()
                    ));
                }
                for user in named_users(rule).filter_map(|name| policy.user(name)) {
                    if !user.has_password() && !user.is_nopass() {
                        warnings.push(format!(
                            "{} = \"password\": user \"{}\" has no password: it can't log in",
                            key("auth"),
                            user.name()
                        ));
                    }
                }
            }
        }
    }
}

impl PolicyFiles for AclFiles {
    fn read(&self) -> PolicyText {
        let mut text = PolicyText::default();
        for (index, path) in self.paths.iter().enumerate() {
            let file = self.config.display();
            let wrong = |path: &Path, reason: String| {
                let path = path.display().to_string();
                format!("{file}: policy.acl_files[{index}] = {path:?}: {reason}")
            };
            let unreadable =
                |path: &Path, error: io::Error| wrong(path, format!("cannot be read: {error}"));
            match acl_files(path) {
                Ok(files) if files.is_empty() => {
                    text.unreadable
                        .push(wrong(path, "no file in it".to_owned()));
                }
                Ok(files) => {
                    for path in files {
                        match fs::read(&path) {
                            Ok(content) => text.sources.push(Source { path, content }),
                            Err(error) => text.unreadable.push(unreadable(&path, error)),
                        }
                    }
                }
                Err(error) => text.unreadable.push(unreadable(path, error)),
            }
        }
        text.scripts = read_scripts(&text.sources);
        text
    }

    fn compile(&self, text: PolicyText, rules: &Rules) -> Result<Compiled, Vec<String>> {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let parsed = self.parse(&text, rules.table());
        match self.accept(text, parsed, &mut problems, &mut warnings) {
            Some(policy) if problems.is_empty() => Ok(Compiled { policy, warnings }),
            _ => Err(problems),
        }
    }

    fn write(&self, files: &[Replacement]) -> Result<(), String> {
        replace_files(files)
    }
}

/// The file itself, or the files of a directory. Names that begin with a dot are not meant: an
/// editor's, or the links of a Kubernetes mount. Scripts lie beside the files that name them.
pub(super) fn acl_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !metadata.is_dir() {
        // Reading a pipe would wait for ever.
        return Err(io::Error::other("neither a file nor a directory"));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // A dead link is kept: reading it fails and names it.
        let is_file = fs::metadata(entry.path()).map_or(true, |metadata| metadata.is_file());
        if !hidden && is_file && !is_script(&entry.path()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn named_users(rule: &identity::Rule) -> impl Iterator<Item = &str> {
    let names: Vec<&str> = match rule.naming() {
        Naming::Fixed(name) => vec![name],
        Naming::OneOf(names) => names.iter().map(|name| &**name).collect(),
        Naming::Attribute(_) | Naming::Chosen => Vec::new(),
    };
    names.into_iter()
}
