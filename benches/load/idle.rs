//! What needs no loop: connections that are held, and keys that are filled.

use std::io::{self, Read};

use serde_json::json;

use crate::Failure;
use crate::link::{Link, Space, Target};
use crate::options::Options;
use crate::replies::Replies;
use crate::requests::{Command, Requests};

/// SETs in one write.
const BATCH: u32 = 64;

/// Opens connections, asks one GET on each, prints `READY`, and holds them until stdin ends.
pub(crate) fn idle(options: &Options) -> Result<(), Failure> {
    let target = Target::new(options)?;
    let mut space = Space::new();
    let requests = Requests::new(options);
    let mut bytes = Vec::new();
    let mut held = Vec::with_capacity(options.connections);
    for index in 0..options.connections {
        bytes.clear();
        requests.push(Command::Get, index as u32 % options.keys, &mut bytes);
        let mut link = target
            .connect()
            .map_err(|why| format!("connection {index}: {why}"))?;
        ask(&mut link, &mut space, &bytes, &[Command::Get], options.size)
            .map_err(|why| format!("connection {index}: {why}"))?;
        held.push(link);
    }
    println!("READY");
    io::stdin().read_to_end(&mut bytes)?;
    println!("{}", json!({ "connections": held.len() }));
    Ok(())
}

/// Sets every key once.
pub(crate) fn fill(options: &Options) -> Result<(), Failure> {
    let mut link = Target::new(options)?.connect()?;
    let mut space = Space::new();
    let requests = Requests::new(options);
    let mut bytes = Vec::new();
    let mut next = 0;
    while next < options.keys {
        bytes.clear();
        let end = options.keys.min(next + BATCH);
        for key in next..end {
            requests.push(Command::Set, key, &mut bytes);
        }
        let commands = vec![Command::Set; (end - next) as usize];
        ask(&mut link, &mut space, &bytes, &commands, options.size)?;
        next = end;
    }
    println!("{}", json!({ "keys": next }));
    Ok(())
}

/// Sends on a blocking connection, and waits until all is answered as it should.
pub(crate) fn ask(
    link: &mut Link,
    space: &mut Space,
    bytes: &[u8],
    commands: &[Command],
    size: usize,
) -> Result<(), Failure> {
    let mut replies = Replies::default();
    let (mut answered, mut sound, mut wrong) = (0, true, None);
    link.send(bytes)?;
    while answered < commands.len() {
        link.receive(space, |bytes| {
            sound &= replies.feed(bytes, |reply| {
                let command = commands.get(answered);
                if command.is_none_or(|command| !command.is_answered_by(&reply, size)) {
                    wrong.get_or_insert_with(|| format!("{command:?} is answered by {reply:?}"));
                }
                answered += 1;
            });
        })?;
        if !sound {
            return Err("these are no replies".into());
        }
    }
    wrong.map_or(Ok(()), |why| Err(why.into()))
}
