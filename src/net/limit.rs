//! How many connections there may be at once.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

/// A listener's `max_connections`: a permit is taken before the connection is accepted, so those
/// beyond the limit wait in the kernel's backlog and cost nothing.
#[derive(Clone, Debug)]
pub struct ConnectionLimit(Arc<Places>);

/// What the connections of one listener share.
#[derive(Debug)]
struct Places {
    most: AtomicUsize,
    taken: AtomicUsize,
    /// A place has become free, or there are more.
    freed: Notify,
}

/// One connection's place in [`ConnectionLimit`]; given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<Places>);

/// Connections of each source address.
#[derive(Clone, Debug)]
pub struct PerAddress {
    most: Arc<AtomicUsize>,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place in [`PerAddress`]; given back when dropped.
#[derive(Debug)]
pub struct AddressPermit {
    address: IpAddr,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// Descriptors beside the connections of clients and their upstreams: listeners, runtimes (three a
/// worker), control and shared connections, the admin address, the audit, files that are being read.
pub const SPARE_FILES: u64 = 128;

// === impl ConnectionLimit ===

impl ConnectionLimit {
    /// At most `most` connections.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Places {
            most: AtomicUsize::new(most),
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// Another limit from now on. Connections above a lower one stay, and none is added to them.
    pub fn set(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
        self.0.freed.notify_one();
    }

    /// Waits for a place. One task asks at a time.
    pub async fn acquire(&self) -> ConnectionPermit {
        loop {
            // A place that becomes free behind this look leaves its word with `freed`.
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            self.0.freed.notified().await;
        }
    }

    /// A place, if there is one. One task asks at a time.
    pub fn try_acquire(&self) -> Option<ConnectionPermit> {
        (self.0.taken.load(Ordering::Acquire) < self.0.most.load(Ordering::Relaxed)).then(|| {
            self.0.taken.fetch_add(1, Ordering::AcqRel);
            ConnectionPermit(Arc::clone(&self.0))
        })
    }
}

// === impl PerAddress ===

impl PerAddress {
    /// At most `most` connections of one address.
    pub fn new(most: usize) -> Self {
        Self {
            most: Arc::new(AtomicUsize::new(most)),
            counts: Arc::default(),
        }
    }

    /// Another limit from now on. Connections above a lower one stay.
    pub fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// A place for one more; `None` if the address has all it may have.
    pub fn acquire(&self, address: IpAddr) -> Option<AddressPermit> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.most.load(Ordering::Relaxed) {
            if *count == 0 {
                counts.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(AddressPermit {
            address,
            counts: Arc::clone(&self.counts),
        })
    }
}

// === impl ConnectionPermit ===

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

// === impl AddressPermit ===

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// The hard limit of open files.
pub fn most_files() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit of open files to `needed`, if it is lower.
///
/// # Errors
/// The system refuses: more than [`most_files`].
pub fn raise_file_limit(needed: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;

    fn waits(future: Pin<&mut impl Future>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        future.poll(&mut cx).is_pending()
    }

    #[tokio::test]
    async fn a_limit_can_be_raised_and_lowered() {
        let limit = ConnectionLimit::new(1);
        let first = limit.acquire().await;
        let mut second = Box::pin(limit.acquire());
        assert!(waits(second.as_mut()));
        limit.set(2);
        let second = second.await;
        limit.set(1);
        let mut third = Box::pin(limit.acquire());
        assert!(waits(third.as_mut()));
        drop(first);
        assert!(waits(third.as_mut()), "one is left, and may be");
        assert!(limit.try_acquire().is_none());
        drop(second);
        drop(third.await);
        assert!(limit.try_acquire().is_some());
    }

    #[test]
    fn an_address_gets_its_places_back() {
        let limit = PerAddress::new(2);
        let [one, other]: [IpAddr; 2] =
            ["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
        let first = limit.acquire(one).unwrap();
        let _second = limit.acquire(one).unwrap();
        assert!(limit.acquire(one).is_none());
        assert!(limit.acquire(other).is_some());
        drop(first);
        assert!(limit.acquire(one).is_some());
        assert_eq!(limit.counts.lock().unwrap().len(), 1);
    }
}
