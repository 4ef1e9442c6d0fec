//! The environment laid over the file: `RESPGATE__SECTION__KEY`.
//!
//! Done here and not by the `config` crate's environment source, which turns every list it touches
//! into a table, guesses types ("yes" is true, "3.7" an integer), and would take a variable that
//! names no key for a key of its own. Ours are checked as the file's keys are, and an error names
//! the variable.

use super::parse;
use super::raw::{Raw, Table};
use super::report::Report;

const PREFIX: &str = "RESPGATE__";
/// Single tables of single values: what a deployment may set beside the file.
const SECTIONS: [&str; 5] = ["limits", "runtime", "admin", "audit", "log"];
/// Who may connect as whom, and what he may do: in the file, where it is reviewed, or nowhere.
const FILE_ONLY: [&str; 4] = ["listener", "identity", "policy", "rewrite"];

/// This process's variables that are meant for us. (`std::env::vars` panics where any variable at
/// all isn't Unicode.)
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| name.starts_with(PREFIX))
}

/// Puts the variables in the places of `root` that they name.
pub(super) fn overlay(
    root: &mut Table,
    variables: impl Iterator<Item = (String, String)>,
    report: &Report,
) {
    let mut variables: Vec<_> = variables
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // The environment has no order of its own; problems should.
    variables.sort();
    for (name, text) in variables {
        match place(root, &name) {
            Ok((table, key)) => {
                table.insert(key, Raw::Variable { name, text });
            }
            Err(reason) => report.add_variable(&name, String::new(), reason),
        }
    }
}

/// The table and key that a variable names. The key itself is checked with the table's others.
fn place<'a>(root: &'a mut Table, name: &str) -> Result<(&'a mut Table, String), String> {
    let path = &name[PREFIX.len()..];
    if path.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("must be in capitals".to_owned());
    }
    let path = path.to_ascii_lowercase();
    let path: Vec<&str> = path.split("__").collect();
    match path[..] {
        [section, ..] if FILE_ONLY.contains(&section) => Err(format!(
            "[{section}] cannot be set from the environment, only in the file"
        )),
        ["upstream", upstream, ref rest @ ..] => {
            let upstream = table(root, "upstream").and_then(|all| named(all, upstream))?;
            match rest {
                [key] => Ok((upstream, (*key).to_owned())),
                ["tls", key] => Ok((table(upstream, "tls")?, (*key).to_owned())),
                _ => Err("must be RESPGATE__UPSTREAM__NAME__KEY".to_owned()),
            }
        }
        [section, key] if SECTIONS.contains(&section) => {
            Ok((table(root, section)?, key.to_owned()))
        }
        ["upstream"] => Err("must be RESPGATE__UPSTREAM__NAME__KEY".to_owned()),
        [section, ..] if SECTIONS.contains(&section) => {
            Err("must be RESPGATE__SECTION__KEY".to_owned())
        }
        [section, ..] => {
            let known = SECTIONS.into_iter().chain(["upstream"]);
            Err(match parse::nearest(section, known) {
                Some(near) => format!("unknown section; did you mean {near:?}?"),
                None => "unknown section".to_owned(),
            })
        }
        [] => Err("names no key".to_owned()),
    }
}

/// The table under `key`, which is made where it is missing.
fn table<'a>(parent: &'a mut Table, key: &str) -> Result<&'a mut Table, String> {
    let value = parent
        .entry(key.to_owned())
        .or_insert_with(|| Raw::Table(Table::new()));
    match value {
        Raw::Table(table) => Ok(table),
        _ => Err(format!("{key} is no table in the file")),
    }
}

/// The upstream of this name. Variables have neither case nor hyphens, so several may answer to one.
fn named<'a>(upstreams: &'a mut Table, name: &str) -> Result<&'a mut Table, String> {
    let mut candidates: Vec<String> = upstreams
        .keys()
        .filter(|key| key.to_ascii_lowercase().replace('-', "_") == name)
        .cloned()
        .collect();
    match (candidates.pop(), candidates.is_empty()) {
        (Some(only), true) => table(upstreams, &only),
        (Some(_), false) => Err("names several upstreams of the file".to_owned()),
        (None, _) => Err(format!("the file has no [upstream.{name}]")),
    }
}
