//! What is wrong with bytes, by the side that sent them.

/// The client broke the protocol. It is told so in Redis' own words and disconnected: after a slip
/// in framing, the bytes of a value would be read as commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProtocolError {
    /// The argument count isn't a canonical decimal, or is above the limit.
    #[error("invalid multibulk length")]
    MultibulkLength,
    /// More arguments than a client may send before AUTH.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// No line end after the argument count.
    #[error("too big mbulk count string")]
    MultibulkHeader,
    /// An argument that doesn't begin with `$`.
    #[error("expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    /// An argument's length isn't a canonical decimal, is negative, or is above the limit.
    #[error("invalid bulk length")]
    BulkLength,
    /// A longer argument than a client may send before AUTH.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// No line end after an argument's length.
    #[error("too big bulk count string")]
    BulkHeader,
    /// A carriage return without its line feed, or other bytes where an argument should end.
    /// Redis never looks at these bytes; forwarding them as they are would let two parsers differ.
    #[error("expected CRLF")]
    ExpectedCrlf,
    /// An inline request without a line end within 64 KB.
    #[error("too big inline request")]
    InlineTooBig,
    /// An inline request whose quotes don't close.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// An inline request with a NUL, which hides the rest of the line from Redis.
    #[error("NUL in inline request")]
    InlineNul,
    /// The third line of a PROXY header of version 2, where no header is taken.
    #[error("a PROXY header from a peer that may not send one")]
    ProxyHeader,
    /// A TLS handshake on a port that speaks plaintext.
    #[error("TLS on a plaintext port")]
    TlsHandshake,
}

/// The upstream broke the protocol: nothing after this byte can be given to anybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplyError {
    /// A byte that begins no RESP type.
    #[error("unknown reply type 0x{0:02x}")]
    Type(u8),
    /// A length or count that isn't a canonical decimal, or overflows.
    #[error("bad length in a reply")]
    Length,
    /// Other bytes where a line or a bulk string should end.
    #[error("a reply does not end in CRLF")]
    ExpectedCrlf,
}

// === impl ProtocolError ===

impl ProtocolError {
    /// The label used in metrics and the audit. Stable: dashboards depend on it.
    pub fn label(self) -> &'static str {
        match self {
            Self::MultibulkLength => "multibulk_length",
            Self::UnauthenticatedMultibulk => "unauthenticated_multibulk",
            Self::MultibulkHeader => "multibulk_header",
            Self::ExpectedBulk(_) => "expected_bulk",
            Self::BulkLength => "bulk_length",
            Self::UnauthenticatedBulk => "unauthenticated_bulk",
            Self::BulkHeader => "bulk_header",
            Self::ExpectedCrlf => "expected_crlf",
            Self::InlineTooBig => "inline_too_big",
            Self::UnbalancedQuotes => "unbalanced_quotes",
            Self::InlineNul => "inline_nul",
            Self::ProxyHeader => "proxy_header",
            Self::TlsHandshake => "tls_on_plaintext",
        }
    }
}

/// A byte as it may stand in an error line: never a line end, never half a UTF-8 sequence.
fn printable(byte: u8) -> char {
    match byte {
        0x20..=0x7e => char::from(byte),
        _ => ' ',
    }
}
