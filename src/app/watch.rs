//! Notices that a file of the configuration has changed.
//!
//! Files are looked at again and again instead of being told of by the system: that works where
//! Kubernetes swaps a link two folders further up, on file systems that tell nothing, and where a file
//! is not there for a moment.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::proxy::{Cause, Service};

use super::configuration::ConfigurationFile;
use super::reload;

/// What can be told of a file without reading it; behind all links.
type Look = Vec<(PathBuf, Option<Facts>)>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Facts {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Looks every `period`, for ever, and reloads when something has changed and is as it was at the last
/// look: who writes a certificate and then its key is given the time between.
pub(super) async fn watch(
    service: Arc<Service>,
    configuration: Arc<ConfigurationFile>,
    period: Duration,
) {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut loaded = None;
    let mut last = None;
    loop {
        tick.tick().await;
        let named = configuration.watched();
        // A file system may take its time.
        let Ok(now) = tokio::task::spawn_blocking(move || look(&named)).await else {
            continue;
        };
        let known = loaded.get_or_insert_with(|| now.clone());
        let settled = last.as_ref() == Some(&now);
        if *known != now && settled {
            let service = Arc::clone(&service);
            // A failure is not tried again before the next change.
            let _ = tokio::task::spawn_blocking(move || reload(&service, Cause::File)).await;
            loaded = Some(now.clone());
        }
        last = Some(now);
    }
}

fn look(paths: &[PathBuf]) -> Look {
    let mut seen = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).ok();
        let is_folder = metadata.as_ref().is_some_and(Metadata::is_dir);
        seen.push((path.clone(), metadata.map(|one| Facts::of(&one))));
        if is_folder {
            look_into(path, &mut seen);
        }
    }
    seen
}

/// The files of a folder; not those of folders in it, which nobody reads.
fn look_into(folder: &Path, seen: &mut Look) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let facts = fs::metadata(&path).ok().map(|one| Facts::of(&one));
        seen.push((path, facts));
    }
}

// === impl Facts ===

impl Facts {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_to_change_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("users.acl"), "user a on").unwrap();
        }
        // As Kubernetes mounts a map: file -> ..data/file, ..data -> a folder.
        symlink("1", at("..data")).unwrap();
        symlink("..data/users.acl", at("users.acl")).unwrap();
        let paths = [at("users.acl"), at("absent"), at("1")];
        let mut before = look(&paths);
        let mut changed = |what: &str| {
            let now = look(&paths);
            let differs = now != before;
            before = now;
            assert!(differs, "{what}");
        };
        symlink("2", at("next")).unwrap();
        fs::rename(at("next"), at("..data")).unwrap();
        changed("the link two steps away is swapped");
        fs::write(at("2/users.acl"), "user b on").unwrap();
        changed("the file is written");
        fs::write(at("absent"), "").unwrap();
        changed("a file appears");
        fs::remove_file(at("absent")).unwrap();
        changed("a file goes");
        fs::write(at("1/more.acl"), "").unwrap();
        changed("a folder has one more");
        assert_eq!(look(&paths), look(&paths));
    }
}
