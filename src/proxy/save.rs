//! ACL SAVE: run-time changes of users, written into the ACL files.

use std::path::PathBuf;
use std::sync::PoisonError;

use crate::session::FilesError;

use super::reload::PolicyText;
use super::service::Service;

/// What an ACL file is to say.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The file.
    pub path: PathBuf,
    /// What was read of it, and what must be there still when it is replaced.
    pub old: Vec<u8>,
    /// What is written in its place.
    pub new: Vec<u8>,
}

/// Why nothing is saved where somebody has written to the files meanwhile.
pub const CHANGED_FILES: &str =
    "the ACL files have changed since they were loaded: ACL LOAD or SIGHUP first";

// === impl Service ===

impl Service {
    /// Writes the users that were changed at run time into the files that they came from. All that
    /// did not change stays as it stands there.
    ///
    /// # Errors
    /// Nothing has changed: there is no file; one has changed on disk or can't be written; or what
    /// would stand there couldn't be loaded again, or not as what is in force.
    pub fn save(&self) -> Result<(), FilesError> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let source = &*files;
        let text = source.read();
        if !text.unreadable.is_empty() {
            return Err(FilesError::Failed(text.unreadable.join("; ")));
        }
        if text.sources.is_empty() {
            return Err(FilesError::NoFile);
        }
        let failed = |reason: String| FilesError::Failed(reason);
        self.keeper.save(|rules, unsaved| {
            let policy = rules.policy();
            let on_disk = source.compile(text.clone(), rules);
            if !on_disk.is_ok_and(|old| old.policy.content_hash() == policy.content_hash()) {
                return Err(failed(CHANGED_FILES.to_owned()));
            }
            let files = policy.written_into(&text.sources, |name| unsaved.contains_key(name));
            // A proxy that can't be started again, or comes back with other rules, is worse than
            // one whose changes are not saved.
            let next = PolicyText {
                sources: files.clone(),
                ..text.clone()
            };
            let compiled = source.compile(next, rules);
            let compiled = compiled.map_err(|problems| {
                failed(format!("it could not be loaded: {}", problems.join("; ")))
            })?;
            if let Some(user) = compiled.policy.first_difference(policy) {
                let reason = "can't be written down as it is in force";
                return Err(failed(format!("the user '{user}' {reason}")));
            }
            let both = files.into_iter().zip(text.sources);
            let changed = both.filter(|(new, old)| new.content != old.content);
            let changed = changed.map(|(new, old)| Replacement {
                path: new.path,
                old: old.content,
                new: new.content,
            });
            let changed: Vec<Replacement> = changed.collect();
            source.write(&changed).map_err(failed)?;
            Ok(compiled.policy)
        })
    }
}
