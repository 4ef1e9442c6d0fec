//! A session that is warm allocates nothing: ten thousand commands through [`Session`], counted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "the benchmarks use the rest")]
#[path = "../benches/support/session.rs"]
mod session;

use allocation_counter::measure;
use bytes::BytesMut;
use respgate::resp::encode_request;
use respgate::session::{Facts, Host, Load, Pipe, Refused, Rider, Rules, Session, Trunk, Version};

/// What is allowed to every user here, with its reply.
const TRAFFIC: [(&str, &str); 15] = [
    ("GET user:1000:cart", "$5\r\nhello\r\n"),
    ("set user:1000:cart value EX 60", "+OK\r\n"),
    ("GET user:1000:none", "$-1\r\n"),
    ("INCR user:1000:visits", ":17\r\n"),
    ("MSET user:1:a 1 user:2:a 2 user:3:a 3", "+OK\r\n"),
    (
        "MGET user:1:a user:2:a user:3:a",
        "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n",
    ),
    ("OBJECT ENCODING user:1:a", "$3\r\nint\r\n"),
    ("EVAL script 2 user:1:a user:2:a argument", "*0\r\n"),
    ("SORT user:1:list STORE user:1:sorted", ":3\r\n"),
    ("XREAD COUNT 5 STREAMS user:1:s user:2:s 0 0", "*-1\r\n"),
    ("MULTI", "+OK\r\n"),
    ("GET user:1:a", "+QUEUED\r\n"),
    ("EXEC", "*1\r\n$1\r\n1\r\n"),
    ("SELECT 0", "+OK\r\n"),
    ("BLPOP user:1:list 0", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
];

const COMMANDS: usize = 10_000;

/// Both buffers and lists reach their size within one round of the traffic; more than one shows
/// that it is enough.
const WARM_UP: usize = 100;

#[test]
fn the_counter_counts() {
    let counted = measure(|| {
        let mut grown = std::hint::black_box(Vec::with_capacity(1));
        grown.extend_from_slice(&[0_u8; 2]);
        std::hint::black_box(grown);
    });
    assert_eq!(counted.count_total, 2, "one when made, one when grown");
}

#[test]
fn one_command_at_a_time_allocates_nothing() {
    for user in users() {
        let batches: Vec<_> = TRAFFIC.iter().map(|one| batch(&[*one])).collect();
        assert_allocates_nothing(&user, &batches, usize::MAX);
    }
}

#[test]
fn a_pipeline_allocates_nothing() {
    for user in users() {
        let pipeline = TRAFFIC.repeat(4);
        assert_allocates_nothing(&user, &[batch(&pipeline)], usize::MAX);
    }
}

#[test]
fn a_pipeline_in_pieces_allocates_nothing() {
    for user in users() {
        for piece in [1, 7, 61] {
            assert_allocates_nothing(&user, &[batch(&TRAFFIC.repeat(4))], piece);
        }
    }
}

/// What rides on a connection that clients share.
const SHARED_TRAFFIC: [(&str, &str); 7] = [
    ("GET user:1000:cart", "$5\r\nhello\r\n"),
    ("set user:1000:cart value EX 60", "+OK\r\n"),
    (
        "MGET user:1:a user:2:a user:3:a",
        "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n",
    ),
    ("MULTI", "+OK\r\n"),
    ("INCR user:1:a", "+QUEUED\r\n"),
    ("EXEC", "*1\r\n:1\r\n"),
    ("SELECT 0", "+OK\r\n"),
];

#[test]
fn a_shared_connection_allocates_nothing() {
    let mut trunk = Trunk::new([7; 16], 1024 * 1024, false);
    let mut clients = [(); 2].map(|()| {
        let mut client = Client::new(&users()[1]);
        client.session.share();
        client.session.ride();
        (client, trunk.board())
    });
    let batch = batch(&SHARED_TRAFFIC);
    let mut spare = Vec::new();
    let mut run = |commands: usize| {
        let mut done = 0;
        while done < commands {
            ride(&mut clients, &mut trunk, &batch, &mut spare);
            done += 2 * batch.commands;
        }
    };
    // Beyond the first canary.
    run(20 * WARM_UP);
    let counted = measure(|| run(COMMANDS));
    assert_eq!(counted.count_total, 0);
}

/// Both clients ask, the server answers both, and the canary where there is one.
fn ride(
    clients: &mut [(Client, Rider); 2],
    trunk: &mut Trunk,
    batch: &Batch,
    spare: &mut Vec<BytesMut>,
) {
    for (client, rider) in clients.iter_mut() {
        client.up.input().extend_from_slice(&batch.requests);
        let Client {
            session,
            rules,
            facts,
            up,
            down,
        } = client;
        session.receive(rules, facts, up, down, &mut Nobody);
        assert!(!session.is_parted() && session.need().is_none());
        let (replies, queued) = session.take_sent();
        let requests = up.pieces();
        trunk.send(
            *rider,
            Load {
                requests,
                replies,
                queued,
            },
        );
        up.wrote_all();
    }
    let sent = trunk.batch().len();
    let canary = sent - 2 * batch.requests.len();
    assert!(canary == 0 || canary == 69, "{canary}");
    let mut answer = [0; 55];
    if canary > 0 {
        answer.copy_from_slice(&trunk.unwritten()[sent - 55..]);
    }
    trunk.wrote(sent);
    for _ in clients.iter() {
        trunk.input().extend_from_slice(batch.replies.as_bytes());
    }
    trunk
        .input()
        .extend_from_slice(&answer[..if canary > 0 { 55 } else { 0 }]);
    trunk
        .deliver(|buffer| *buffer = spare.pop().unwrap_or_default(), |_| {})
        .unwrap();
    for (client, rider) in clients.iter_mut() {
        let mut piece = trunk.take(*rider).unwrap();
        std::mem::swap(&mut piece, client.down.input());
        spare.push(piece);
        client.session.answer(&mut client.down).unwrap();
        assert_eq!(drain(&mut client.down), batch.replies.len());
        assert!(client.session.is_settled());
    }
}

/// A user's rules: all keys, one pattern, many patterns that begin alike and end in a glob.
fn users() -> [String; 3] {
    let many: String = (0..100).map(|n| format!("~user:{n}0:* ")).collect();
    [
        "+@all ~* script=any".to_owned(),
        "+@all ~user:* script=any".to_owned(),
        format!("+@all {many} ~user:*:[a-z]* db=0 script=any"),
    ]
}

/// Requests, and the replies to them.
struct Batch {
    requests: BytesMut,
    replies: String,
    commands: usize,
}

fn batch(traffic: &[(&str, &str)]) -> Batch {
    let mut requests = BytesMut::new();
    for (command, _) in traffic {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        encode_request(words.into_iter(), &mut requests);
    }
    Batch {
        requests,
        replies: traffic.iter().map(|(_, reply)| *reply).collect(),
        commands: traffic.len(),
    }
}

#[track_caller]
fn assert_allocates_nothing(user: &str, batches: &[Batch], piece: usize) {
    let mut client = Client::new(user);
    let mut run = |commands: usize| {
        let mut done = 0;
        while done < commands {
            for batch in batches {
                client.exchange(batch, piece);
                done += batch.commands;
            }
        }
    };
    run(WARM_UP);
    let counted = measure(|| run(COMMANDS));
    assert_eq!(counted.count_total, 0, "{user} in pieces of {piece}");
}

/// A session between a client and an upstream that take everything at once.
struct Client {
    session: Session,
    rules: Rules,
    facts: Facts,
    up: Pipe,
    down: Pipe,
}

/// Refusals are not counted, so there must be none.
struct Nobody;

// === impl Client ===

impl Client {
    fn new(user: &str) -> Self {
        let (mut up, down) = (Pipe::default(), Pipe::default());
        let (session, rules) = session::begin(user, &mut up);
        Self {
            session,
            rules,
            facts: Facts {
                version: Version::new(5, 0, 6),
                ..Facts::default()
            },
            up,
            down,
        }
    }

    /// A batch from the client, then its replies from the upstream, in pieces of this length.
    fn exchange(&mut self, batch: &Batch, piece: usize) {
        let (mut sent, mut answered) = (0, 0);
        for piece in batch.requests.chunks(piece) {
            self.up.input().extend_from_slice(piece);
            let (up, down) = (&mut self.up, &mut self.down);
            self.session
                .receive(&self.rules, &self.facts, up, down, &mut Nobody);
            sent += drain(up);
        }
        assert_eq!(sent, batch.requests.len());
        for piece in batch.replies.as_bytes().chunks(piece) {
            self.down.input().extend_from_slice(piece);
            self.session.answer(&mut self.down).unwrap();
            answered += drain(&mut self.down);
        }
        assert_eq!(answered, batch.replies.len());
        assert!(self.session.is_settled());
    }
}

// === impl Nobody ===

impl Host for Nobody {
    fn refused(&mut self, refused: &Refused<'_>) {
        unreachable!("{refused:?}");
    }

    fn would_refuse(&mut self, refused: &Refused<'_>) {
        unreachable!("{refused:?}");
    }

    fn may_log_in(&mut self, _: &str) -> bool {
        true
    }

    fn logged_in(&mut self, _: &str, _: bool) {}
}

/// What a socket would have taken.
fn drain(pipe: &mut Pipe) -> usize {
    let mut taken = 0;
    while pipe.waiting() > 0 {
        let len = pipe.writable().len();
        pipe.wrote(len);
        taken += len;
    }
    taken
}
