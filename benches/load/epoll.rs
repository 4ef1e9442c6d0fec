//! Which sockets have something. Level-triggered: one read an event, and no read that finds nothing.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Events that one call may bring.
const EVENTS: usize = 256;

pub(crate) struct Epoll {
    descriptor: OwnedFd,
    space: Box<[MaybeUninit<Event>; EVENTS]>,
}

// === impl Epoll ===

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            descriptor: epoll::create(CreateFlags::CLOEXEC)?,
            space: Box::new([MaybeUninit::uninit(); EVENTS]),
        })
    }

    pub(crate) fn add(&self, socket: &TcpStream, index: usize) -> io::Result<()> {
        let data = EventData::new_u64(index as u64);
        Ok(epoll::add(&self.descriptor, socket, data, EventFlags::IN)?)
    }

    /// From now on with, or without, word of when it takes more.
    pub(crate) fn modify(&self, socket: &TcpStream, index: usize, unsent: bool) -> io::Result<()> {
        let data = EventData::new_u64(index as u64);
        let flags = if unsent {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        Ok(epoll::modify(&self.descriptor, socket, data, flags)?)
    }

    /// The sockets that have something or take something: their numbers and what it is.
    pub(crate) fn wait(
        &mut self,
        timeout: Duration,
        into: &mut Vec<(usize, EventFlags)>,
    ) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        into.clear();
        match epoll::wait(&self.descriptor, &mut self.space[..], Some(&timeout)) {
            Ok((events, _)) => {
                for event in events.iter() {
                    let (data, flags) = (event.data, event.flags);
                    into.push((data.u64() as usize, flags));
                }
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(why) => Err(why.into()),
        }
    }
}
