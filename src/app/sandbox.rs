//! Shut in by Landlock: what the process may still open once it serves.
//!
//! A rule stands for a folder and not for a file, because files are replaced: by rename (ACL SAVE,
//! editors, certbot) or by the links of a Kubernetes mount. A rule on the file would end with it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use crate::config::{AuditDecisions, AuditSink, Bind, Config, UpstreamAddress};

use super::acl_files::acl_files;

/// What may be opened.
#[derive(Debug, Default)]
pub(super) struct Access {
    read: BTreeSet<PathBuf>,
    /// Read, and files in it replaced.
    change: BTreeSet<PathBuf>,
    /// Files in it are written and made anew.
    append: BTreeSet<PathBuf>,
    /// Our sockets' files are taken away from there at the end.
    remove: BTreeSet<PathBuf>,
    /// TCP ports that are connected to.
    ports: BTreeSet<u16>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Shut {
    /// In force, with this version of the kernel's interface.
    In(i32),
    /// The kernel has no Landlock.
    Unavailable,
    /// The configuration doesn't want it.
    Unwanted,
}

/// What the C library and the run time read on their own. /etc is there as a whole: resolv.conf,
/// hosts and nsswitch.conf are replaced by rename, and then names must still resolve. Name look-ups
/// load modules from the library folders, long after the start.
const SYSTEM: &[&str] = &[
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    // The trust store is read before, or by a reload that is the first to find an upstream without `ca`.
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/nix/store",
    // What links in /etc may lead to one day, and what modules of name look-ups read.
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/nscd",
    "/var/run/nscd",
    // How many cores and how much memory there is.
    "/proc/self",
    "/proc/sys/vm",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
];

/// Names are asked for by TCP where the answer is long.
const DNS: u16 = 53;

/// Links that are followed, as many as the kernel does.
const LINKS: usize = 40;

/// What is handled, so that everything else of it is refused. Later versions of the interface ask for
/// the paths of unix sockets, too: those of NOTIFY_SOCKET, syslog, nscd and the resolver are many, and
/// they don't give files away.
const KNOWN: ABI = ABI::V6;

// === impl Access ===

impl Access {
    /// What this configuration needs, now and at reloads. `scripts`: those that its ACL files name, which
    /// may lie in other folders.
    pub(super) fn of(config: &Config, scripts: &[PathBuf]) -> Self {
        let mut access = Self::default();
        access.read.extend(SYSTEM.iter().map(PathBuf::from));
        for name in ["resolv.conf", "hosts", "nsswitch.conf", "localtime"] {
            around(&Path::new("/etc").join(name), &mut access.read);
        }
        for (_, path) in files(config) {
            around(&path, &mut access.read);
        }
        // A name is looked for beside each ACL file; where there is none there is no folder to open.
        for path in scripts.iter().filter(|path| path.exists()) {
            around(path, &mut access.read);
        }
        for path in &config.acl_files {
            match path.is_dir() {
                true => {
                    access.change.insert(path.clone());
                    // Links in it lead elsewhere.
                    let entries = fs::read_dir(path).into_iter().flatten().flatten();
                    for entry in entries {
                        around(&entry.path(), &mut access.change);
                    }
                }
                false => around(path, &mut access.change),
            }
        }
        if config.audit.settings.decisions != AuditDecisions::None
            && let AuditSink::File(path) = &config.audit.sink
        {
            around(path, &mut access.append);
            // Whether it ends in half a line is looked up before the first one is written.
            access.read.extend(path.is_file().then(|| path.clone()));
        }
        let binds = config.listeners.iter().flat_map(|listener| &listener.bind);
        for bind in binds.chain(&config.admin.bind).chain(&config.admin.probe) {
            if let Bind::Unix(path) = bind {
                access.remove.extend(path.parent().map(here));
            }
        }
        for upstream in &config.upstreams {
            for address in &upstream.addresses {
                if let UpstreamAddress::Tcp { port, .. } = address {
                    access.ports.insert(*port);
                }
            }
        }
        access.ports.insert(DNS);
        access
    }

