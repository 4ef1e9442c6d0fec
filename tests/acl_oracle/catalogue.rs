//! Which commands a server knows, their categories and arities, beside our table.

use std::collections::{BTreeSet, HashSet};

use respgate::command::{Category, Table};

use crate::server::{Reply, Server};

/// Compares the categories, and what is in them; our table knows commands of other versions besides.
pub fn compare(variable: &str) {
    let Some(mut server) = Server::start(variable) else {
        return;
    };
    let table = Table::builtin();
    let known = commands_of(&mut server);
    let ours: HashSet<String> = table
        .iter()
        .map(|(_, command)| command.name.to_string())
        .collect();
    let missing: Vec<_> = known.difference(&ours).collect();
    assert!(missing.is_empty(), "not in our table: {missing:?}");
    let categories = server
        .call(&["ACL", "CAT"])
        .array()
        .into_iter()
        .map(Reply::text);
    let categories: BTreeSet<String> = categories.collect();
    let named: BTreeSet<String> = Category::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(named, categories);
    for category in &categories {
        assert_eq!(
            ours_in(&table, category, &known),
            category_of(&mut server, category),
            "@{category}"
        );
    }
    assert_eq!(
        rearranged(&mut server, &table, &known),
        HashSet::new(),
        "arity"
    );
}

/// Every command and subcommand of a server, in full. Those that Redis 8 has from a module are in
/// upper case.
pub fn commands_of(server: &mut Server) -> HashSet<String> {
    let list = server.call(&["COMMAND", "LIST"]).array();
    list.into_iter()
        .map(|name| name.text().to_ascii_lowercase())
        .collect()
}

/// A category as a server has it.
fn category_of(server: &mut Server, category: &str) -> BTreeSet<String> {
    let list = server.call(&["ACL", "CAT", category]).array();
    list.into_iter()
        .map(|name| name.text().to_ascii_lowercase())
        .collect()
}

/// The commands that are in other categories there than in our table.
pub fn recategorized(
    server: &mut Server,
    table: &Table,
    known: &HashSet<String>,
) -> HashSet<String> {
    let mut found = HashSet::new();
    for category in server.call(&["ACL", "CAT"]).array() {
        let category = category.text();
        let theirs = category_of(server, &category);
        let ours = ours_in(table, &category, known);
        found.extend(ours.symmetric_difference(&theirs).cloned());
    }
    found
}

/// The commands that take another number of arguments there than in our table.
pub fn rearranged(server: &mut Server, table: &Table, known: &HashSet<String>) -> HashSet<String> {
    let ours = table
        .iter()
        .filter(|(_, command)| known.contains(&*command.name));
    let ours: Vec<_> = ours.map(|(_, command)| command).collect();
    ours.iter()
        .for_each(|command| server.ask(&["COMMAND", "INFO", &command.name]));
    let theirs = server.answers().into_iter().map(|reply| {
        let facts = reply.array().remove(0).array();
        facts[1].clone()
    });
    ours.iter()
        .zip(theirs)
        .filter(|(command, theirs)| Reply::Integer(command.arity.into()) != *theirs)
        .map(|(command, _)| command.name.to_string())
        .collect()
}

/// A category as our table has it, without what the server doesn't know.
fn ours_in(table: &Table, category: &str, known: &HashSet<String>) -> BTreeSet<String> {
    let Some(category) = Category::parse(category) else {
        return BTreeSet::new();
    };
    let names = table
        .in_category(category)
        .map(|id| table.command(id).name.to_string());
    names.filter(|name| known.contains(name)).collect()
}
