//! A place for daemons whose sockets have fixed names: its /dev, /run and /etc are its own, so that
//! nothing in it meets what runs on this machine.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A namespace of mounts. It goes with the value, and with who is in it.
pub struct Namespace {
    /// Who keeps it: reads its stdin until we are gone.
    keeper: Child,
    /// The command that goes in.
    enter: Vec<String>,
}

/// A daemon in it. It dies with the value.
pub struct Daemon(Child);

/// Nothing but what any program needs; of /etc all but what would lead to the machine's own journal.
const FURNISH: &str = r#"set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/dev /run/etc/systemd /run/old
for name in null zero full random urandom; do
    : >/run/dev/$name
    mount --bind /dev/$name /run/dev/$name
done
mount --rbind /etc /run/old
echo 0123456789abcdef0123456789abcdef >/run/etc/machine-id
for file in /run/old/*; do
    name=/run/etc/${file##*/}
    test -e "$name" || ln -s "$file" "$name"
done
mount --bind /run/etc /etc
mount --rbind /run/dev /dev
echo furnished
exec cat"#;

// === impl Namespace ===

impl Namespace {
    /// `None`, with a word why, where neither root nor anybody else may have one.
    #[track_caller]
    pub fn new() -> Option<Self> {
        // The second: as root of a namespace of users.
        let ways = [
            ("--mount", &["--mount"][..]),
            (
                "--map-root-user",
                &["--mount", "--user", "--preserve-credentials"],
            ),
        ];
        let mut why = String::new();
        for (new, enter) in ways {
            let mut tried = Command::new("unshare");
            let tried = tried.args([new, "--mount", "true"]).output().unwrap();
            if tried.status.success() {
                return Some(Self::furnished(new, enter));
            }
            why = String::from_utf8_lossy(&tried.stderr).into_owned();
        }
        eprintln!("skipped: no namespace of mounts can be had here: {why}");
        None
    }

    #[track_caller]
    fn furnished(new: &str, enter: &[&str]) -> Self {
        let mut keeper = Command::new("unshare")
            .args([new, "--mount", "sh", "-c", FURNISH])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let stdout = keeper.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        if said != "furnished\n" {
            let mut why = String::new();
            let stderr = keeper.stderr.as_mut().unwrap();
            stderr.read_to_string(&mut why).unwrap();
            panic!("the namespace can't be furnished: {why}");
        }
        let target = ["nsenter", "--target", &keeper.id().to_string()].map(str::to_owned);
        let enter = enter.iter().map(|&word| word.to_owned());
        let enter = target.into_iter().chain(enter).collect();
        Self { keeper, enter }
    }

    /// The words before a command that is to be run in it. The process is that command's.
    pub fn enter(&self) -> &[String] {
        &self.enter
    }

    /// A program that is to be run in it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).arg(program.as_ref());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line of the shell in it, and says what it printed.
    #[track_caller]
    pub fn shell(&self, line: &str) -> String {
        let done = self.command("sh").args(["-c", line]).output().unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Whether somebody listens there. One that is gone leaves its socket behind, so it is tried.
    pub fn has_datagrams(&self, path: &str) -> bool {
        let script = "import socket, sys\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(sys.argv[1])";
        let mut python = self.command("python3");
        let done = python.args(["-c", script, path]).output();
        done.unwrap().status.success()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

// === impl Daemon ===

impl Daemon {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Tells it to end, and waits for that.
    #[track_caller]
    pub fn terminate(mut self) {
        self.signal(Signal::TERM);
        super::eventually("the daemon ends", || self.has_ended());
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("the daemon is gone");
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
