//! `[admin]`.

use super::{load, sound};
use crate::config::Bind;

fn problems(lines: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "secret\n").unwrap();
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    load_in(&dir, lines).err().unwrap_or_default()
}

/// What the table says, in a file that is right otherwise, beside `token` and `empty`.
fn load_in(dir: &tempfile::TempDir, lines: &str) -> Result<crate::config::Admin, Vec<String>> {
    let path = dir.path().join("respgate.toml");
    let text = format!("{}\n[admin]\n{lines}\n", sound());
    std::fs::write(&path, text).unwrap();
    match load(&path, std::iter::empty()) {
        Ok(loaded) => Ok(loaded.config.admin),
        Err(error) => Err(error.problems.0.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn nothing_is_bound_that_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let admin = load_in(&dir, "bind = \"\"\nprobe = \"\"\ntoken_file = \"\"").unwrap();
    assert_eq!(admin, crate::config::Admin::default());
}

#[test]
fn addresses_sockets_and_the_token_are_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "secret\n").unwrap();
    let lines = "bind = \"unix:admin.sock\"\nprobe = \"0.0.0.0:9181\"\ntoken_file = \"token\"";
    let admin = load_in(&dir, lines).unwrap();
    assert_eq!(admin.bind, Some(Bind::Unix(dir.path().join("admin.sock"))));
    let probe = "0.0.0.0:9181".parse().unwrap();
    assert_eq!(admin.probe, Some(Bind::Tcp(probe)));
    assert_eq!(admin.token_file, Some(dir.path().join("token")));
}

#[test]
fn what_is_open_by_accident_is_a_problem() {
    for (lines, word) in [
        ("bind = \"0.0.0.0:9180\"", "token_file"),
        ("bind = \"[::]:9180\"", "token_file"),
        ("bind = \"10.0.0.1:9180\"", "token_file"),
        (
            "bind = \"127.0.0.1:9180\"\ntoken_file = \"empty\"",
            "is empty",
        ),
        (
            "bind = \"127.0.0.1:9180\"\ntoken_file = \"none\"",
            "cannot read",
        ),
        (
            "bind = \"127.0.0.1:9180\"\nprobe = \"127.0.0.1:9180\"",
            "bound twice",
        ),
        ("bind = \"127.0.0.1:6380\"", "bound twice"),
        ("probe = \"127.0.0.1:0\"", "port"),
        ("bind = \"localhost:9180\"", "address and port"),
        ("tokenfile = \"token\"", "did you mean \"token_file\"?"),
    ] {
        let told = problems(lines);
        assert_eq!(told.len(), 1, "{lines}: {told:?}");
        assert!(told[0].contains(word), "{lines}: {told:?}");
    }
    for lines in [
        "bind = \"127.0.0.2:9180\"",
        "bind = \"[::1]:9180\"",
        "bind = \"[::ffff:127.0.0.1]:9180\"",
        "bind = \"0.0.0.0:9180\"\ntoken_file = \"token\"",
        "probe = \"0.0.0.0:9181\"",
    ] {
        assert_eq!(problems(lines), [""; 0], "{lines}");
    }
}

#[test]
fn the_environment_may_say_it() {
    let variables = [
        ("RESPGATE__ADMIN__BIND", "127.0.0.1:9180"),
        ("RESPGATE__ADMIN__PROBE", "0.0.0.0:9181"),
    ];
    let admin = super::try_load(&sound(), &variables).unwrap().config.admin;
    assert!(admin.bind.is_some() && admin.probe.is_some());
    let open = [("RESPGATE__ADMIN__BIND", "0.0.0.0:9180")];
    let told = super::try_load(&sound(), &open).unwrap_err();
    assert!(
        told[0].starts_with("environment: RESPGATE__ADMIN__BIND"),
        "{told:?}"
    );
}
