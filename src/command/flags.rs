//! What Redis says about a command as a whole.

use std::fmt;

/// One flag of `COMMAND INFO`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Flag {
    /// Administration; ACL category `@admin`.
    Admin,
    /// Answered while a script keeps the server busy.
    AllowBusy,
    /// Allowed while slots migrate, without ASKING first.
    Asking,
    /// May block the connection.
    Blocking,
    /// Refused when memory is short.
    Denyoom,
    /// Constant or logarithmic time.
    Fast,
    /// Allowed while the server loads its data.
    Loading,
    /// Implemented by a module, even where the server ships it.
    Module,
    /// The first, last and step of `COMMAND` do not say where the keys are.
    Movablekeys,
    /// Allowed before authentication, and outside of ACL command rules.
    NoAuth,
    /// Refused during asynchronous loading.
    NoAsyncLoading,
    /// Takes keys, but may be called without any.
    NoMandatoryKeys,
    /// Refused inside MULTI.
    NoMulti,
    /// Refused inside scripts.
    Noscript,
    /// Publishes or subscribes.
    Pubsub,
    /// Reads data.
    Readonly,
    /// Not shown by MONITOR.
    SkipMonitor,
    /// Not shown by SLOWLOG.
    SkipSlowlog,
    /// Allowed on a replica with stale data.
    Stale,
    /// May change data.
    Write,
}

/// A set of flags.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Flags(u32);

// === impl Flag ===

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 20] = [
        Self::Admin,
        Self::AllowBusy,
        Self::Asking,
        Self::Blocking,
        Self::Denyoom,
        Self::Fast,
        Self::Loading,
        Self::Module,
        Self::Movablekeys,
        Self::NoAuth,
        Self::NoAsyncLoading,
        Self::NoMandatoryKeys,
        Self::NoMulti,
        Self::Noscript,
        Self::Pubsub,
        Self::Readonly,
        Self::SkipMonitor,
        Self::SkipSlowlog,
        Self::Stale,
        Self::Write,
    ];

    /// The word that `COMMAND INFO` uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::AllowBusy => "allow_busy",
            Self::Asking => "asking",
            Self::Blocking => "blocking",
            Self::Denyoom => "denyoom",
            Self::Fast => "fast",
            Self::Loading => "loading",
            Self::Module => "module",
            Self::Movablekeys => "movablekeys",
            Self::NoAuth => "no_auth",
            Self::NoAsyncLoading => "no_async_loading",
            Self::NoMandatoryKeys => "no_mandatory_keys",
            Self::NoMulti => "no_multi",
            Self::Noscript => "noscript",
            Self::Pubsub => "pubsub",
            Self::Readonly => "readonly",
            Self::SkipMonitor => "skip_monitor",
            Self::SkipSlowlog => "skip_slowlog",
            Self::Stale => "stale",
            Self::Write => "write",
        }
    }

    /// By the word that `COMMAND INFO` uses; versions differ in the flags they know, so a reader
    /// of a live server's answer skips what is unknown.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.as_str() == word)
    }
}

// === impl Flags ===

impl Flags {
    /// The set of just these.
    pub const fn of(items: &[Flag]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < items.len() {
            bits |= 1 << items[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    /// Whether the flag is in the set.
    pub const fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }

    /// The flags in the set.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL
            .into_iter()
            .filter(move |flag| self.contains(*flag))
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<T: IntoIterator<Item = Flag>>(items: T) -> Self {
        let bits = items.into_iter().map(|item| 1 << item as u32);
        Self(bits.fold(0, |all, bit: u32| all | bit))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
