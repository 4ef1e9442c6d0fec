//! The proxy's own password, as its file says it now.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::config::Secret;

/// A password that may be exchanged in its file while the proxy runs, as the tokens of cloud
/// providers are every few minutes.
#[derive(Debug)]
pub(super) struct Credential {
    file: Option<PathBuf>,
    last: Mutex<Last>,
}

/// The last password that was good to read.
#[derive(Debug)]
struct Last {
    password: Option<Secret>,
    /// The file couldn't be read since, and that was told.
    told: bool,
}

// === impl Credential ===

impl Credential {
    /// The password of the start, and where the next one will stand.
    pub(super) fn new(password: Option<Secret>, file: Option<PathBuf>) -> Self {
        Self {
            file,
            last: Mutex::new(Last {
                password,
                told: false,
            }),
        }
    }

    /// The password for the connection that is being opened; `None` where none is configured.
    ///
    /// Read anew each time. Where the file can't be read just now, or is empty because somebody is
    /// writing it, the last good one serves on: it may well be valid still.
    pub(super) async fn current(&self, upstream: &str) -> Option<Secret> {
        let Some(file) = &self.file else {
            return self.keep(|last| last.password.clone());
        };
        let path = file.clone();
        // Elsewhere: a file may hang in a file system that does, and this thread serves others.
        let read = tokio::task::spawn_blocking(move || Secret::read(&path)).await;
        // Not run at all: the process ends.
        let read = read.unwrap_or_else(|_| Err("the process ends".to_owned()));
        self.keep(|last| last.take(read, upstream, file))
    }

    fn keep<T>(&self, work: impl FnOnce(&mut Last) -> T) -> T {
        work(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Last ===

impl Last {
    fn take(
        &mut self,
        read: Result<Secret, String>,
        upstream: &str,
        file: &Path,
    ) -> Option<Secret> {
        match read {
            Ok(password) => {
                if self.told {
                    let file = file.display();
                    tracing::info!(upstream, "{file} can be read again");
                }
                self.told = false;
                self.password = Some(password);
            }
            Err(reason) if !self.told => {
                tracing::warn!(
                    upstream,
                    reason,
                    "the password file is of no use: the last good password serves on"
                );
                self.told = true;
            }
            Err(_) => {}
        }
        self.password.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_good_password_serves_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let first = Some(Secret::new("first".to_owned()));
        let credential = Credential::new(first, Some(file.path().to_owned()));
        for (content, expected, told) in [
            ("second\n", "second", false),
            ("", "second", true),
            ("\n", "second", true),
            ("third", "third", false),
            ("", "third", true),
        ] {
            write(content);
            let password = credential.current("main").await.unwrap();
            assert_eq!(password.expose(), expected, "{content:?}");
            assert_eq!(credential.keep(|last| last.told), told, "{content:?}");
        }
        file.close().unwrap();
        assert_eq!(credential.current("main").await.unwrap().expose(), "third");
    }

    #[tokio::test]
    async fn without_a_file_there_is_no_password() {
        assert_eq!(Credential::new(None, None).current("main").await, None);
    }
}
