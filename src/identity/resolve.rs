//! From a subject to its identity: the first rule that matches decides.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use super::{Attribute, AuthKind, Certificate, Naming, Rule, is_user_name};

/// A peer as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What it proved in the handshake, if anything.
    pub certificate: Option<&'a Certificate>,
    /// The effective source address; `None` on a unix socket.
    pub source: Option<IpAddr>,
    /// The name of the listener that it came through.
    pub listener: &'a str,
}

/// What the rules say of a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Index of the rule that matched.
    pub rule: usize,
    /// Whom it may be.
    pub who: Who,
    /// What proves it.
    pub auth: AuthKind,
}

/// Whom a peer may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Who {
    /// This user.
    Fixed(Arc<str>),
    /// Whom AUTH names.
    Chosen,
    /// One of these, as AUTH says; the first before any AUTH. Never empty.
    OneOf(Arc<[Arc<str>]>),
}

/// Why a peer is nobody. For the audit; the peer itself gets one terse line.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Unmatched {
    /// No rule speaks of it.
    #[error("no identity rule matches")]
    NoRule,
    /// The rule takes the name from an attribute that the certificate lacks.
    #[error("identity[{rule}] matches, but the certificate has no {}", attribute.as_str())]
    NoValue {
        /// Index of the rule.
        rule: usize,
        /// The attribute that would be the name.
        attribute: Attribute,
    },
    /// The certificate has more than one, and which is the name is not ours to choose.
    #[error("identity[{rule}] matches, but the certificate has {count} values of {}", attribute.as_str())]
    SeveralValues {
        /// Index of the rule.
        rule: usize,
        /// The attribute that would be the name.
        attribute: Attribute,
        /// How many values it has.
        count: usize,
    },
    /// The certificate names `default`: that user is for those who name nobody.
    #[error("identity[{rule}] matches, but the certificate's {} is \"default\"", attribute.as_str())]
    DefaultUser {
        /// Index of the rule.
        rule: usize,
        /// The attribute that would be the name.
        attribute: Attribute,
    },
    /// Redis would not take the value as a name: it is empty, or has spaces or NUL.
    #[error("identity[{rule}] matches, but the certificate's {} is no user name", attribute.as_str())]
    InvalidName {
        /// Index of the rule.
        rule: usize,
        /// The attribute that would be the name.
        attribute: Attribute,
    },
}

/// Finds out who `subject` is.
///
/// The first rule that matches decides, for good: where it matches and cannot name the user, the
/// peer is refused and no later rule is asked, because a certificate that is odd in one attribute
/// must not end up with what a broader rule below gives. A peer without a certificate doesn't match
/// a rule that is about certificates, so a rule below can ask it for a password.
pub fn resolve(rules: &[Rule], subject: &Subject<'_>) -> Result<Identity, Unmatched> {
    let (index, rule) = rules
        .iter()
        .enumerate()
        .find(|(_, rule)| rule.matches(subject))
        .ok_or(Unmatched::NoRule)?;
    let who = match rule.naming() {
        Naming::Fixed(name) => Who::Fixed(name.clone()),
        Naming::Chosen => Who::Chosen,
        Naming::OneOf(names) => Who::OneOf(names.clone()),
        Naming::Attribute(attribute) => Who::Fixed(name_in(subject, index, *attribute)?),
    };
    Ok(Identity {
        rule: index,
        who,
        auth: rule.auth(),
    })
}

/// The one value of `attribute` that the certificate has.
fn name_in(
    subject: &Subject<'_>,
    rule: usize,
    attribute: Attribute,
) -> Result<Arc<str>, Unmatched> {
    let values = match subject.certificate {
        Some(certificate) => attribute.values(certificate),
        None => &[],
    };
    match values {
        [] => Err(Unmatched::NoValue { rule, attribute }),
        [name] if name == "default" => Err(Unmatched::DefaultUser { rule, attribute }),
        [name] if !is_user_name(name) => Err(Unmatched::InvalidName { rule, attribute }),
        [name] => Ok(name.as_str().into()),
        [..] => Err(Unmatched::SeveralValues {
            rule,
            attribute,
            count: values.len(),
        }),
    }
}
