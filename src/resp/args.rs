//! A request's arguments, as places in the buffer they came in.

/// Where one argument lies, relative to the first byte of its request.
///
/// 32 bits: a request is never held back beyond `max_inspect_buffer`, which is far below 4 GB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// Offset of the argument's first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The arguments of one request; the first is the command's name.
///
/// A request may still be arriving: [`Args::len`] is what its header declared, [`Args::present`]
/// what is here whole.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
    declared: usize,
}

/// Arguments that own their bytes, for everything off the hot path.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

// === impl Args ===

impl<'a> Args<'a> {
    /// `bytes` starts at the request's first byte; every span lies inside it.
    pub fn new(bytes: &'a [u8], spans: &'a [Span], declared: usize) -> Self {
        debug_assert!(spans.len() <= declared);
        Self {
            bytes,
            spans,
            declared,
        }
    }

    /// How many arguments the request has, the name included, here or not.
    pub fn len(&self) -> usize {
        self.declared
    }

    /// Never true for a request that the scanner returned.
    pub fn is_empty(&self) -> bool {
        self.declared == 0
    }

    /// How many arguments, from the first on, are here whole.
    pub fn present(&self) -> usize {
        self.spans.len()
    }

    /// How many bytes are here of a request that isn't here whole.
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Whether every argument is here.
    pub fn is_whole(&self) -> bool {
        self.spans.len() == self.declared
    }

    /// Argument `index`; `None` if it is past the end or has not arrived.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        let start = span.start as usize;
        self.bytes.get(start..start + span.len as usize)
    }

    /// The command's name; empty if not even that is here.
    pub fn name(&self) -> &'a [u8] {
        self.get(0).unwrap_or_default()
    }

    /// The arguments that are here, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let this = *self;
        (0..self.spans.len()).filter_map(move |index| this.get(index))
    }
}

// === impl OwnedArgs ===

impl OwnedArgs {
    /// The same view that a scanned request gives.
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans, self.spans.len())
    }

    /// As if only the first `present` arguments had arrived.
    pub fn as_partial(&self, present: usize) -> Args<'_> {
        Args::new(
            &self.bytes,
            &self.spans[..present.min(self.spans.len())],
            self.spans.len(),
        )
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut owned = Self::default();
        for item in items {
            let item = item.as_ref();
            let start = u32::try_from(owned.bytes.len()).unwrap_or(u32::MAX);
            let len = u32::try_from(item.len()).unwrap_or(u32::MAX);
            owned.bytes.extend_from_slice(item);
            owned.spans.push(Span { start, len });
        }
        owned
    }
}
