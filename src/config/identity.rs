//! `[[identity]]`: from the file's words to [`Rule`]s, and what a rule must fit in the file.

use super::listener::Seen;
use super::parse;
use super::section::{Entry, Section};
use crate::identity::{Attribute, AuthKind, Naming, Pattern, Rule};

/// Reads all rules, in the file's order.
pub(super) fn read(root: &mut Section<'_>, listeners: &[Seen]) -> Vec<Rule> {
    let sections = root.required_tables(
        "identity",
        "at least one [[identity]] is required: without a rule nobody can connect",
    );
    sections
        .into_iter()
        .filter_map(|section| read_rule(section, listeners))
        .collect()
}

fn read_rule(mut section: Section<'_>, listeners: &[Seen]) -> Option<Rule> {
    let mut conditions = section.table("match");
    let attributes = Attribute::ALL
        .into_iter()
        .filter_map(|attribute| {
            let entry = conditions.take(attribute.as_str())?;
            // A pattern with a problem leaves its attribute in place: the rule is still about
            // certificates, and must not be said to prove nothing.
            Some((
                attribute,
                patterns(entry, |text| {
                    Pattern::for_attribute(attribute, text).map_err(|error| error.to_string())
                }),
            ))
        })
        .collect();
    let from = conditions.take("from").map(|entry| {
        let entries = entry.into_one_or_many();
        let networks = entries
            .iter()
            .filter_map(|entry| entry.parsed(parse::network));
        networks.collect()
    });
    let named = conditions.take("listener").map(|entry| {
        patterns(entry, |text| {
            let pattern = Pattern::new(text).map_err(|error| error.to_string())?;
            if listeners.iter().any(|seen| pattern.matches(&seen.name)) {
                return Ok(pattern);
            }
            let names = listeners.iter().map(|seen| seen.name.as_str());
            Err(match parse::nearest(text, names) {
                Some(near) => format!("matches no listener; did you mean {near:?}?"),
                None => "matches no listener".to_owned(),
            })
        })
    });
    let listener_key = named.is_some().then(|| conditions.key("listener"));
    conditions.finish();

    let naming = read_naming(&mut section);
    let auth = read_auth(&mut section);
    let auth_key = section.key("auth");
    let report = section.report;
    let rule_key = section.key("match");
    section.finish();

    let (auth_entry, auth) = auth?;
    let rule = match Rule::new(attributes, from, named, naming?, auth) {
        Ok(rule) => rule,
        Err(error) => {
            match auth_entry {
                Some(entry) => entry.problem(error.to_string()),
                None => report.problem(auth_key, error.to_string()),
            }
            return None;
        }
    };

    let covered: Vec<_> = listeners
        .iter()
        .filter(|seen| rule.covers_listener(&seen.name))
        .collect();
    // None at all: its patterns are at fault, and that is noted.
    if covered.is_empty() {
        return Some(rule);
    }
    if rule.needs_certificate() && covered.iter().all(|seen| !seen.certificates) {
        match listener_key {
            Some(key) => report.problem(
                key,
                "the rule needs a certificate, and these listeners ask for none",
            ),
            None => report.warning(
                &rule_key,
                "",
                "never matches: it needs a certificate, and no listener asks for one",
            ),
        }
    }
    let with_sources = covered.iter().any(|seen| seen.sources);
    if rule.needs_source() && !with_sources {
        report.warning(
            &rule_key,
            "",
            "never matches: its listeners are unix sockets, which have no source address",
        );
    }
    if rule.auth() == AuthKind::Address && !rule.needs_source() && with_sources {
        report.warning(
            &auth_key,
            "address",
            "without \"from\", every source that the listener allows becomes this user",
        );
    }
    Some(rule)
}

/// The patterns of a string or a list of strings, without those that have problems.
fn patterns(entry: Entry<'_>, parser: impl Fn(&str) -> Result<Pattern, String>) -> Vec<Pattern> {
    let entries = entry.into_one_or_many();
    entries
        .iter()
        .filter_map(|entry| entry.parsed(&parser))
        .collect()
}

fn read_naming(section: &mut Section<'_>) -> Option<Naming> {
    match (section.take("user"), section.take("users")) {
        (None, None) => {
            section.missing("user", "is required: user = \"…\", or users = [ … ]");
            None
        }
        (Some(_), Some(users)) => {
            users.problem("a rule has either user or users");
            None
        }
        (Some(user), None) => {
            user.parsed(|text| Naming::from_user(text).map_err(|error| error.to_string()))
        }
        (None, Some(users)) => {
            let key = users.key.clone();
            let entries = users.into_items()?;
            let names: Vec<_> = entries.iter().map(Entry::text).collect::<Option<_>>()?;
            Naming::from_users(&names)
                .map_err(
                    |(index, error)| match index.and_then(|index| entries.get(index)) {
                        Some(entry) => entry.problem(error.to_string()),
                        None => section.report.problem(key, error.to_string()),
                    },
                )
                .ok()
        }
    }
}

/// What the rule asks for, with its place if it is given; `None` where it is no such word.
fn read_auth<'a>(section: &mut Section<'a>) -> Option<(Option<Entry<'a>>, AuthKind)> {
    let choices = [
        ("certificate", AuthKind::Certificate),
        ("password", AuthKind::Password),
        ("address", AuthKind::Address),
    ];
    let Some(entry) = section.take("auth") else {
        return Some((None, AuthKind::default()));
    };
    let auth = entry.choice(&choices)?;
    Some((Some(entry), auth))
}
