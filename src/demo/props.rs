//! What is put on the scene and taken away again: a folder, processes.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{DemoError, failed};

/// A child process. It ends with the value.
pub(super) struct Process {
    what: &'static str,
    child: Child,
    log: PathBuf,
}

/// A folder that nobody else may enter. It is removed with the value.
pub(super) struct Folder(PathBuf);

/// A process that is asked to end has so long.
const END_WITHIN: Duration = Duration::from_secs(3);
const END_STEP: Duration = Duration::from_millis(10);

/// The path of a unix socket has at most 104 bytes (108 on Linux), and ours takes 44 of them.
const LONGEST_BASE: usize = 60;

/// 32 random bytes.
pub(super) fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

// === impl Folder ===

impl Folder {
    /// Under the system's folder for such things, of mode 0700.
    pub(super) fn make() -> io::Result<Self> {
        let mut base = std::env::temp_dir();
        if base.as_os_str().len() > LONGEST_BASE {
            base = PathBuf::from("/tmp");
        }
        let name = format!("respgate-demo-{}", &random_hex()?[..16]);
        let path = std::path::absolute(base)?.join(name);
        // Fails where there is something of that name: nobody can have put it there before us.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// The folder itself.
    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    /// Something in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a new file that nobody else may read.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| failed(path.display().to_string(), error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = fs::remove_dir_all(&self.0);
    }
}

// === impl Process ===

impl Process {
    /// Starts a program in `folder`, with its output in a file there.
    pub(super) fn start(
        what: &'static str,
        program: &Path,
        args: &[&OsStr],
        folder: &Folder,
    ) -> Result<Self, DemoError> {
        let log = folder.path(&format!("{}.log", what.rsplit(' ').next().unwrap_or(what)));
        let output = File::create(&log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(|error| failed(log.display().to_string(), error))?;
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(output.0)
            .stderr(output.1)
            // Ctrl-C is for the demo alone: it ends its processes in order.
            .process_group(0);
        // What somebody set for a proxy of his own is not meant for this one.
        let foreign = std::env::vars_os().map(|(name, _)| name);
        for name in foreign.filter(|name| name.as_encoded_bytes().starts_with(b"RESPGATE__")) {
            command.env_remove(name);
        }
        let child = command
            .spawn()
            .map_err(|error| failed(program.display().to_string(), error))?;
        Ok(Self { what, child, log })
    }

    /// Notes that it has ended by itself.
    pub(super) fn look_after(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(format!("ended by itself ({status})"))),
            Err(error) => Err(failed(self.what, error)),
        }
    }

    /// What became of it, with the end of its log.
    pub(super) fn failed(&self, how: String) -> DemoError {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        DemoError::Process {
            what: self.what,
            how,
            log: lines[lines.len().saturating_sub(15)..].join("\n"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        if ended(&mut self.child) {
            return;
        }
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            // It may be gone already: then there is nothing to end.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + END_WITHIN;
        while Instant::now() < deadline {
            if ended(&mut self.child) {
                return;
            }
            std::thread::sleep(END_STEP);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
