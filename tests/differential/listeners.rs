//! Connections on which replies are not one for one: who listens, is told, or wants no replies.

use crate::docs::value;
use crate::generate::Author;
use crate::mask::Mask;
use crate::scenes::CHANNELS;
use crate::script::Item;

pub fn pubsub(author: &mut Author<'_>) {
    let Some(listener) = author.somebody_plain_or_subscribed() else {
        return;
    };
    let mut items = Vec::new();
    for _ in 0..author.random.between(1, 4) {
        let random = &mut author.random;
        let prefix = random.pick(&["", "", "P", "S"]);
        let leave = random.chance(30);
        let name = format!("{prefix}{}SUBSCRIBE", if leave { "UN" } else { "" });
        let mut args = vec![random.cased(&name).into_bytes()];
        // To leave all channels that there are is answered in the order of a hash table.
        let fewest = usize::from(author.speakers[listener].subscribed);
        let count = random.between(if leave { fewest } else { 1 }, 3);
        for _ in 0..count {
            let channel = match prefix {
                "P" => *random.pick(&[&"a:*", &"*", &"a:c", &"b:?"]),
                _ => random.pick(&CHANNELS),
            };
            args.push(channel.into());
        }
        author.speakers[listener].subscribed |= !leave;
        items.push(Item::request(&args));
        if author.random.chance(40) {
            items.push(Item::request(author.random.pick(&[
                &["PING"][..],
                &["PING", "x"],
                &["GET", "a:s1"],
                &["PING", "x", "y"],
                &["PUBLISH", "a:c", "to myself"],
                &["SPUBLISH", "a:c", "to myself"],
                &["CLIENT", "GETNAME"],
                &["MULTI", "x"],
                &["nosuch"],
            ])));
        }
    }
    author.say_it(listener, items);
    for _ in 0..author.random.below(3) {
        let Some(other) = author.somebody_plain() else {
            return;
        };
        let random = &mut author.random;
        let mut items = Vec::new();
        for _ in 0..random.between(1, 3) {
            let name = random.pick(&["PUBLISH", "PUBLISH", "SPUBLISH"]).as_bytes();
            let channel = random.pick(&CHANNELS).as_bytes();
            items.push(Item::request(&[name, channel, &value(random)]));
        }
        items.push(Item::request(&["PUBSUB", "NUMSUB", "a:c", "b:c"]));
        items.push(Item::request(&["PUBSUB", "NUMPAT"]));
        author.say_it(other, items);
    }
    if author.random.chance(50) {
        let mut items = Vec::new();
        for channel in CHANNELS {
            items.push(Item::request(&["UNSUBSCRIBE", channel]));
            items.push(Item::request(&["SUNSUBSCRIBE", channel]));
        }
        for pattern in ["a:*", "*", "a:c", "b:?"] {
            items.push(Item::request(&["PUNSUBSCRIBE", pattern]));
        }
        author.speakers[listener].subscribed = false;
        author.say_it(listener, items);
    }
}

/// CLIENT REPLY. SKIP is followed by what needs no marker of its own: that would be skipped.
pub fn reply(author: &mut Author<'_>) {
    let Some(speaker) = author.somebody_plain() else {
        return;
    };
    let mut items = Vec::new();
    let unmasked = |author: &mut Author<'_>| loop {
        if let item @ Item::Request { mask: None, .. } = author.request() {
            return item;
        }
    };
    for _ in 0..author.random.between(1, 3) {
        if author.random.chance(10) {
            items.push(Item::request(&["CLIENT", "REPLY", "nosuch"]));
        } else if author.random.chance(50) {
            items.push(Item::request(&["CLIENT", "REPLY", "SKIP"]));
            items.push(unmasked(author));
        } else {
            items.push(Item::request(&["CLIENT", "REPLY", "OFF"]));
            let apart = author.random.chance(50);
            if apart {
                // What respgate answers itself then has no reply before it that is owed.
                author.speakers[speaker].muted = true;
                author.say_it(speaker, std::mem::take(&mut items));
            }
            for _ in 0..author.random.below(4) {
                items.push(match author.random.chance(30) {
                    true => Item::request(&["nosuch", "unheard"]),
                    false => unmasked(author),
                });
            }
            if apart {
                author.say_it(speaker, std::mem::take(&mut items));
                author.speakers[speaker].muted = false;
            }
            items.push(Item::request(&["CLIENT", "REPLY", "ON"]));
        }
        items.push(unmasked(author));
    }
    author.say_it(speaker, items);
}

pub fn tracking(author: &mut Author<'_>) {
    let Some(speaker) = author.somebody_plain() else {
        return;
    };
    author.speakers[speaker].tracking = true;
    let random = &mut author.random;
    let mut args: Vec<Vec<u8>> = ["CLIENT", "TRACKING", "ON"].map(|arg| arg.into()).into();
    for (option, chance) in [("BCAST", 25), ("OPTIN", 15), ("OPTOUT", 15), ("NOLOOP", 25)] {
        if random.chance(chance) {
            args.push(random.cased(option).into());
        }
    }
    if random.chance(20) {
        args.extend([b"PREFIX".to_vec(), b"a:".to_vec()]);
    }
    let other = random.below(author.speakers.len());
    if random.chance(30)
        && let Some(id) = author.id_of(other)
    {
        args.extend([b"REDIRECT".to_vec(), id]);
    }
    let mut items = vec![Item::request(&args)];
    let more = [
        &["CLIENT", "CACHING", "yes"][..],
        &["CLIENT", "CACHING", "no"],
        &["CLIENT", "CACHING", "x"],
        &["GET", "a:s1"],
        &["MGET", "a:s1", "a:s2"],
        &["SET", "a:s1", "tracked"],
        &["CLIENT", "TRACKING", "x"],
    ];
    for _ in 0..author.random.below(5) {
        items.push(Item::request(author.random.pick(&more)));
    }
    items.push(Item::masked(Mask::Kind, &["CLIENT", "GETREDIR"]));
    author.say_it(speaker, items);
    for _ in 0..author.random.below(3) {
        if let Some(other) = author.somebody_plain() {
            let key = author.random.pick(&["a:s1", "a:s2", "b:s1"]);
            author.say_it(other, vec![Item::request(&["SET", key, "new"])]);
        }
    }
    if author.random.chance(50) && !author.speakers[speaker].ended {
        author.say_it(speaker, vec![Item::request(&["CLIENT", "TRACKING", "OFF"])]);
    }
}

pub fn monitor(author: &mut Author<'_>) {
    let Some(speaker) = author.somebody_plain() else {
        return;
    };
    author.speakers[speaker].monitor = true;
    // In a transaction that a MULTI among other requests may have opened it is refused, on purpose.
    let alone = ["DISCARD", "MONITOR"].map(|word| Item::request(&[word]));
    author.say_it(speaker, alone.into());
    for _ in 0..author.random.between(1, 3) {
        let Some(other) = author.somebody_plain() else {
            break;
        };
        let items = author.requests(4);
        author.say_it(other, items);
    }
    if author.random.chance(60) {
        let items = author.reset(speaker);
        author.say_it(speaker, items);
    }
}
