//! Shadow mode: whose requests are judged, and go on all the same.

use std::sync::Arc;

/// The users on whom a policy is tried: what it denies them is told, and then forwarded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Shadow {
    /// None: every verdict is enforced.
    #[default]
    Nobody,
    /// All of them.
    Everybody,
    /// These, by name, sorted.
    Users(Arc<[Box<str>]>),
}

// === impl Shadow ===

impl Shadow {
    /// The users of these names.
    pub fn of<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(|it| it.as_ref().into()).collect();
        names.sort();
        match names.is_empty() {
            true => Self::Nobody,
            false => Self::Users(names.into()),
        }
    }

    /// Whether the policy is only tried on the user of this name.
    pub fn covers(&self, user: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Users(names) => names.binary_search_by(|name| (**name).cmp(user)).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let shadow = Shadow::of(["cart", "bob"]);
        let covered = ["bob", "cart", "ca", "carts", "Bob", ""].map(|name| shadow.covers(name));
        assert_eq!(covered, [true, true, false, false, false, false]);
        assert_eq!(Shadow::of([""; 0]), Shadow::Nobody);
        assert!(!Shadow::Nobody.covers("bob") && Shadow::Everybody.covers("bob"));
    }
}
