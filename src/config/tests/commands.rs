//! `policy.extra_commands`

use super::{IDENTITY, LISTENER, TLS, UPSTREAM, bad, good, try_load};
use crate::command::{Access, Categories, Category, Command, Flag, Flags, Keys};

fn with(commands: &str) -> String {
    let policy = "[policy]\nacl_files = [\"a\"]\n[policy.extra_commands]\n";
    [LISTENER, TLS, UPSTREAM, IDENTITY, policy, commands, "\n"].concat()
}

fn declared(commands: &str) -> Vec<Command> {
    good(&with(commands)).config.extra_commands
}

fn one(fields: &str) -> Command {
    let mut commands = declared(&format!("\"ft.search\" = {{ {fields} }}"));
    assert_eq!(commands.len(), 1);
    commands.remove(0)
}

#[test]
fn what_is_left_out_has_the_stricter_reading() {
    let bare = one("");
    assert_eq!((&*bare.name, bare.arity), ("ft.search", -1));
    assert_eq!(bare.keys, Keys::None);
    assert_eq!(bare.flags, Flags::of(&[Flag::Write]));
    let write = Categories::of(&[Category::Write, Category::Slow]);
    assert_eq!(bare.categories, write);
    assert!(!bare.learned);
    let keys = one("first_key = 2").keys;
    assert_eq!(keys, Keys::range(2, 2, 1, Access::READ_WRITE));
}

#[test]
fn every_field_is_read() {
    let read = one("first_key = 1, last_key = 1, step = 1, write = false");
    assert_eq!(read.keys, Keys::range(1, 1, 1, Access::READ));
    assert_eq!(read.flags, Flags::of(&[Flag::Readonly]));
    let expected = Categories::of(&[Category::Read, Category::Slow]);
    assert_eq!(read.categories, expected);

    let all = one(
        "first_key = 2, last_key = -1, step = 2, arity = -4, categories = [\"Read\", \"dangerous\"]",
    );
    assert_eq!(all.keys, Keys::range(2, -1, 2, Access::READ_WRITE));
    assert_eq!(all.arity, -4);
    let expected = Categories::of(&[Category::Read, Category::Dangerous]);
    assert_eq!(all.categories, expected);
    assert_eq!(one("categories = []").categories, Categories::default());
    assert_eq!(one("keys = \"unknown\"").keys, Keys::Unknown);
    assert!(declared("").is_empty());
}

#[test]
fn containers_come_before_their_subcommands() {
    let commands = declared("\"FT.Config|GET\" = {}\n\"ft.config\" = {}\n\"ft.add\" = {}");
    let names: Vec<_> = commands.iter().map(|command| &*command.name).collect();
    assert_eq!(names, ["ft.add", "ft.config", "ft.config|get"]);
}

#[test]
fn extra_commands_are_checked() {
    let at = "policy.extra_commands.x";
    for (fields, problem) in [
        ("first = 1", ".first: unknown key"),
        (
            "frist_key = 1",
            ".frist_key: unknown key; did you mean \"first_key\"?",
        ),
        (
            "first_key = -1",
            ".first_key = \"-1\": must be an integer from 0 to 32767",
        ),
        (
            "first_key = \"1\"",
            ".first_key = \"1\": must be an integer from 0 to 32767",
        ),
        (
            "first_key = 1, last_key = 32768",
            ".last_key = \"32768\": must be an integer from -32768 to 32767",
        ),
        (
            "first_key = 1, last_key = 1.0",
            ".last_key = \"1.0\": must be an integer from -32768 to 32767",
        ),
        (
            "first_key = 1, step = 0",
            ".step = \"0\": must be an integer from 1 to 32767",
        ),
        (
            "first_key = 3, last_key = 2",
            ".last_key = \"2\": is before first_key; what counts from the end is negative",
        ),
        (
            "last_key = -1",
            ".first_key: must be 1 or more where last_key or step are given",
        ),
        (
            "first_key = 0, step = 2",
            ".first_key: must be 1 or more where last_key or step are given",
        ),
        ("write = \"no\"", ".write = \"no\": must be true or false"),
        (
            "arity = 0",
            ".arity = \"0\": must count the name: 1 or more, or negative for at least as many",
        ),
        (
            "arity = 2, first_key = 2",
            ".arity = \"2\": has no place for first_key; the name is counted too",
        ),
        (
            "categories = \"read\"",
            ".categories = \"read\": must be a list: [ … ]",
        ),
        (
            "categories = [\"@read\"]",
            ".categories[0] = \"@read\": must be one of Redis' ACL categories, without @, such as \"read\"",
        ),
        (
            "categories = [\"search\"]",
            ".categories[0] = \"search\": must be one of Redis' ACL categories, without @, such as \"read\"",
        ),
        (
            "keys = \"none\"",
            ".keys = \"none\": must be one of \"unknown\"",
        ),
        (
            "keys = \"unknown\", first_key = 1",
            ".keys: contradicts first_key, last_key and step: leave out the one or the others",
        ),
    ] {
        bad(
            &with(&format!("x = {{ {fields} }}")),
            &format!("{at}{problem}"),
        );
    }
    for (commands, problem) in [
        ("x = 1", "x = \"1\": must be a table"),
        (
            "\"a b\" = {}",
            "a b = \"{…}\": its key is no command's name, nor container|subcommand",
        ),
        (
            "\"a|b|c\" = {}",
            "a|b|c = \"{…}\": its key is no command's name, nor container|subcommand",
        ),
        (
            "\"a|\" = {}",
            "a| = \"{…}\": its key is no command's name, nor container|subcommand",
        ),
        (
            "X = {}\nx = {}",
            "x = \"{…}\": the command is there twice; upper and lower case are one",
        ),
    ] {
        bad(&with(commands), &format!("policy.extra_commands.{problem}"));
    }
    let long = "x".repeat(65);
    assert!(try_load(&with(&format!("{long} = {{}}")), &[]).is_err());
    bad(
        &[
            LISTENER,
            TLS,
            UPSTREAM,
            IDENTITY,
            "[policy]\nacl_files = [\"a\"]\nextra_commands = []\n",
        ]
        .concat(),
        "policy.extra_commands = \"[…]\": must be a table",
    );
}