    /// Shuts the calling thread in, and those that it will start.
    ///
    /// # Errors
    /// The kernel has it and doesn't do it.
    pub(super) fn enforce(&self) -> Result<Shut, String> {
        let status = self
            .ruleset()
            .map_err(|error| format!("runtime.landlock: {error}"))?;
        Ok(match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, _) => Shut::Unavailable,
            (_, LandlockStatus::Available { effective_abi, .. }) => Shut::In(effective_abi as i32),
            _ => Shut::Unavailable,
        })
    }

    fn ruleset(&self) -> Result<landlock::RestrictionStatus, RulesetError> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let write = make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg});
        let remove: BitFlags<AccessFs> = AccessFs::RemoveFile.into();
        let ports = self
            .ports
            .iter()
            .map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp)));
        Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            // Not binding: the admin address is bound later, and a connection's own port is the
            // system's choice.
            .handle_access(AccessNet::ConnectTcp)?
            .scope(Scope::Signal)?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.change, read | write | remove))?
            .add_rules(path_beneath_rules(&self.append, write))?
            .add_rules(path_beneath_rules(&self.remove, remove))?
            .add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile))?
            .add_rules(ports)?
            .restrict_self()
    }
}

/// What the configuration names and is read again while the process lives: key and path.
pub(super) fn files(config: &Config) -> Vec<(String, PathBuf)> {
    let mut files = vec![(String::new(), config.path.clone())];
    let mut add = |key: String, path: &Path| files.push((key, path.to_owned()));
    for (index, path) in config.acl_files.iter().enumerate() {
        add(format!("policy.acl_files[{index}]"), path);
    }
    let token = config.admin.token_file.iter();
    token.for_each(|path| add("admin.token_file".to_owned(), path));
    for listener in &config.listeners {
        let key = |key: &str| format!("listener.{}.tls.{key}", listener.name);
        if let Some(tls) = &listener.tls {
            add(key("cert"), &tls.cert);
            add(key("key"), &tls.key);
            tls.client_ca
                .iter()
                .for_each(|path| add(key("client_ca"), path));
            tls.crl.iter().for_each(|path| add(key("crl"), path));
        }
    }
    for upstream in &config.upstreams {
        let key = |key: &str| format!("upstream.{}.{key}", upstream.name);
        let password = upstream.password_file.iter();
        password.for_each(|path| add(key("password_file"), path));
        if let Some(tls) = &upstream.tls {
            tls.ca.iter().for_each(|path| add(key("tls.ca"), path));
            if let Some((cert, own)) = &tls.identity {
                add(key("tls.cert"), cert);
                add(key("tls.key"), own);
            }
        }
    }
    files
}

/// Which of these files the process, as it now is, can't read: key, path and reason. `scripts` as for
/// [`Access::of`].
pub(super) fn unreadable(config: &Config, scripts: &[PathBuf]) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut look = |key: &str, path: &Path| {
        if let Err(error) = try_reading(path) {
            let reason = format!("{}: can't be read: {error}", path.display());
            wrong.push((key.to_owned(), reason));
        }
    };
    for (key, path) in files(config) {
        look(&key, &path);
        if path.is_dir() {
            let inside = acl_files(&path).unwrap_or_default();
            inside.iter().for_each(|path| look(&key, path));
        }
    }
    // Where a script was looked for and isn't, it is elsewhere.
    let there = |path: &&PathBuf| !matches!(path.try_exists(), Ok(false));
    for path in scripts.iter().filter(there) {
        look("policy.acl_files", path);
    }
    wrong
}

fn try_reading(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return fs::read_dir(path).map(drop);
    }
    // Opening a pipe would wait for its writer, and take from what it says.
    match metadata.is_file() {
        true => File::open(path).map(drop),
        false => Ok(()),
    }
}

/// The folder of a file, and that of the file that it is a link to.
fn around(path: &Path, into: &mut BTreeSet<PathBuf>) {
    for path in [Some(path.to_owned()), end_of_links(path)] {
        let Some(path) = path else { continue };
        match path.parent() {
            // A file in the root folder is meant alone.
            Some(parent) if parent != Path::new("/") => into.insert(here(parent)),
            _ => into.insert(path),
        };
    }
}

/// The file that a path leads to, or would if it were there: what opens the audit makes it. `None`: it
/// leads nowhere.
fn end_of_links(path: &Path) -> Option<PathBuf> {
    if let Ok(path) = fs::canonicalize(path) {
        return Some(path);
    }
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&path) else {
            return Some(path);
        };
        path.pop();
        path.push(next);
    }
    None
}

