//! New rules while a session lives.

use super::*;

const POISON: &str = "*1\r\n$4\r\nECHO\r\n";
const ARITY: &str = "-ERR wrong number of arguments for 'echo' command\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
const NARROWED: &[u8] = b"user cart on >cart-pw +@all -@dangerous -set ~cart:*\n";

impl Harness {
    /// The same for users as a file has them.
    fn adopt(&mut self, users: &[u8]) -> Result<(), Revoked> {
        self.reload(policy(users))
    }
}

#[test]
fn a_user_that_stays_the_same_is_not_noticed() {
    let mut harness = Harness::cart();
    harness.commands(&["MULTI", "SET cart:1 a"]);
    harness.upstream("+OK\r\n+QUEUED\r\n");
    let others = [USERS, b"user more on nopass +@all ~*\n"].concat();
    assert_eq!(harness.adopt(&others), Ok(()));
    assert_eq!(harness.commands(&["EXEC"]), ["EXEC"]);
    assert_eq!(harness.upstream("*1\r\n+OK\r\n"), "*1\r\n+OK\r\n");
}

#[test]
fn the_next_request_is_judged_by_the_new_rules() {
    let mut harness = Harness::cart();
    assert_eq!(harness.commands(&["SET cart:1 a"]), ["SET cart:1 a"]);
    assert_eq!(harness.adopt(NARROWED), Ok(()));
    assert_eq!(
        harness.commands(&["SET cart:1 b", "GET cart:1"]),
        ["GET cart:1"]
    );
    let refusal = "-NOPERM User cart has no permissions to run the 'set' command\r\n";
    assert_eq!(
        harness.upstream("+OK\r\n$1\r\na\r\n"),
        format!("+OK\r\n{refusal}$1\r\na\r\n")
    );
}

#[test]
fn a_deleted_user_and_one_that_is_off_end_the_session() {
    for (users, revoked) in [
        (&b"user admin on >admin-pw +@all ~*\n"[..], Revoked::Deleted),
        (b"user cart off >cart-pw +@all ~cart:*\n", Revoked::Off),
    ] {
        let mut harness = Harness::cart();
        assert_eq!(harness.adopt(users), Err(revoked));
        let user = harness.session.login().user().unwrap();
        assert_eq!(user.name(), "cart", "it can be told who it was");
    }
}

#[test]
fn who_has_the_name_of_a_deleted_user_is_somebody_else() {
    let table = Table::builtin();
    let set = |policy: &Policy, rules: &[&[u8]]| policy.with_user(b"cart", rules, &table).unwrap();
    let mut harness = Harness::cart();
    // One change: it is the same user still.
    let reset = set(harness.rules.policy(), &[b"reset", b"on", b"+get"]);
    harness.rules = harness.rules.with_policy(reset.recompiled(&table));
    assert_eq!(
        harness.session.adopt(&harness.rules, &mut harness.up),
        Ok(())
    );
    let (without, _) = harness.rules.policy().without_users(&[b"cart"]);
    let anew = set(&without, &[b"on", b"+@all", b"~*", b">other"]);
    harness.rules = harness.rules.with_policy(anew);
    let adopted = harness.session.adopt(&harness.rules, &mut harness.up);
    assert_eq!(adopted, Err(Revoked::Deleted));
}

#[test]
fn an_open_transaction_of_a_changed_user_is_spoiled() {
    let mut harness = Harness::cart();
    harness.commands(&["MULTI", "SET cart:1 a"]);
    harness.upstream("+OK\r\n+QUEUED\r\n");
    assert_eq!(harness.adopt(NARROWED), Ok(()));
    assert_eq!(
        harness.client(&encode("EXEC")),
        format!("{POISON}*1\r\n$4\r\nEXEC\r\n")
    );
    assert_eq!(
        harness.upstream(&format!("{ARITY}{ABORTED}")),
        ABORTED,
        "the client sent nothing for the other error"
    );
    assert!(harness.session.is_settled());
}

#[test]
fn a_transaction_whose_multi_is_unanswered_is_spoiled_too() {
    let mut harness = Harness::cart();
    harness.commands(&["MULTI", "SET cart:1 a"]);
    assert_eq!(harness.adopt(NARROWED), Ok(()));
    assert_eq!(harness.client(b""), POISON);
    assert_eq!(
        harness.upstream(&format!("+OK\r\n+QUEUED\r\n{ARITY}")),
        "+OK\r\n+QUEUED\r\n"
    );
}

#[test]
fn without_a_transaction_nothing_is_sent() {
    let mut harness = Harness::cart();
    harness.commands(&["MULTI", "SET cart:1 a", "EXEC"]);
    harness.upstream("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    assert_eq!(harness.adopt(NARROWED), Ok(()));
    assert_eq!(harness.client(b""), "");
}

#[test]
fn what_spoils_a_transaction_must_fail() {
    let mut harness = Harness::cart();
    harness.commands(&["MULTI"]);
    harness.upstream("+OK\r\n");
    assert_eq!(harness.adopt(NARROWED), Ok(()));
    harness.down.input().extend_from_slice(b"+QUEUED\r\n");
    assert_eq!(
        harness.session.answer(&mut harness.down),
        Err(Desync::Poison)
    );
}

#[test]
fn a_value_on_its_way_is_not_broken_into() {
    let mut harness = Harness::cart();
    harness.commands(&["MULTI"]);
    harness.upstream("+OK\r\n");
    let value = "x".repeat(100_000);
    let request = format!("*3\r\n$3\r\nSET\r\n$6\r\ncart:1\r\n$100000\r\n{value}\r\n");
    let (head, rest) = request.split_at(50_000);
    assert_eq!(harness.client(head.as_bytes()), head);
    assert_eq!(harness.adopt(NARROWED), Ok(()));
    assert_eq!(harness.client(b""), "");
    assert_eq!(harness.client(rest.as_bytes()), format!("{rest}{POISON}"));
    assert_eq!(harness.commands(&["EXEC"]), ["EXEC"]);
    assert_eq!(
        harness.upstream(&format!("+QUEUED\r\n{ARITY}{ABORTED}")),
        format!("+QUEUED\r\n{ABORTED}")
    );
}

#[test]
fn who_has_not_logged_in_stays_and_meets_the_new_passwords() {
    let who = Who::Fixed("cart".into());
    let mut harness = Harness::new(who, AuthKind::Password, rules(&[], &[]));
    assert_eq!(harness.adopt(b"user admin on >a +@all ~*\n"), Ok(()));
    harness.client(&encode("AUTH cart-pw"));
    assert!(drain(&mut harness.down).starts_with("-ERR invalid password"));
    assert_eq!(harness.adopt(b"user cart on >new +@all ~*\n"), Ok(()));
    harness.client(&encode("AUTH new"));
    assert_eq!(drain(&mut harness.down), "+OK\r\n");
}

#[test]
fn reset_goes_back_to_who_the_client_is_by_now() {
    let who = Who::OneOf(vec!["cart".into(), "admin".into()].into());
    let mut harness = Harness::new(who, AuthKind::Certificate, rules(&[], &[]));
    harness.client(&encode("AUTH admin admin-pw"));
    assert_eq!(harness.adopt(b"user admin on >admin-pw +@all ~*\n"), Ok(()));
    harness.client(&encode("RESET"));
    assert!(!harness.session.is_authenticated(), "cart is no more");
}
