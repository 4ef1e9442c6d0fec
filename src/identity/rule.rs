//! One `[[identity]]` rule: its conditions, the user that it stands for, and the proof it asks for.
//!
//! A [`Rule`] that exists is sound in itself. Whether its listeners and users exist is for those who
//! know them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use thiserror::Error;

use super::{Attribute, Pattern, Subject};

/// One `[[identity]]` rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// All must hold; of the patterns of each, any.
    attributes: Vec<(Attribute, Vec<Pattern>)>,
    /// Any of them; `None`: wherever the peer is.
    from: Option<Vec<IpNet>>,
    /// Any of them; `None`: on every listener.
    listeners: Option<Vec<Pattern>>,
    naming: Naming,
    auth: AuthKind,
}

/// How a rule finds the name of the user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Naming {
    /// This one.
    Fixed(Arc<str>),
    /// `$cn`, `$uri`, `$dns`: the only value that the certificate has of this attribute.
    Attribute(Attribute),
    /// `$auth`: whom AUTH names.
    Chosen,
    /// AUTH may choose among them; the first before any AUTH. Never empty.
    OneOf(Arc<[Arc<str>]>),
}

/// What proves that the peer is the user.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AuthKind {
    /// The certificate; no AUTH is needed.
    #[default]
    Certificate,
    /// A successful AUTH, on top of a certificate or without one.
    Password,
    /// The source address, or the listener, is proof enough.
    Address,
}

/// Why a text names no user.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NamingError {
    /// Redis has no user without a name.
    #[error("must not be empty")]
    Empty,
    /// Only some attributes are names.
    #[error("only \"$cn\", \"$uri\", \"$dns\" and \"$auth\" may begin with \"$\"")]
    UnknownVariable,
    /// A list is of users, not of ways to find one.
    #[error("a list of users holds plain names, nothing with \"$\"")]
    VariableInList,
    /// Redis accepts no such name.
    #[error("a user name has no spaces and no NUL")]
    Invalid,
    /// The list would not say whom it means.
    #[error("is in the list twice")]
    Duplicate,
    /// Nobody could be meant.
    #[error("must name at least one user")]
    EmptyList,
}

/// Why conditions, user and proof don't make a rule together.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RuleError {
    /// It would be open to everybody by accident.
    #[error(
        "the rule has no certificate attribute: \"certificate\" proves nothing; say \"password\", \
         or \"address\" if the source address is proof enough"
    )]
    NothingProved,
    /// Without a password, anybody could be anyone.
    #[error("\"$auth\" needs auth = \"password\"")]
    ChosenWithoutPassword,
}

// === impl Rule ===

impl Rule {
    /// A rule of these conditions: all of `attributes` (of each, any pattern), any of `from`, any of
    /// `listeners`. A condition that is an empty list never holds; `None` always does.
    pub fn new(
        attributes: Vec<(Attribute, Vec<Pattern>)>,
        from: Option<Vec<IpNet>>,
        listeners: Option<Vec<Pattern>>,
        naming: Naming,
        auth: AuthKind,
    ) -> Result<Self, RuleError> {
        let rule = Self {
            attributes,
            from,
            listeners,
            naming,
            auth,
        };
        if rule.naming == Naming::Chosen && auth != AuthKind::Password {
            return Err(RuleError::ChosenWithoutPassword);
        }
        if auth == AuthKind::Certificate && !rule.needs_certificate() {
            return Err(RuleError::NothingProved);
        }
        Ok(rule)
    }

    /// How it finds the user.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// What it takes as proof.
    pub fn auth(&self) -> AuthKind {
        self.auth
    }

    /// Whether only a peer with a certificate can match. A name that is an attribute counts as a
    /// condition: exactly one such attribute must be there.
    pub fn needs_certificate(&self) -> bool {
        !self.attributes.is_empty() || matches!(self.naming, Naming::Attribute(_))
    }

    /// Whether only a peer with one of certain source addresses can match.
    pub fn needs_source(&self) -> bool {
        self.from.is_some()
    }

    /// Whether a peer of this listener can match.
    pub fn covers_listener(&self, name: &str) -> bool {
        match &self.listeners {
            Some(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
            None => true,
        }
    }

    /// Whether it takes the user's name from the certificate of any authority there is: over a
    /// bundle of several, each could then name the users of the others.
    pub fn trusts_any_issuer(&self) -> bool {
        matches!(self.naming, Naming::Attribute(_))
            && !self.attributes.iter().any(|(attribute, patterns)| {
                attribute.is_issuer() && patterns.iter().all(Pattern::restricts)
            })
    }

    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        self.covers_listener(subject.listener)
            && self.matches_source(subject.source)
            && self.matches_certificate(subject)
    }

    fn matches_source(&self, source: Option<IpAddr>) -> bool {
        let Some(networks) = &self.from else {
            return true;
        };
        // A unix socket has no source: no network can be said to hold it.
        let Some(source) = source else {
            return false;
        };
        // A dual-stack socket shows ::ffff:10.0.0.1 for a peer that is 10.0.0.1.
        let source = source.to_canonical();
        networks.iter().any(|network| network.contains(&source))
    }

    fn matches_certificate(&self, subject: &Subject<'_>) -> bool {
        let Some(certificate) = subject.certificate else {
            return !self.needs_certificate();
        };
        self.attributes.iter().all(|(attribute, patterns)| {
            let mut values = attribute.values(certificate).iter();
            values.any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
        })
    }
}

// === impl Naming ===

impl Naming {
    /// What `user = "…"` says.
    pub fn from_user(text: &str) -> Result<Self, NamingError> {
        match text {
            "" => Err(NamingError::Empty),
            "$cn" => Ok(Self::Attribute(Attribute::Cn)),
            "$uri" => Ok(Self::Attribute(Attribute::Uri)),
            "$dns" => Ok(Self::Attribute(Attribute::Dns)),
            "$auth" => Ok(Self::Chosen),
            _ if text.starts_with('$') => Err(NamingError::UnknownVariable),
            _ if !is_user_name(text) => Err(NamingError::Invalid),
            _ => Ok(Self::Fixed(text.into())),
        }
    }

    /// What `users = […]` says. An error comes with the entry that it is about, if with one.
    pub fn from_users(names: &[&str]) -> Result<Self, (Option<usize>, NamingError)> {
        if names.is_empty() {
            return Err((None, NamingError::EmptyList));
        }
        for (index, name) in names.iter().enumerate() {
            let error = if name.is_empty() {
                NamingError::Empty
            } else if name.starts_with('$') {
                NamingError::VariableInList
            } else if !is_user_name(name) {
                NamingError::Invalid
            } else if names[..index].contains(name) {
                NamingError::Duplicate
            } else {
                continue;
            };
            return Err((Some(index), error));
        }
        Ok(Self::OneOf(names.iter().map(|&name| name.into()).collect()))
    }
}

/// Whether Redis would take `text` as the name of a user: C's `isspace` and NUL end a word of an ACL
/// line.
pub fn is_user_name(text: &str) -> bool {
    let ends_word = |byte| matches!(byte, b' ' | b'\t'..=b'\r' | 0);
    !text.is_empty() && !text.bytes().any(ends_word)
}
