use super::*;

const MOST: usize = 1024;

fn trunk() -> Trunk {
    Trunk::new([7; 16], MOST, false)
}

fn load(requests: &[u8], replies: u32) -> Load<'_> {
    Load {
        requests: [requests, b""],
        replies,
        queued: 0,
    }
}

fn write_all(trunk: &mut Trunk) -> Vec<u8> {
    let out = trunk.batch().to_vec();
    trunk.wrote(out.len());
    out
}

fn deliver(trunk: &mut Trunk, bytes: &[u8]) -> Result<Vec<u32>, Desync> {
    trunk.input().extend_from_slice(bytes);
    let mut woken = Vec::new();
    trunk.deliver(|_| {}, |index| woken.push(index))?;
    Ok(woken)
}

fn take(trunk: &mut Trunk, rider: Rider) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = trunk.take(rider) {
        all.extend_from_slice(&piece);
    }
    all
}

#[test]
fn each_rider_gets_its_own_replies() {
    let all = b"+a1\r\n+a2\r\n$2\r\nb1\r\n+a3\r\n";
    for cut in 0..all.len() {
        let mut trunk = trunk();
        let (a, b) = (trunk.board(), trunk.board());
        trunk.send(a, load(b"a1a2", 2));
        trunk.send(b, load(b"b1", 1));
        trunk.send(a, load(b"a3", 1));
        assert_eq!(write_all(&mut trunk), b"a1a2b1a3");
        deliver(&mut trunk, &all[..cut]).unwrap();
        deliver(&mut trunk, &all[cut..]).unwrap();
        assert_eq!(
            take(&mut trunk, a),
            b"+a1\r\n+a2\r\n+a3\r\n",
            "cut at {cut}"
        );
        assert_eq!(take(&mut trunk, b), b"$2\r\nb1\r\n");
        assert!(trunk.is_idle());
    }
}

#[test]
fn who_is_owed_nothing_may_still_have_something_to_take() {
    let mut trunk = trunk();
    let (rider, other) = (trunk.board(), trunk.board());
    trunk.send(rider, load(b"x", 1));
    assert!(!trunk.has_left(rider));
    deliver(&mut trunk, b"+1\r\n").unwrap();
    assert_eq!(trunk.owed(rider), 0);
    assert!(trunk.has_left(rider) && !trunk.has_left(other));
    take(&mut trunk, rider);
    assert!(!trunk.has_left(rider));
}

#[test]
fn a_dead_riders_late_reply_reaches_nobody() {
    let mut trunk = trunk();
    let dead = trunk.board();
    trunk.send(dead, load(b"x", 2));
    deliver(&mut trunk, b"+first\r\n+sec").unwrap();
    trunk.leave(dead);
    let heir = trunk.board();
    assert_eq!(heir.index(), dead.index(), "the same seat");
    trunk.send(heir, load(b"y", 1));
    deliver(&mut trunk, b"ond\r\n+mine\r\n").unwrap();
    assert_eq!(take(&mut trunk, heir), b"+mine\r\n");
    assert_eq!(take(&mut trunk, dead), b"");
}

#[test]
fn a_reply_that_nobody_is_owed_is_noticed() {
    let mut trunk = trunk();
    let rider = trunk.board();
    trunk.send(rider, load(b"x", 1));
    assert_eq!(deliver(&mut trunk, b"+1\r\n+2\r\n"), Err(Desync::Unowed));
    assert_eq!(take(&mut trunk, rider), b"+1\r\n");
}

#[test]
fn a_transaction_that_was_left_open_is_noticed_at_the_first_reply() {
    let mut trunk = trunk();
    let (a, b) = (trunk.board(), trunk.board());
    let requests = [&b"MULTI SET EXEC"[..], b""];
    trunk.send(
        a,
        Load {
            requests,
            replies: 3,
            queued: 1,
        },
    );
    trunk.send(b, load(b"GET", 1));
    let replies = b"+OK\r\n+QUEUED\r\n-BUSY\r\n+QUEUED\r\n";
    assert_eq!(deliver(&mut trunk, replies), Err(Desync::Queued));
    assert_eq!(take(&mut trunk, b), b"");
    // Where scripts run, it may be what one of them says.
    let mut trunk = Trunk::new([7; 16], MOST, true);
    let rider = trunk.board();
    trunk.send(rider, load(b"EVAL", 1));
    deliver(&mut trunk, QUEUED).unwrap();
    assert_eq!(take(&mut trunk, rider), QUEUED);
}

#[test]
fn a_push_is_for_nobody_here() {
    let mut trunk = trunk();
    let rider = trunk.board();
    trunk.send(rider, load(b"x", 1));
    assert_eq!(deliver(&mut trunk, b">1\r\n+x\r\n"), Err(Desync::Push));
}