/// The empty path is the working folder.
fn here(path: &Path) -> PathBuf {
    match path.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn config(dir: &Path) -> Config {
        let path = dir.join("respgate.toml");
        let text = "
            [[listener]]
            name = \"main\"
            bind = [\"127.0.0.1:0\", \"unix:run/s\"]
            [listener.tls]
            cert = \"live/cert.pem\"
            key = \"live/key.pem\"
            client_ca = \"/ca.pem\"
            [upstream.main]
            address = \"127.0.0.1:7000\"
            [upstream.local]
            address = \"unix:/run/redis.sock\"
            [[identity]]
            match = { cn = \"a\" }
            user = \"a\"
            [policy]
            acl_files = [\"acl\", \"users/one.acl\"]
            [audit]
            path = \"log/audit.jsonl\"
        "
        .replace("name = \"main\"", "name = \"main\"\nupstream = \"main\"");
        fs::write(&path, text).unwrap();
        load(&path, std::iter::empty()).unwrap().config
    }

    #[test]
    fn folders_are_opened_for_what_the_configuration_names() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        for name in ["live", "archive", "acl", "users", "log", "run"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        fs::write(dir.join("archive/cert1.pem"), "").unwrap();
        std::os::unix::fs::symlink("../archive/cert1.pem", dir.join("live/cert.pem")).unwrap();
        fs::create_dir(dir.join("lua")).unwrap();
        fs::write(dir.join("lua/a.lua"), "").unwrap();
        let scripts = ["acl/../lua/a.lua", "users/../nowhere/a.lua"].map(|path| dir.join(path));
        let access = Access::of(&config(&dir), &scripts);
        let inside = |set: &BTreeSet<PathBuf>| -> Vec<String> {
            let own = set.iter().filter_map(|path| path.strip_prefix(&dir).ok());
            own.map(|path| path.display().to_string()).collect()
        };
        assert_eq!(inside(&access.change), ["acl", "users"]);
        assert_eq!(inside(&access.append), ["log"]);
        assert_eq!(inside(&access.remove), ["run"]);
        // The folder of the ACL folder is that of the configuration.
        assert_eq!(
            inside(&access.read),
            ["", "acl/../lua", "archive", "live", "lua", "users"]
        );
        assert!(access.read.contains(Path::new("/ca.pem")));
        assert!(!access.read.contains(Path::new("/")));
        assert_eq!(access.ports.into_iter().collect::<Vec<_>>(), [53, 7000]);
    }

    #[test]
    fn links_to_what_is_not_there_yet_open_the_folder_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let link = |from: &str, to: &str| std::os::unix::fs::symlink(to, dir.join(from)).unwrap();
        for name in ["log", "near", "far"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        link("log/audit", "../near/audit");
        link("near/audit", dir.join("far/audit").to_str().unwrap());
        link("log/circle", "circle");
        let found = |name: &str| {
            let mut into = BTreeSet::new();
            around(&dir.join(name), &mut into);
            into
        };
        assert!(found("log/audit").contains(&dir.join("far")));
        assert_eq!(found("log/circle"), [dir.join("log")].into());
        assert_eq!(found("log/none"), [dir.join("log")].into());
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let keys = |scripts: &[PathBuf]| -> Vec<_> {
            let wrong = unreadable(&config, scripts).into_iter();
            wrong.map(|(key, _)| key).collect()
        };
        assert_eq!(
            keys(&[dir.path().join("not-there.lua")]),
            [
                "policy.acl_files[0]",
                "policy.acl_files[1]",
                "listener.main.tls.cert",
                "listener.main.tls.key",
                "listener.main.tls.client_ca"
            ]
        );
        // A link that leads in a circle is there and can't be read, whoever tries.
        let circle = |name: &str| {
            let path = dir.path().join(name);
            std::os::unix::fs::symlink(&path, &path).unwrap();
            path
        };
        fs::create_dir(dir.path().join("acl")).unwrap();
        circle("acl/one.acl");
        circle("acl/.not-meant");
        circle("acl/not-named.lua");
        let wrong = unreadable(&config, &[circle("named.lua")]);
        let of_policy = |(key, _): &&(String, String)| key.starts_with("policy.");
        let shown: Vec<_> = (wrong.iter().filter(of_policy))
            .map(|(key, reason)| {
                let path = reason.split(": ").next().unwrap();
                let path = Path::new(path).strip_prefix(dir.path()).unwrap();
                (key.as_str(), path.to_str().unwrap())
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("policy.acl_files[0]", "acl/one.acl"),
                ("policy.acl_files[1]", "users/one.acl"),
                ("policy.acl_files", "named.lua"),
            ]
        );
    }
}
