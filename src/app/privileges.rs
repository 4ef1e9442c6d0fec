//! From root to the user that the proxy is to be.
//!
//! By libc's own calls, which change every thread of the process: the system's would change the
//! calling one alone, and a worker would go on as root. All the same it is done before there is a
//! second thread.

use std::ffi::CString;
use std::fmt;
use std::os::unix::fs::lchown;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getresgid, getresuid, initgroups, setgroups,
    setresgid, setresuid,
};

use crate::config::{Account, Runtime};

/// The user and the group that `[runtime]` asks for, looked up.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    uid: Uid,
    gid: Gid,
    /// As the system's database has it: its other groups come along. `None`: it isn't in there.
    name: Option<CString>,
}

// === impl Identity ===

impl Identity {
    /// Looks them up; `None` where nothing is asked for.
    ///
    /// # Errors
    /// Key, value and reason of what there isn't.
    pub(super) fn find(runtime: &Runtime) -> Result<Option<Self>, Vec<String>> {
        let Some(account) = &runtime.user else {
            return Ok(None);
        };
        let mut problems = Vec::new();
        let wrong = |key, value: &Account, reason: &dyn fmt::Display| {
            format!("runtime.{key} = \"{value}\": {reason}")
        };
        let user = match account {
            Account::Name(name) => User::from_name(name),
            Account::Number(number) => User::from_uid(Uid::from_raw(*number)),
        };
        let uid = match (&user, account) {
            (Ok(Some(user)), _) => Some(user.uid),
            (Ok(None), Account::Number(number)) => Some(Uid::from_raw(*number)),
            (Ok(None), Account::Name(_)) => {
                problems.push(wrong("user", account, &"there is no such user"));
                None
            }
            (Err(error), _) => {
                problems.push(wrong("user", account, &error.desc()));
                None
            }
        };
        if uid.is_some_and(Uid::is_root) {
            problems.push(wrong("user", account, &"is root by another name"));
        }
        let user = user.ok().flatten();
        let gid = match &runtime.group {
            Some(Account::Number(number)) => Some(Gid::from_raw(*number)),
            Some(group @ Account::Name(name)) => match Group::from_name(name) {
                Ok(Some(group)) => Some(group.gid),
                Ok(None) => {
                    problems.push(wrong("group", group, &"there is no such group"));
                    None
                }
                Err(error) => {
                    problems.push(wrong("group", group, &error.desc()));
                    None
                }
            },
            None => match &user {
                Some(user) => Some(user.gid),
                None if problems.is_empty() => {
                    let reason = "the system knows no group of this user: runtime.group is needed";
                    problems.push(wrong("user", account, &reason));
                    None
                }
                None => None,
            },
        };
        match (uid, gid) {
            (Some(uid), Some(gid)) if problems.is_empty() => {
                let name = user.and_then(|user| CString::new(user.name).ok());
                Ok(Some(Self { uid, gid, name }))
            }
            _ => Err(problems),
        }
    }

    /// Makes the file of a socket its own, while that may still be done: whoever connects needs the
    /// right to write, which the owner and the group have by the umask, and nobody could change it later.
    ///
    /// # Errors
    /// It can't be done.
    pub(super) fn own(&self, path: &Path) -> Result<(), String> {
        // Who is that user already has made it as that user.
        if !geteuid().is_root() {
            return Ok(());
        }
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        // Not what a link leads to: others may change the folder.
        lchown(path, Some(uid), Some(gid)).map_err(|error| {
            let path = path.display();
            format!("runtime.user: can't give the socket {path} to {self}: {error}")
        })
    }

    /// Becomes it, for good.
    ///
    /// # Errors
    /// It can't be done, or could be undone.
    pub(super) fn assume(&self) -> Result<(), String> {
        if !geteuid().is_root() {
            if geteuid() == self.uid && getegid() == self.gid {
                return Ok(());
            }
            return Err(format!(
                "runtime.user: the process is user {}, and only root can become user {}: start it as \
                 root, or leave runtime.user out",
                geteuid(),
                self.uid
            ));
        }
        let told = |what: &'static str| {
            move |error: Errno| format!("runtime.user: {what}: {}", error.desc())
        };
        // The user last: after that the groups can't be changed any more.
        setresgid(self.gid, self.gid, self.gid).map_err(told("can't change the group"))?;
        let groups = match &self.name {
            Some(name) => initgroups(name, self.gid),
            None => setgroups(&[self.gid]),
        };
        groups.map_err(told("can't change the other groups"))?;
        setresuid(self.uid, self.uid, self.uid).map_err(told("can't change the user"))?;
        self.verify()
    }

    /// That it is done, and that there is no way back.
    fn verify(&self) -> Result<(), String> {
        let (user, group) = (getresuid(), getresgid());
        let is_done = user.is_ok_and(|it| [it.real, it.effective, it.saved] == [self.uid; 3])
            && group.is_ok_and(|it| [it.real, it.effective, it.saved] == [self.gid; 3]);
        let root = Uid::from_raw(0);
        let no_group = Gid::from_raw(0);
        let goes_back =
            setresuid(root, root, root).is_ok() || setresgid(no_group, no_group, no_group).is_ok();
        match is_done && !goes_back {
            true => Ok(()),
            false => Err("runtime.user: root was dropped, and can be had back".to_owned()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}, group {}", self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn runtime(user: Account, group: Option<Account>) -> Runtime {
        Runtime {
            workers: 0,
            drain_timeout: Duration::from_secs(1),
            user: Some(user),
            group,
            watch_files: None,
            landlock: true,
        }
    }

    #[test]
    fn what_the_system_does_not_know_is_named() {
        let nobody = Account::Name("no-such-user".to_owned());
        let nothing = Account::Name("no-such-group".to_owned());
        let wrong = Identity::find(&runtime(nobody, Some(nothing))).unwrap_err();
        assert_eq!(
            wrong,
            [
                "runtime.user = \"no-such-user\": there is no such user",
                "runtime.group = \"no-such-group\": there is no such group"
            ]
        );
        let unknown = Account::Number(3_999_999_999);
        let wrong = Identity::find(&runtime(unknown.clone(), None)).unwrap_err();
        assert!(wrong[0].contains("runtime.group is needed"), "{wrong:?}");
        let group = Some(Account::Number(4_000_000_000));
        let found = Identity::find(&runtime(unknown, group)).unwrap().unwrap();
        assert_eq!(found.to_string(), "user 3999999999, group 4000000000");
    }
}