fn canary_of(batch: &[u8]) -> Vec<u8> {
    let prefix = b"*2\r\n$4\r\nECHO\r\n";
    let at = batch.windows(prefix.len()).position(|part| part == prefix);
    batch[at.unwrap() + prefix.len()..].to_vec()
}

#[test]
fn a_canary_in_its_place_is_kept_back() {
    for cut in 0..60 {
        let mut trunk = trunk();
        let rider = trunk.board();
        trunk.check();
        trunk.send(rider, load(b"x", 1));
        let mut replies = canary_of(&write_all(&mut trunk));
        replies.truncate(replies.len() - 1);
        replies.extend_from_slice(b"+mine\r\n");
        let cut = cut.min(replies.len());
        deliver(&mut trunk, &replies[..cut]).unwrap();
        deliver(&mut trunk, &replies[cut..]).unwrap();
        assert_eq!(take(&mut trunk, rider), b"+mine\r\n", "cut at {cut}");
    }
}

#[test]
fn a_canary_out_of_its_place_is_noticed() {
    let mut trunk = trunk();
    let rider = trunk.board();
    trunk.check();
    trunk.send(rider, load(b"x", 1));
    write_all(&mut trunk);
    assert_eq!(deliver(&mut trunk, b"+mine\r\n"), Err(Desync::Canary));
    assert_eq!(take(&mut trunk, rider), b"");
    // Nor may it be another canary's.
    let mut trunk = self::trunk();
    trunk.check();
    trunk.check();
    let both = write_all(&mut trunk);
    let second = canary_of(&both[10..]);
    assert_eq!(deliver(&mut trunk, &second), Err(Desync::Canary));
}

#[test]
fn a_server_that_loads_is_not_out_of_step() {
    for (error, answer) in [
        (&b"-LOADING Redis is loading\r\n"[..], Ok(vec![])),
        (b"-BUSY Redis is busy\r\n", Ok(vec![])),
        (
            b"-NOAUTH Authentication required.\r\n",
            Err(Desync::Credential),
        ),
        (b"-ERR what\r\n", Err(Desync::Canary)),
    ] {
        let mut trunk = trunk();
        trunk.check();
        write_all(&mut trunk);
        let (first, rest) = error.split_at(9);
        let heard = deliver(&mut trunk, first).and_then(|_| deliver(&mut trunk, rest));
        assert_eq!(heard, answer, "{error:?}");
    }
}

#[test]
fn a_canary_flies_with_every_so_many_batches() {
    let mut trunk = trunk();
    let rider = trunk.board();
    let mut flown = 0;
    for _ in 0..BATCHES * 3 {
        trunk.send(rider, load(b"x", 1));
        let batch = write_all(&mut trunk);
        flown += u32::from(batch.len() > 1);
    }
    assert_eq!(flown, 3);
    assert_eq!(
        write_all(&mut trunk),
        b"",
        "nothing to write, nothing to check"
    );
}

#[test]
fn who_has_all_that_it_is_owed_can_hinder_too() {
    let mut trunk = trunk();
    let (slow, other) = (trunk.board(), trunk.board());
    trunk.send(slow, load(b"x", 1));
    let value = "v".repeat(2 * MOST);
    deliver(
        &mut trunk,
        format!("${}\r\n{value}\r\n", 2 * MOST).as_bytes(),
    )
    .unwrap();
    assert_eq!(trunk.hindrance(), Some(slow));
    // What itself or nobody waits for is no reason to cut it.
    trunk.check();
    trunk.send(slow, load(b"x", 1));
    let gone = trunk.board();
    trunk.send(gone, load(b"x", 1));
    trunk.leave(gone);
    assert!(!trunk.owes_others(slow));
    trunk.send(other, load(b"y", 1));
    assert!(trunk.owes_others(slow));
}

#[test]
fn who_leaves_too_much_unread_hinders() {
    let mut trunk = trunk();
    let (slow, other) = (trunk.board(), trunk.board());
    trunk.send(slow, load(b"x", 1));
    trunk.send(other, load(b"y", 1));
    let value = vec![b'v'; 40 * 1024];
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.extend_from_slice(&value);
    reply.extend_from_slice(b"\r\n");
    deliver(&mut trunk, &reply[..20 * 1024]).unwrap();
    assert_eq!(trunk.hindrance(), Some(slow));
    assert!(trunk.owes_others(slow));
    assert_eq!(take(&mut trunk, slow).len(), 20 * 1024, "it streams");
    assert_eq!(trunk.hindrance(), None);
    deliver(&mut trunk, &reply[20 * 1024..]).unwrap();
    assert_eq!(trunk.hindrance(), Some(slow));
    trunk.leave(slow);
    assert_eq!(trunk.hindrance(), None);
    deliver(&mut trunk, b"+y\r\n").unwrap();
    assert_eq!(take(&mut trunk, other), b"+y\r\n");
}
