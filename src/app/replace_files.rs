//! Files replaced whole: who reads them finds the old content or the new, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::policy::Source;

/// One file's next content, on disk beside it. Removed when dropped, unless it took its place.
struct Staged {
    /// Behind all links.
    target: PathBuf,
    temporary: PathBuf,
}

/// Replaces the content of all files, or of none.
pub(super) fn replace_files(files: &[Source]) -> Result<(), String> {
    let mut staged = Vec::new();
    for file in files {
        let told = |error: io::Error| format!("{}: {error}", file.path.display());
        // A link stays one: what it leads to is replaced.
        let target = fs::canonicalize(&file.path).map_err(told)?;
        let old = fs::read(&target).map_err(told)?;
        let next = Staged::write(&target, &file.content).map_err(|error| {
            let file = file.path.display();
            match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => format!(
                    "{file}: {error}; respgate must own the file and be allowed to write its folder"
                ),
                _ => format!("{file}: {error}"),
            }
        })?;
        staged.push((next, old));
    }
    let mut done: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for (next, old) in staged {
        let target = next.target.clone();
        let failed = next.take_place().err();
        done.push((target, old));
        if let Some(error) = failed {
            return Err(take_back(&done, &error));
        }
    }
    Ok(())
}

/// What is done already is undone, so that no half of a change is there at the next start.
fn take_back(done: &[(PathBuf, Vec<u8>)], error: &io::Error) -> String {
    let place = done
        .last()
        .map(|(target, _)| target.display().to_string())
        .unwrap_or_default();
    let mut text = format!("{place}: {error}");
    for (target, old) in done {
        if fs::read(target).is_ok_and(|now| now == *old) {
            continue;
        }
        let undone = Staged::write(target, old).and_then(Staged::take_place);
        if let Err(error) = undone {
            let target = target.display();
            text.push_str(&format!(
                "; {target}: is changed, and can't be changed back: {error}"
            ));
        }
    }
    text
}

// === impl Staged ===

impl Staged {
    /// Writes the content to a file in the same folder, with the mode and the owner of the target.
    fn write(target: &Path, content: &[u8]) -> io::Result<Self> {
        let known = fs::metadata(target)?;
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(io::Error::other("not a file"));
        };
        // The dot hides it from who reads a folder of ACL files.
        let name = name.to_string_lossy();
        let temporary = folder.join(format!(".{name}.respgate-{}", std::process::id()));
        // Left behind by a crash: nobody else has this name.
        let _ = fs::remove_file(&temporary);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let mut file = file.open(&temporary)?;
        let staged = Self {
            target: target.to_owned(),
            temporary,
        };
        file.write_all(content)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (known.uid(), known.gid()) {
            fchown(&file, Some(known.uid()), Some(known.gid()))?;
        }
        file.set_permissions(known.permissions())?;
        file.sync_all()?;
        Ok(staged)
    }

    fn take_place(self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.target)?;
        match self.target.parent() {
            // The new name is on disk only when its folder is.
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Where it took its place there is nothing of this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn source(path: &Path, content: &str) -> Source {
        Source {
            path: path.to_owned(),
            content: content.into(),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_is_written_through_and_the_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        symlink("file", &link).unwrap();
        replace_files(&[source(&link, "new")]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o604);
        assert_eq!(names(dir.path()), ["file", "link"]);
    }

    #[test]
    fn a_failure_changes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "old").unwrap();
        fs::write(&two, "old").unwrap();
        let blocked = format!(".two.respgate-{}", std::process::id());
        fs::create_dir(dir.path().join(&blocked)).unwrap();
        let error = replace_files(&[source(&one, "new"), source(&two, "new")]).unwrap_err();
        assert!(error.contains("two: "), "{error}");
        assert_eq!(fs::read_to_string(&one).unwrap(), "old");
        assert_eq!(names(dir.path()), [blocked.as_str(), "one", "two"]);
    }

    #[test]
    fn a_file_that_took_its_place_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("one");
        fs::write(&one, "new").unwrap();
        let done = [(one.clone(), b"old".to_vec())];
        let text = take_back(&done, &io::Error::other("disk on fire"));
        assert!(text.ends_with("one: disk on fire"), "{text}");
        assert_eq!(fs::read_to_string(&one).unwrap(), "old");
    }
}
