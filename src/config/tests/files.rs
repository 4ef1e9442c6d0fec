//! The files that are shipped: each loads as it stands.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, DEFAULT_MAX_CONNECTIONS, load};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// Loads a copy of a shipped file, beside the password files that its comment tells one to make.
fn load_copy(name: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(shipped().join(name)).unwrap();
    for line in text.lines() {
        let Some(file) = line.strip_prefix("password_file = ") else {
            continue;
        };
        let path = directory.path().join(file.trim().trim_matches('"'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "secret\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    let path = directory.path().join("respgate.toml");
    fs::write(&path, text).unwrap();
    let loaded = load(&path, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings, []);
    loaded.config
}

#[test]
fn the_example_loads_in_its_place() {
    let path = shipped().join("respgate.toml");
    let loaded = load(&path, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.acl_files, [shipped().join("users.acl")]);
    assert!(loaded.config.acl_files[0].is_file());
}

#[test]
fn the_values_shown_in_the_example_are_the_defaults() {
    // Every commented key, uncommented, must be known and change nothing.
    let text = fs::read_to_string(shipped().join("respgate.toml")).unwrap();
    let mut shown = 0;
    let uncommented: Vec<_> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_default(rest) => {
                shown += 1;
                rest
            }
            _ => line,
        })
        .collect();
    assert!(shown > 20, "{shown}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("respgate.toml");
    let debug = |text: &str| {
        fs::write(&path, text).unwrap();
        let loaded =
            load(&path, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
        format!("{:#?}", loaded.config)
    };
    // Spelled out, this one is kept or refused; left out, it gives way to the limit of open files.
    let spelled_out = format!("Some(\n                {DEFAULT_MAX_CONNECTIONS},\n            )");
    let uncommented = debug(&uncommented.join("\n"));
    assert!(uncommented.contains(&spelled_out), "{uncommented}");
    assert_eq!(uncommented.replace(&spelled_out, "None"), debug(&text));
}

/// `key = value`, and not a part of the commented rule, which begins with `match`, nor what has no
/// default.
fn is_default(line: &str) -> bool {
    let key = line.split(" = ").next().unwrap_or_default();
    line.contains(" = ")
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && !["match", "user", "auth", "bind", "probe", "token_file"].contains(&key)
}

#[test]
fn the_deploy_examples_load() {
    let mut names: Vec<_> = fs::read_dir(shipped().join("deploy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    let expected = ["cluster", "container", "platform", "sentinel", "sidecar"];
    assert_eq!(names, expected.map(|name| format!("{name}.toml")));
    for name in names {
        let config = load_copy(&format!("deploy/{name}"));
        assert!(!config.identities.is_empty());
    }
}
