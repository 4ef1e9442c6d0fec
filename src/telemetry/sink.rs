//! Where lines end: a file, a pipe, stdout, or the socket of a log daemon.
//!
//! For the writer's thread alone: all of it may wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Records on their way, each whole.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
    /// What is written, bytes.
    done: usize,
}

/// Where records go.
pub(super) trait Sink: Send {
    /// Writes what is left of the batch, and notes how far it came. Returns how many records nobody
    /// can ever take, which are passed over.
    ///
    /// # Errors
    /// Why it came no further. It may be asked again.
    fn write(&mut self, batch: &mut Batch) -> io::Result<u64>;

    /// Opens anew what has a name. Returns whether it is another one now.
    ///
    /// # Errors
    /// Why it can't be; then it goes on with what it had.
    fn reopen(&mut self) -> io::Result<bool>;
}

/// A stream of lines: a file or a pipe, by its name, or what was open before.
#[derive(Debug)]
pub(super) struct Stream {
    /// `None`: it can't be opened anew.
    path: Option<PathBuf>,
    /// `None`: a pipe that nobody reads yet.
    file: Option<File>,
    /// It ends in half a line, which what comes next must not be glued to.
    torn: bool,
}

/// The socket of a log daemon: a record is a datagram.
#[derive(Debug)]
pub(super) struct Datagrams {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

/// Whoever started us may have given us a pipe that doesn't wait. Then we do: a hundred looks a second
/// at a pipe that is full cost nothing.
const FULL_PIPE: Duration = Duration::from_millis(10);

// === impl Batch ===

impl Batch {
    /// Puts a record behind the others.
    pub(super) fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Half of a record is nothing: what goes elsewhere from now on begins with a whole one.
    pub(super) fn rewind(&mut self) {
        let whole = self.ends.partition_point(|end| *end <= self.done);
        self.done = whole.checked_sub(1).map_or(0, |last| self.ends[last]);
    }

    /// How many records are not written to their ends.
    pub(super) fn left(&self) -> usize {
        self.ends.len() - self.ends.partition_point(|end| *end <= self.done)
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    /// The first that isn't written.
    fn record(&self) -> Option<&[u8]> {
        let next = self.ends.partition_point(|end| *end <= self.done);
        self.ends.get(next).map(|end| &self.bytes[self.done..*end])
    }
}

// === impl Stream ===

impl Stream {
    /// Appends to a file, which is made where it isn't there. A pipe may wait for its reader.
    ///
    /// # Errors
    /// It can't be opened for appending.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = match open_file(path) {
            Ok(file) => Some(file),
            Err(error) if has_no_reader(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: Some(path.to_owned()),
            torn: file.as_ref().is_some_and(|file| is_torn(path, file)),
            file,
        })
    }

    /// Goes on with what is open.
    ///
    /// # Errors
    /// The process has no room for another descriptor.
    pub(super) fn inherited(stream: &impl std::os::fd::AsFd) -> io::Result<Self> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Self {
            path: None,
            file: Some(file),
            torn: false,
        })
    }
}

impl Sink for Stream {
    fn write(&mut self, batch: &mut Batch) -> io::Result<u64> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "nobody reads the pipe",
            ));
        };
        while !batch.rest().is_empty() {
            let next = if self.torn { b"\n" } else { batch.rest() };
            match file.write(next) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) if self.torn => self.torn = false,
                Ok(len) => batch.done += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(FULL_PIPE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    fn reopen(&mut self) -> io::Result<bool> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let file = open_file(path)?;
        let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino())).ok();
        let now = identity(&file);
        if now.is_some() && self.file.as_ref().and_then(identity) == now {
            return Ok(false);
        }
        self.torn = is_torn(path, &file);
        self.file = Some(file);
        Ok(true)
    }
}

/// Whether a file ends in half a line: its disk was full or its machine gone, or its writer was killed.
/// Of one that can't be read nobody knows: an empty line in it does no harm, and a lost one does.
fn is_torn(path: &Path, file: &File) -> bool {
    let Ok(known) = file.metadata() else {
        return false;
    };
    // What went into a pipe is with its reader.
    if !known.is_file() || known.len() == 0 {
        return false;
    }
    let mut last = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut last, known.len() - 1));
    read.is_err() || last != *b"\n"
}

/// Only its owner may write it, and nobody but its group read it: keys and names are in it.
fn open_file(path: &Path) -> io::Result<File> {
    // Or else to open a pipe would wait for its reader.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    options.mode(0o640).custom_flags(nonblocking);
    let file = options.open(path)?;
    // To write to it may.
    let flags = fcntl_getfl(file.as_fd())?;
    fcntl_setfl(file.as_fd(), flags - OFlags::NONBLOCK)?;
    Ok(file)
}

