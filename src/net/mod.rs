//! Sockets: listening, connecting, and which sources may come.
//!
//! Knows addresses and file descriptors; nothing of RESP, TLS or users.

mod accept;
mod inherited;
mod limit;
mod proxy_header;
mod source;
mod stream;

pub use accept::{Accepted, Backoff, Bound, Listener, Listeners, bind};
pub use inherited::{Inherited, InheritedError};
pub use limit::{
    AddressPermit, ConnectionLimit, ConnectionPermit, PerAddress, SPARE_FILES, most_files,
    raise_file_limit,
};
pub use proxy_header::{HeaderError, HeaderReader, HeaderStep, Origin, read_header, speaks};
pub use source::{Sources, effective};
pub use stream::{Stream, connect};
