//! `ACL SAVE`: run-time changes written into the text of the ACL files.

use std::sync::Arc;

use super::file::{LineKind, Source, read_line};
use super::store::Policy;
use super::user::User;

impl Policy {
    /// The files with the lines of changed users replaced, those of deleted ones gone, and those
    /// of new ones at the end of the last file. Every other byte is as it was: comments, roles,
    /// the order. `is_changed` tells which users are not as `sources` have them.
    ///
    /// What comes out need not say the same as this policy: a rule can hold what no file can. See
    /// [`Policy::first_difference`].
    pub fn written_into(
        &self,
        sources: &[Source],
        is_changed: impl Fn(&str) -> bool,
    ) -> Vec<Source> {
        let mut written: Vec<&str> = Vec::new();
        let mut files: Vec<Source> = sources
            .iter()
            .map(|source| Source {
                path: source.path.clone(),
                content: self.rewrite(source, &is_changed, &mut written),
            })
            .collect();
        let new = self
            .users()
            .filter(|user| is_changed(user.name()) && !written.contains(&user.name()));
        if let Some(last) = files.last_mut() {
            for user in new {
                if last.content.last().is_some_and(|byte| *byte != b'\n') {
                    last.content.push(b'\n');
                }
                put_line(user, &mut last.content);
                last.content.push(b'\n');
            }
        }
        files
    }

    fn rewrite<'a>(
        &self,
        source: &'a Source,
        is_changed: &impl Fn(&str) -> bool,
        written: &mut Vec<&'a str>,
    ) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&source.content) else {
            // Such a file was never loaded.
            return source.content.clone();
        };
        let mut out = Vec::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            match read_line(line) {
                LineKind::User { name, .. } if is_changed(name) => {
                    if let Some(user) = self.user(name) {
                        written.push(name);
                        put_line(user, &mut out);
                        let end = line.trim_end_matches(['\r', '\n']).len();
                        out.extend_from_slice(&line.as_bytes()[end..]);
                    }
                }
                _ => out.extend_from_slice(line.as_bytes()),
            }
        }
        out
    }

    /// The first user of whom two policies don't say the same; `None`: they have the same users,
    /// who may do the same.
    pub fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let lacks = |one: &'a Self, other: &'a Self| {
            let differs = |user: &&Arc<User>| match other.user(user.name()) {
                Some(known) => !known.says_the_same(user),
                None => true,
            };
            one.users().find(differs).map(|user| user.name())
        };
        lacks(self, other).or_else(|| lacks(other, self))
    }
}

