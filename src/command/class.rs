//! One class a command: what metrics count by.
//!
//! A command has many of Redis' categories, and a sum over categories would count it many times.

use super::category::{Categories, Category};

/// What kind of command it is, in one word. Closed on purpose: each is a label of a metric.
///
/// A command is of the first of these that fits, so what is rare and matters is never hidden in what
/// is frequent: `client|kill` is administration and not `connection`, BLPOP is `blocking` and not
/// `write`, KEYS is `dangerous` and not `read`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Class {
    /// Redis' `@admin`.
    Admin,
    /// `@dangerous`, without what is administration.
    Dangerous,
    /// `@scripting`.
    Scripting,
    /// `@transaction`.
    Transaction,
    /// `@blocking`.
    Blocking,
    /// `@pubsub`.
    Pubsub,
    /// `@connection`.
    Connection,
    /// `@write`, of what is left.
    Write,
    /// `@read`, of what is left.
    Read,
    /// None of these, or no command at all.
    Other,
}

// === impl Class ===

impl Class {
    /// Every class, the first that fits first.
    pub const ALL: [Self; 10] = [
        Self::Admin,
        Self::Dangerous,
        Self::Scripting,
        Self::Transaction,
        Self::Blocking,
        Self::Pubsub,
        Self::Connection,
        Self::Write,
        Self::Read,
        Self::Other,
    ];

    /// The class of a command that has these categories.
    pub(super) fn of(categories: Categories) -> Self {
        let fits = |class: &Self| {
            let category = class.category();
            category.is_none_or(|category| categories.contains(category))
        };
        Self::ALL.into_iter().find(fits).unwrap_or(Self::Other)
    }

    /// The category that it stands for; `None`: for all that have none of the others.
    fn category(self) -> Option<Category> {
        Some(match self {
            Self::Admin => Category::Admin,
            Self::Dangerous => Category::Dangerous,
            Self::Scripting => Category::Scripting,
            Self::Transaction => Category::Transaction,
            Self::Blocking => Category::Blocking,
            Self::Pubsub => Category::Pubsub,
            Self::Connection => Category::Connection,
            Self::Write => Category::Write,
            Self::Read => Category::Read,
            Self::Other => return None,
        })
    }

    /// The label used in metrics. Stable: dashboards depend on it.
    pub fn label(self) -> &'static str {
        self.category().map_or("other", Category::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;

    #[test]
    fn every_command_of_the_table_is_of_the_first_class_that_fits() {
        let table = Table::builtin();
        for (_, command) in table.iter() {
            let before = Class::ALL
                .into_iter()
                .take_while(|class| *class != command.class);
            for class in before {
                let category = class.category().unwrap();
                assert!(
                    !command.categories.contains(category),
                    "{} is {} before it is {}",
                    command.name,
                    class.label(),
                    command.class.label()
                );
            }
            if let Some(category) = command.class.category() {
                assert!(
                    command.categories.contains(category),
                    "{} is not in @{category}",
                    command.name
                );
            }
        }
    }

    #[test]
    fn what_matters_is_not_hidden_in_what_is_frequent() {
        let table = Table::builtin();
        for (name, label) in [
            ("get", "read"),
            ("set", "write"),
            ("del", "write"),
            ("object|encoding", "read"),
            ("client|kill", "admin"),
            ("client|setname", "connection"),
            ("acl|setuser", "admin"),
            ("config|set", "admin"),
            ("monitor", "admin"),
            ("shutdown", "admin"),
            ("flushall", "dangerous"),
            ("keys", "dangerous"),
            ("sort", "dangerous"),
            ("eval", "scripting"),
            ("fcall", "scripting"),
            ("multi", "transaction"),
            ("watch", "transaction"),
            ("blpop", "blocking"),
            ("xread", "blocking"),
            ("publish", "pubsub"),
            ("subscribe", "pubsub"),
            ("auth", "connection"),
            ("ping", "connection"),
            ("time", "other"),
        ] {
            let id = table.find_full(name).unwrap();
            assert_eq!(table.command(id).class.label(), label, "{name}");
        }
    }

    #[test]
    fn each_class_has_commands_and_a_label_of_its_own() {
        let table = Table::builtin();
        let mut labels: Vec<&str> = Class::ALL.iter().map(|class| class.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Class::ALL.len());
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
            assert!(
                table.iter().any(|(_, command)| command.class == class),
                "{class:?}"
            );
        }
    }
}
