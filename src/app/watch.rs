//! Notices that a file of the configuration has changed.
//!
//! Files are looked at again and again instead of being told of by the system: that works where
//! Kubernetes swaps a link two folders further up, on file systems that tell nothing, and where a file
//! is not there for a moment.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::proxy::{Cause, Service};

use super::configuration::ConfigurationFile;
use super::reload;

/// What can be told of files without reading them, behind all links; `None`: it isn't there.
pub(super) type Look = BTreeMap<PathBuf, Option<Facts>>;

/// What can be told of a file without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Facts {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What has failed is tried again after so many looks, half a minute by default: the reason may lie in
/// a file that isn't looked at, or in the time (a certificate that isn't valid yet).
const AGAIN: u32 = 30;

/// Looks every `period`, for ever, and reloads when something isn't as it was when the configuration in
/// force was read, and is as it was at the last look: who writes a certificate and then its key is given
/// the time between.
pub(super) async fn watch(
    service: Arc<Service>,
    configuration: Arc<ConfigurationFile>,
    period: Duration,
) {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    // What the last attempt has found, and looks since.
    let mut tried = None;
    let mut looks = 0;
    loop {
        tick.tick().await;
        let watched = Arc::clone(&configuration);
        // A file system may take its time.
        let looked = tokio::task::spawn_blocking(move || look(&watched.watched())).await;
        let Ok(now) = looked else {
            continue;
        };
        let settled = last.as_ref() == Some(&now);
        last = Some(now);
        let Some(now) = last
            .as_ref()
            .filter(|now| settled && configuration.differs(now))
        else {
            continue;
        };
        looks += 1;
        let cause = match tried.as_ref() == Some(now) {
            false => Cause::File,
            true if looks >= AGAIN => Cause::Again,
            true => continue,
        };
        looks = 0;
        let (service, watched) = (Arc::clone(&service), Arc::clone(&configuration));
        let attempt = move || {
            let _ = reload(&service, cause);
            // One that has failed may name other files, which have not changed by that.
            look(&watched.watched())
        };
        tried = tokio::task::spawn_blocking(attempt).await.ok();
    }
}

/// Looks at files, and at what is in folders.
pub(super) fn look(paths: &[PathBuf]) -> Look {
    let mut seen = Look::new();
    for path in paths {
        let metadata = fs::metadata(path).ok();
        let is_folder = metadata.as_ref().is_some_and(Metadata::is_dir);
        seen.insert(path.clone(), metadata.map(|one| Facts::of(&one)));
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
    for path in entries.flatten().map(|entry| entry.path()) {
        let facts = fs::metadata(&path).ok().map(|one| Facts::of(&one));
        seen.insert(path, facts);
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