fn put_line(user: &User, out: &mut Vec<u8>) {
    out.extend_from_slice(b"user ");
    out.extend_from_slice(user.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&user.describe());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::Table;

    const USERS: &str = "# who may what\nrole reader +@read ~*\n\n  user  cart on >pw role=reader \
                         # no comment\nuser ops on nopass +@all ~* &*\r\n#user gone\nuser last off";

    fn source(content: impl Into<Vec<u8>>) -> Source {
        Source {
            path: "users.acl".into(),
            content: content.into(),
        }
    }

    fn parse(sources: &[Source]) -> Policy {
        let files = |_: &std::path::Path, _: &str| Ok(b"return 1".to_vec());
        let parsed = Policy::parse_with(sources, &Table::builtin(), &files);
        parsed.unwrap().0
    }

    fn users() -> Vec<Source> {
        // A comment stands on a line of its own.
        vec![source(USERS.replace(" # no comment", ""))]
    }

    fn set(policy: &Policy, name: &str, rules: &[&str]) -> Policy {
        let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        policy
            .with_user(name.as_bytes(), &rules, &Table::builtin())
            .unwrap()
    }

    fn text(files: &[Source]) -> &str {
        std::str::from_utf8(&files[0].content).unwrap()
    }

    #[test]
    fn what_did_not_change_stays_byte_for_byte() {
        let sources = users();
        let policy = parse(&sources);
        assert_eq!(
            policy.written_into(&sources, |_| false)[0].content,
            sources[0].content
        );
    }

    #[test]
    fn changed_lines_are_replaced_new_ones_appended_deleted_ones_gone() {
        let sources = users();
        let policy = parse(&sources);
        let policy = set(&policy, "ops", &["-debug"]);
        let policy = set(&policy, "new", &["on", "~a", "+get"]);
        let (policy, _) = policy.without_users(&[b"last"]);
        let files = policy.written_into(&sources, |name| name != "cart");
        assert_eq!(
            text(&files),
            "# who may what\nrole reader +@read ~*\n\n  user  cart on >pw role=reader\nuser ops \
             on nopass sanitize-payload ~* &* +@all -debug\r\n#user gone\nuser new on \
             sanitize-payload ~a resetchannels -@all +get\n"
        );
        assert_eq!(parse(&files).first_difference(&policy), None);
    }

    #[test]
    fn new_users_go_to_the_last_file() {
        let sources = [source("user a on\n"), source("user b on")];
        let policy = set(&parse(&sources), "c", &["on"]);
        let files = policy.written_into(&sources, |name| name == "c");
        assert_eq!(files[0].content, sources[0].content);
        assert_eq!(
            files[1].content,
            b"user b on\nuser c on sanitize-payload resetchannels -@all\n"
        );
    }

    #[test]
    fn files_that_scripts_come_from_keep_their_names() {
        let sources = [source("user a on script=one.lua +eval ~*\n")];
        let policy = set(&parse(&sources), "a", &["resetkeys", "~c"]);
        let files = policy.written_into(&sources, |_| true);
        assert!(text(&files).contains(" script=one.lua "), "{files:?}");
        assert_eq!(parse(&files).first_difference(&policy), None);
    }

    #[test]
    fn differences_are_named_from_both_sides() {
        let policy = parse(&users());
        let more = set(&policy, "new", &["on"]);
        let other = set(&policy, "ops", &["off"]);
        assert_eq!(policy.first_difference(&more), Some("new"));
        assert_eq!(more.first_difference(&policy), Some("new"));
        assert_eq!(policy.first_difference(&other), Some("ops"));
        assert_eq!(policy.first_difference(&policy), None);
    }

    fn rules() -> impl Strategy<Value = Vec<String>> {
        const NAMES: &[&str] = &["get", "set", "config", "config|get", "select|0", "acl|cat"];
        let one = prop_oneof![
            prop::sample::select(&[
                "on",
                "off",
                "nopass",
                "resetpass",
                "reset",
                "allkeys",
                "resetkeys",
                "allchannels",
                "resetchannels",
                "+@all",
                "-@all",
                "clearselectors",
                "skip-sanitize-payload",
                "db=0,3",
                "alldbs",
                "resetdbs",
                "lethal=acl",
                "lethal=*",
                "script=any",
                "script=none",
                "role=reader",
            ])
            .prop_map(str::to_owned),
            prop::sample::select(NAMES).prop_map(|name| format!("+{name}")),
            prop::sample::select(&NAMES[..4]).prop_map(|name| format!("-{name}")),
            prop::sample::select(&["read", "write", "admin", "string"])
                .prop_map(|name| format!("+@{name}")),
            "[a-z]{1,4}\\*?".prop_map(|key| format!("~{key}")),
            "[a-z]{1,4}".prop_map(|key| format!("%R~{key}")),
            "[a-z]{1,4}".prop_map(|channel| format!("&{channel}")),
            "[a-z]{1,8}".prop_map(|password| format!(">{password}")),
            "[a-z]{1,3}".prop_map(|key| format!("(+get -@write ~{key} %W~w &c)")),
        ];
        prop::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn what_is_written_says_the_same(
            changes in prop::collection::vec(
                (prop::sample::select(&["cart", "ops", "last", "x", "y"]), rules()),
                0..5,
            ),
            deleted in prop::option::of(prop::sample::select(&["cart", "last", "x"])),
        ) {
            let sources = users();
            let mut policy = parse(&sources);
            let mut changed: Vec<&str> = Vec::new();
            let table = Table::builtin();
            for (name, rules) in &changes {
                let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
                // A pattern behind `allkeys` is refused: then nothing has changed.
                if let Ok(next) = policy.with_user(name.as_bytes(), &rules, &table) {
                    policy = next;
                    changed.push(name);
                }
            }
            if let Some(name) = deleted {
                (policy, _) = policy.without_users(&[name.as_bytes()]);
                changed.push(name);
            }
            let files = policy.written_into(&sources, |name| changed.contains(&name));
            let read = parse(&files);
            prop_assert_eq!(read.first_difference(&policy), None);
            // Saving once more changes nothing, whatever counts as changed.
            let again = policy.written_into(&files, |name| changed.contains(&name));
            prop_assert_eq!(&again[0].content, &files[0].content);
        }
    }
}
