//! What an upstream says of itself when it is asked for the first time: what it is, then what it has.

use crate::command::Table;
use crate::proxy::upstream::{Connector, Dialogue, UpstreamError, within};
use crate::resp::Reply;
use crate::session::Facts;

use super::{ANSWER_WITHIN, Gaps};

/// Connects to an address, logs in, and asks what the upstream is and has.
pub(super) async fn introduce(
    connector: &Connector,
    address: usize,
    table: &Table,
) -> Result<(Facts, Gaps), UpstreamError> {
    let mut dialogue = connector.open(address).await?;
    let (mut facts, version) = what_it_is(connector, &mut dialogue).await?;
    let commands = what_it_has(&mut dialogue, &mut facts, table).await?;
    Ok((facts, Gaps { version, commands }))
}

/// Its first word: what it is; and its refusal to tell its version, if it does.
pub(super) async fn what_it_is(
    connector: &Connector,
    dialogue: &mut Dialogue,
) -> Result<(Facts, Option<String>), UpstreamError> {
    let identified = within(ANSWER_WITHIN, "INFO", identify(dialogue)).await;
    identified.map_err(|error| connector.first_word(error))
}

/// Its commands. Returns whether it doesn't tell them.
pub(super) async fn what_it_has(
    dialogue: &mut Dialogue,
    facts: &mut Facts,
    table: &Table,
) -> Result<bool, UpstreamError> {
    within(ANSWER_WITHIN, "COMMAND", async {
        let listed = dialogue.ask(&["COMMAND"]).await?;
        // A command that isn't there is unknown before it needs a login: INFO may have hidden this.
        refuse_noauth(&listed)?;
        let names = facts.take_commands(&listed, table);
        if !names.is_empty() {
            let mut request = vec!["COMMAND", "INFO"];
            request.extend(names.iter().map(String::as_str));
            let found = dialogue.ask(&request).await?;
            facts.take_names(&names, &found, &listed, table);
        }
        Ok(facts.commands.is_none())
    })
    .await
}

/// Version, mode and role, from whoever tells them; and why the version is unknown, if it is.
///
/// What stands before the upstream may keep INFO from us (another respgate whose policy does; a
/// managed Redis): then HELLO is asked, which no policy can take away. Where that too is refused
/// nothing is assumed: the version is 0.0.0, and older means stricter.
async fn identify(dialogue: &mut Dialogue) -> Result<(Facts, Option<String>), UpstreamError> {
    // All sections in one answer: role and version come from different ones.
    let info = dialogue.ask(&["INFO"]).await?;
    refuse_noauth(&info)?;
    let refusal = match info {
        Reply::Bulk(info) => {
            let no_version = || UpstreamError::Answer("INFO tells no version".to_owned());
            return Ok((Facts::read(&info).ok_or_else(no_version)?, None));
        }
        Reply::Error(error) if is_refusal(&error) => error,
        Reply::Error(error) => return Err(UpstreamError::Answer(format!("{error} (INFO)"))),
        _ => return Err(UpstreamError::Answer("no text to INFO".to_owned())),
    };
    let told = match dialogue.ask(&["HELLO"]).await {
        Ok(hello) => {
            refuse_noauth(&hello)?;
            read_hello(&hello)
        }
        // It hung up: the error was no answer to INFO but its last word (no user is mapped to us,
        // too many clients).
        Err(_) => return Err(UpstreamError::Answer(refusal)),
    };
    Ok(match told {
        Some(facts) => (facts, None),
        None => (
            Facts::read(b"redis_version:0.0.0\r\n").unwrap_or_default(),
            Some(refusal),
        ),
    })
}

/// Without a login that holds, nobody is served.
fn refuse_noauth(answer: &Reply) -> Result<(), UpstreamError> {
    match answer {
        Reply::Error(error) if error.starts_with("NOAUTH") => Err(UpstreamError::NoCredential),
        _ => Ok(()),
    }
}

/// Whether an error refuses the command itself. Other codes (LOADING, BUSY, MASTERDOWN) tell of a
/// state that passes, and we ask again.
fn is_refusal(error: &str) -> bool {
    matches!(error.split(' ').next(), Some("NOPERM" | "ERR"))
}

/// What the answer to HELLO tells, since 6.0: pairs of a name and a value.
fn read_hello(hello: &Reply) -> Option<Facts> {
    let pairs = hello.as_array()?;
    let field = |name: &str| {
        let mut pairs = pairs.chunks_exact(2);
        let value = pairs.find_map(|pair| match pair {
            [key, value] if key.as_bytes() == Some(name.as_bytes()) => value.as_bytes(),
            _ => None,
        })?;
        let text = std::str::from_utf8(value).ok()?;
        // A server's own choosing, which becomes a line.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        text.bytes().all(plain).then_some(text)
    };
    let version = field("version")?;
    let mode = field("mode").unwrap_or("standalone");
    // HELLO says replica where INFO says slave.
    let role = match field("role") {
        Some("replica") => "slave",
        Some(role) => role,
        None => "master",
    };
    let info = format!("redis_version:{version}\r\nredis_mode:{mode}\r\nrole:{role}\r\n");
    Facts::read(info.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(pairs: &[(&str, &str)]) -> Reply {
        let bulk = |text: &str| Reply::Bulk(text.to_owned().into());
        let mut items: Vec<Reply> = pairs
            .iter()
            .flat_map(|(key, value)| [bulk(key), bulk(value)])
            .collect();
        items.extend([bulk("proto"), Reply::Integer(2)]);
        items.extend([bulk("modules"), Reply::Array(Vec::new())]);
        Reply::Array(items)
    }

    #[test]
    fn hello_tells_what_info_would() {
        let told = [
            ("server", "redis"),
            ("version", "7.0.15"),
            ("mode", "cluster"),
            ("role", "replica"),
        ];
        let facts = read_hello(&hello(&told)).unwrap();
        assert_eq!(facts.version.to_string(), "7.0.15");
        assert_eq!((&*facts.mode, &*facts.role), ("cluster", "slave"));
        let facts = read_hello(&hello(&told[..2])).unwrap();
        assert_eq!((&*facts.mode, &*facts.role), ("standalone", "master"));
    }

    #[test]
    fn hello_that_tells_no_version_is_none() {
        for wrong in [
            hello(&[("server", "redis")]),
            hello(&[("version", "7.0.15\r\nrole:x")]),
            hello(&[("version", "unstable")]),
            Reply::Error("ERR unknown command".to_owned()),
            Reply::Array(Vec::new()),
            Reply::Null,
        ] {
            assert_eq!(read_hello(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_a_refused_command_makes_us_ask_another() {
        assert!(is_refusal(
            "NOPERM User a has no permissions to run the 'info' command"
        ));
        assert!(is_refusal("ERR unknown command 'info'"));
        for passing in ["LOADING Redis is loading", "BUSY", "MASTERDOWN Link", ""] {
            assert!(!is_refusal(passing), "{passing}");
        }
    }
}
