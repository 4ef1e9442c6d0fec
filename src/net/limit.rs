//! How many connections there may be at once.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A listener's `max_connections`: a permit is taken before the connection is accepted, so those
/// beyond the limit wait in the kernel's backlog and cost nothing.
#[derive(Clone, Debug)]
pub struct ConnectionLimit(Arc<Semaphore>);

/// Connections of each source address.
#[derive(Clone, Debug)]
pub struct PerAddress {
    most: usize,
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
        Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))
    }

    /// Waits for a place; `None` only if the limit was closed.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

// === impl PerAddress ===

impl PerAddress {
    /// At most `most` connections of one address.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            counts: Arc::default(),
        }
    }

    /// A place for one more; `None` if the address has all it may have.
    pub fn acquire(&self, address: IpAddr) -> Option<AddressPermit> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(AddressPermit {
            address,
            counts: Arc::clone(&self.counts),
        })
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
    use super::*;

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