fn has_no_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

// === impl Datagrams ===

impl Datagrams {
    /// Connects to the daemon.
    ///
    /// # Errors
    /// It isn't there.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = connect(path)?;
        Ok(Self {
            path: path.to_owned(),
            socket: Some(socket),
        })
    }
}

impl Sink for Datagrams {
    fn write(&mut self, batch: &mut Batch) -> io::Result<u64> {
        let Some(socket) = &self.socket else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut lost = 0;
        while let Some(record) = batch.record() {
            let len = record.len();
            match socket.send(record) {
                Ok(_) => batch.done += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_too_long(&error) => {
                    lost += 1;
                    batch.done += len;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lost)
    }

    /// A daemon that was started again has another socket of the same name.
    fn reopen(&mut self) -> io::Result<bool> {
        self.socket = Some(connect(&self.path)?);
        Ok(true)
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&str]) -> Batch {
        let mut batch = Batch::default();
        records
            .iter()
            .for_each(|record| batch.push(record.as_bytes()));
        batch
    }

    #[test]
    fn what_goes_elsewhere_begins_with_a_whole_record() {
        let mut batch = batch(&["aaaa\n", "bbbb\n", "cccc\n"]);
        for (done, rest, left) in [
            (0, "aaaa\nbbbb\ncccc\n", 3),
            (4, "aaaa\nbbbb\ncccc\n", 3),
            (5, "bbbb\ncccc\n", 2),
            (9, "bbbb\ncccc\n", 2),
            (14, "cccc\n", 1),
            (15, "", 0),
        ] {
            batch.done = done;
            assert_eq!(batch.left(), left, "{done}");
            batch.rewind();
            assert_eq!(batch.rest(), rest.as_bytes(), "{done}");
        }
    }

    #[test]
    fn a_file_that_was_renamed_is_followed_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut stream = Stream::open(&path).unwrap();
        stream.write(&mut batch(&["one\n"])).unwrap();
        assert!(!stream.reopen().unwrap(), "the same file");
        let old = dir.path().join("audit.log.1");
        std::fs::rename(&path, &old).unwrap();
        stream.write(&mut batch(&["two\n"])).unwrap();
        assert!(stream.reopen().unwrap());
        stream.write(&mut batch(&["three\n"])).unwrap();
        assert_eq!(std::fs::read_to_string(old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[test]
    fn behind_half_a_line_a_new_one_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for (before, after) in [
            ("", "one\ntwo\n"),
            ("whole\n", "whole\none\ntwo\n"),
            ("whole\nha", "whole\nha\none\ntwo\n"),
        ] {
            std::fs::write(&path, before).unwrap();
            let mut stream = Stream::open(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
            stream.write(&mut batch(&["one\n"])).unwrap();
            stream.write(&mut batch(&["two\n"])).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn so_it_does_in_a_file_that_is_opened_in_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut stream = Stream::open(&path).unwrap();
        stream.write(&mut batch(&["one\n"])).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "ha").unwrap();
        assert!(stream.reopen().unwrap());
        stream.write(&mut batch(&["two\n"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ha\ntwo\n");
    }

    #[test]
    fn a_line_that_is_half_written_goes_on_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut stream = Stream::open(&path).unwrap();
        std::fs::write(&path, "on").unwrap();
        let mut records = batch(&["one\n"]);
        records.done = 2;
        assert!(!stream.reopen().unwrap());
        stream.write(&mut records).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
    }

    #[test]
    fn a_daemon_that_comes_back_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(Datagrams::connect(&path).is_err());
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut sink = Datagrams::connect(&path).unwrap();
        let mut buffer = [0; 64];
        sink.write(&mut batch(&["one", "two"])).unwrap();
        for expected in ["one", "two"] {
            let len = daemon.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], expected.as_bytes());
        }
        drop(daemon);
        let mut left = batch(&["three"]);
        assert!(sink.write(&mut left).is_err());
        assert!(sink.reopen().is_err());
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        assert!(sink.reopen().unwrap());
        sink.write(&mut left).unwrap();
        let len = daemon.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"three");
    }

    #[test]
    fn a_record_that_no_datagram_holds_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut sink = Datagrams::connect(&path).unwrap();
        let long = "x".repeat(8 << 20);
        let mut records = batch(&[&long, "short"]);
        assert_eq!(sink.write(&mut records).unwrap(), 1);
        let mut buffer = [0; 64];
        let len = daemon.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"short");
        assert_eq!(records.left(), 0);
    }
}
