//! What documents the keys: docs/configuration.md's table of them, and the configuration as shipped.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::load::validate;
use super::super::raw;
use super::super::report::Report;
use super::super::section::Section;

const PAGE: &str = include_str!("../../../docs/configuration.md");
const SHIPPED: &str = include_str!("../../../config/respgate.toml");

/// A file with every table that is optional and whose name is the operator's. What else it lacks is
/// a problem, and none of this test's.
const TABLES: &str = "
    [[listener]]
    name = \"NAME\"
    [listener.tls]
    [upstream.NAME]
    address = \"127.0.0.1:6379\"
    [upstream.NAME.tls]
    [[identity]]
    [policy.extra_commands]
    \"a.b\" = { first_key = 1 }
    [limits.user.NAME]
    [limits.address]
    max_connections = 1
";

/// The keys that the configuration knows, as the table names them: `listener.tls.cert`.
fn known() -> BTreeSet<String> {
    let report = Report::new(Path::new("respgate.toml"));
    let table = raw::parse(TABLES).unwrap();
    validate(
        Path::new("respgate.toml"),
        Section::new(&report, "", table.clone()),
    );
    let asked = report.asked.into_inner();
    let named = asked.iter().map(|key| {
        key.replace("listener.NAME", "listener")
            .replace("identity[0]", "identity")
    });
    // What a table says of itself is its own row, and not a key of the table above it.
    let tables = [
        "listener",
        "listener.tls",
        "upstream.NAME.tls",
        "identity",
        "policy",
        "rewrite",
        "limits",
        "limits.user",
        "limits.address",
        "limits.auth",
        "runtime",
        "admin",
        "audit",
        "log",
        "upstream",
    ];
    named
        .filter(|key| !tables.contains(&&**key))
        // These have tables of their own, each in its section.
        .filter(|key| {
            !key.starts_with("identity.match.") && !key.starts_with("policy.extra_commands.")
        })
        // The same three as a user's.
        .filter(|key| !key.starts_with("limits.address."))
        .collect()
}

/// The rows between this line and the next that is no row.
fn rows<'a>(text: &'a str, header: &str) -> impl Iterator<Item = Vec<&'a str>> {
    let (_, rest) = text.split_once(header).expect("the table is there");
    rest.lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').splitn(3, '|');
            cells.map(str::trim).collect()
        })
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_reference_table_has_each_key_and_no_other() {
    let mut table = String::new();
    let mut listed = Vec::new();
    for row in rows(PAGE, "| key | default | meaning |") {
        assert_eq!(row.len(), 3, "{row:?}");
        if row[0].starts_with("**") {
            let name = code(row[0]).next().unwrap();
            table = name.trim_matches(['[', ']']).to_owned();
        } else {
            listed.extend(code(row[0]).map(|key| format!("{table}.{key}")));
        }
    }
    let set: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(set.len(), listed.len(), "a key stands there twice");
    let known = known();
    let missing: Vec<_> = known.difference(&set).collect();
    let unknown: Vec<_> = set.difference(&known).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    assert!(unknown.is_empty(), "not in the configuration: {unknown:?}");
}

#[test]
fn the_conditions_of_identities_are_in_the_table() {
    let row = rows(PAGE, "| key | default | meaning |").find(|row| row[0] == "`match`");
    let listed: BTreeSet<_> = code(row.unwrap()[2]).collect();
    for attribute in crate::identity::Attribute::ALL {
        assert!(listed.contains(attribute.as_str()), "{attribute:?}");
    }
    assert!(listed.contains("from") && listed.contains("listener"));
}

#[test]
fn the_shipped_file_shows_each_key() {
    let mut table = String::new();
    let mut shown = BTreeSet::new();
    for line in SHIPPED.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.trim_start_matches('[').split(']').next().unwrap();
            table = name.replace("upstream.main", "upstream.NAME");
        } else if let Some((key, _)) = line.split_once(" = ") {
            shown.insert(format!("{table}.{key}"));
        }
    }
    // Named in one comment; each has a table of its own.
    let elsewhere = ["limits.user.NAME.", "limits.auth.", "identity."];
    let missing: Vec<_> = known()
        .into_iter()
        .filter(|key| !elsewhere.iter().any(|table| key.starts_with(table)))
        .filter(|key| !shown.contains(key))
        .collect();
    assert!(
        missing.is_empty(),
        "not in config/respgate.toml: {missing:?}"
    );
}
