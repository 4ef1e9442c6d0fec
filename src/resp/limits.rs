//! What a peer may claim before it is cut off.

/// Bounds on one request, checked on the claim itself: nothing is ever allocated from a length
/// that a peer names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The longest bulk string, bytes.
    pub max_bulk: u64,
    /// The most arguments, the name included.
    pub max_args: u32,
    /// Whether these are the bounds before AUTH: only the error's text depends on it.
    pub unauthenticated: bool,
}

/// The longest header line after its type byte. Redis waits for 64 KB; no canonical number needs
/// more than 20.
pub(super) const MAX_HEADER: usize = 32;

/// The longest inline request, its line end included (`PROTO_INLINE_MAX_SIZE`).
pub(super) const MAX_INLINE: usize = 64 * 1024;

impl Limits {
    /// Before AUTH a request has at most 10 arguments of at most 16 KB, as in Redis since
    /// CVE-2021-32675 (5.0.14, 6.0.16, 6.2.6). Older servers have no such bound of their own.
    pub const UNAUTHENTICATED: Self = Self {
        max_bulk: 16_384,
        max_args: 10,
        unauthenticated: true,
    };
}

impl Default for Limits {
    /// Redis' own: 512 MB (`proto-max-bulk-len`) and 1,048,576 arguments (up to 6.2).
    fn default() -> Self {
        Self {
            max_bulk: 512 * 1024 * 1024,
            max_args: 1024 * 1024,
            unauthenticated: false,
        }
    }
}
