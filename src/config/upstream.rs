//! `[upstream.NAME]`: where the Redis is, and with which credential it is spoken to.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::parse;
use super::section::Section;
use super::types::{Secret, Upstream};

/// Reads all upstreams, sorted by name. The names come for themselves, of broken ones too: what
/// refers to one is not wrong because of that.
pub(super) fn read(root: &mut Section<'_>) -> (Vec<Upstream>, Vec<String>) {
    let mut all = root.table("upstream");
    let names = all.names();
    if names.is_empty() {
        all.report
            .problem("upstream", "at least one [upstream.NAME] is required");
    }
    let mut upstreams = Vec::new();
    for (entry, name) in all.take_rest().into_iter().zip(&names) {
        if !parse::is_name(name) {
            entry.problem("the name of an upstream has only letters, digits, \"_\" and \"-\"");
        }
        if let Some(section) = entry.into_table() {
            upstreams.extend(read_one(name, section));
        }
    }
    (upstreams, names)
}

fn read_one(name: &str, mut section: Section<'_>) -> Option<Upstream> {
    let entry = section.required_text("address");
    let address = entry.as_ref().and_then(|entry| {
        let text = entry.text()?;
        match parse::upstream_address(text, section.report.base()) {
            Ok(address) => Some(address),
            // redis://user:password@host is what people have at hand.
            Err(reason) if text.contains('@') => {
                entry.secret_problem(reason);
                None
            }
            Err(reason) => {
                entry.problem(reason);
                None
            }
        }
    });
    let insecure = section.boolean("insecure_plaintext").unwrap_or(false);
    if let (Some(entry), Some(address)) = (&entry, &address)
        && !insecure
        && !parse::is_local(address)
    {
        entry.problem(
            "a remote upstream without TLS carries everything in the clear; \
             say insecure_plaintext = true if that network is safe",
        );
    }

    let username = section.text("username").filter(|name| !name.raw.is_empty());
    let password_file = section
        .text("password_file")
        .filter(|file| !file.raw.is_empty());
    if let Some(username) = &username
        && password_file.is_none()
    {
        username.problem("needs a password_file");
    }
    let password = password_file.and_then(|entry| {
        let path = section.report.base().join(entry.text()?);
        if is_world_readable(&path) {
            let place = path.display().to_string();
            let reason = "every user of this host can read the password; chmod o-r it";
            section.report.warning(&entry.key, &place, reason);
        }
        entry.parsed(|_| read_password(&path))
    });

    let choices = [("dedicated", false), ("shared", true)];
    if let Some((entry, true)) = section.choice("connections", &choices) {
        entry.not_built("sessions will share a few pipelined connections");
    }
    // Even an empty table says that this upstream speaks TLS.
    section.not_built("tls", None, "TLS to the upstream");
    let connect_timeout = section.duration("connect_timeout", Duration::from_secs(2));
    section.finish();
    Some(Upstream {
        name: name.to_owned(),
        address: address?,
        username: username.and_then(|entry| entry.text().map(str::to_owned)),
        password,
        connect_timeout,
    })
}

/// The first and only line of the file, as it is but for its newline.
fn read_password(path: &Path) -> Result<Secret, String> {
    // The path as resolved: "relative to the file" is easily taken for "to where I stand".
    let content = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let password = content
        .strip_suffix("\r\n")
        .or_else(|| content.strip_suffix('\n'))
        .unwrap_or(&content);
    if password.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(Secret::new(password.to_owned()))
}

#[cfg(unix)]
fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_world_readable(_: &Path) -> bool {
    false
}
