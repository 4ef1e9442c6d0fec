//! Files replaced whole: who reads them finds the old content or the new, never half of one.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::proxy::{CHANGED_FILES, Replacement};

/// One file's next content, on disk beside it. Removed when dropped, unless it took its place.
struct Staged<'a> {
    file: &'a Replacement,
    /// Behind all links.
    target: PathBuf,
    temporary: PathBuf,
}

/// Replaces the content of all files, or of none. One that isn't as it was read is somebody's work.
pub(super) fn replace_files(files: &[Replacement]) -> Result<(), String> {
    put_in_place(&stage(files)?)
}

/// Writes all of it beside the files. On a slow disk this takes its time.
fn stage(files: &[Replacement]) -> Result<Vec<Staged<'_>>, String> {
    let mut staged = Vec::new();
    for file in files {
        // A link stays one: what it leads to is replaced.
        let target = fs::canonicalize(&file.path).map_err(|error| told(&file.path, &error))?;
        let next = Staged::write(file, &target, &file.new).map_err(|error| {
            let text = told(&file.path, &error);
            match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    format!("{text}; respgate must own the file and be allowed to write its folder")
                }
                _ => text,
            }
        })?;
        staged.push(next);
    }
    Ok(staged)
}

/// Each is looked at once more right before it is replaced: to read and compile the files and to write
/// the new ones has taken a while. And all before the first, so that there is seldom one to be undone.
fn put_in_place(staged: &[Staged<'_>]) -> Result<(), String> {
    staged.iter().try_for_each(Staged::check)?;
    let mut folders = BTreeSet::new();
    for (index, next) in staged.iter().enumerate() {
        let done = next.check().and_then(|()| {
            let renamed = fs::rename(&next.temporary, &next.target);
            renamed.map_err(|error| told(&next.file.path, &error))
        });
        done.map_err(|error| take_back(&staged[..index], error))?;
        folders.extend(next.target.parent());
    }
    for folder in folders {
        // The new names are on disk only when their folder is.
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| take_back(staged, told(folder, &error)))?;
    }
    Ok(())
}

/// What is done already is undone, so that no half of a change is there at the next start.
fn take_back(done: &[Staged<'_>], mut text: String) -> String {
    for Staged { file, target, .. } in done {
        // Where there is something else by now, it isn't ours to undo.
        if fs::read(target).is_ok_and(|now| now != file.new) {
            continue;
        }
        let undone = Staged::write(file, target, &file.old)
            .and_then(|old| fs::rename(&old.temporary, target));
        if let Err(error) = undone {
            let target = target.display();
            text.push_str(&format!(
                "; {target}: is changed, and can't be changed back: {error}"
            ));
        }
    }
    text
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

// === impl Staged ===

impl<'a> Staged<'a> {
    /// Writes the content to a file in the same folder, with the mode and the owner of the target.
    fn write(file: &'a Replacement, target: &Path, content: &[u8]) -> io::Result<Self> {
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
        let options = options.write(true).create_new(true).mode(0o600);
        let mut next = options.open(&temporary)?;
        let staged = Self {
            file,
            target: target.to_owned(),
            temporary,
        };
        next.write_all(content)?;
        let made = next.metadata()?;
        if (made.uid(), made.gid()) != (known.uid(), known.gid()) {
            fchown(&next, Some(known.uid()), Some(known.gid()))?;
        }
        next.set_permissions(known.permissions())?;
        next.sync_all()?;
        Ok(staged)
    }

    /// Whether there still is what was read, and where it was.
    fn check(&self) -> Result<(), String> {
        let path = &self.file.path;
        let now = fs::canonicalize(path).and_then(|target| Ok((fs::read(&target)?, target)));
        let (now, target) = now.map_err(|error| told(path, &error))?;
        if target != self.target || now != self.file.old {
            return Err(format!("{}: {CHANGED_FILES}", path.display()));
        }
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Where it took its place there is nothing of this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn replacement(path: &Path, old: &str, new: &str) -> Replacement {
        Replacement {
            path: path.to_owned(),
            old: old.into(),
            new: new.into(),
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

    /// Two files that say `old`, to be replaced together.
    fn two_files() -> (tempfile::TempDir, [PathBuf; 2], [Replacement; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| dir.path().join(name));
        for path in &paths {
            fs::write(path, "old").unwrap();
        }
        let files = [0, 1].map(|number| replacement(&paths[number], "old", "new"));
        (dir, paths, files)
    }

    #[test]
    fn a_link_is_written_through_and_the_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        symlink("file", &link).unwrap();
        replace_files(&[replacement(&link, "old", "new")]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o604);
        assert_eq!(names(dir.path()), ["file", "link"]);
    }

    #[test]
    fn a_failure_changes_no_file() {
        let (dir, [one, _], files) = two_files();
        let blocked = format!(".two.respgate-{}", std::process::id());
        fs::create_dir(dir.path().join(&blocked)).unwrap();
        let error = replace_files(&files).unwrap_err();
        assert!(error.contains("two: "), "{error}");
        assert_eq!(fs::read_to_string(&one).unwrap(), "old");
        assert_eq!(names(dir.path()), [blocked.as_str(), "one", "two"]);
    }

    #[test]
    fn what_somebody_has_written_since_it_was_read_stays() {
        let (dir, [one, two], files) = two_files();
        fs::write(&two, "somebody's").unwrap();
        let error = replace_files(&files).unwrap_err();
        assert!(
            error.contains("two: ") && error.contains(CHANGED_FILES),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&one).unwrap(), "old");
        assert_eq!(fs::read_to_string(&two).unwrap(), "somebody's");
        assert_eq!(names(dir.path()), ["one", "two"]);
    }

    #[test]
    fn so_does_what_is_written_while_the_new_content_goes_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "old").unwrap();
        let files = [replacement(&file, "old", "new")];
        let staged = stage(&files).unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "somebody's").unwrap();
        fs::rename(&other, &file).unwrap();
        let error = put_in_place(&staged).unwrap_err();
        assert!(error.contains(CHANGED_FILES), "{error}");
        drop(staged);
        assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's");
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn a_link_that_leads_elsewhere_by_now_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        for name in ["one", "two"] {
            fs::write(dir.path().join(name), "old").unwrap();
        }
        symlink("one", &link).unwrap();
        let files = [replacement(&link, "old", "new")];
        let staged = stage(&files).unwrap();
        fs::remove_file(&link).unwrap();
        symlink("two", &link).unwrap();
        put_in_place(&staged).unwrap_err();
        for name in ["one", "two"] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "old");
        }
    }

    #[test]
    fn a_file_that_took_its_place_is_taken_back_and_nobody_elses() {
        let (_dir, [one, two], files) = two_files();
        let staged = stage(&files).unwrap();
        fs::rename(&staged[0].temporary, &one).unwrap();
        fs::write(&two, "somebody's").unwrap();
        let text = take_back(&staged, "disk on fire".to_owned());
        assert_eq!(text, "disk on fire");
        assert_eq!(fs::read_to_string(&one).unwrap(), "old");
        assert_eq!(fs::read_to_string(&two).unwrap(), "somebody's");
    }
}
