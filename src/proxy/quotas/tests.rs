//! Places, bills, and other limits for who is there.

use std::num::NonZeroU64;

use super::*;

fn limits(user: Quota) -> config::Quotas {
    config::Quotas {
        users: HashMap::from([("cart".to_owned(), user)]),
        ..config::Quotas::default()
    }
}

fn connections(most: usize) -> Quota {
    Quota {
        max_connections: Some(most),
        ..Quota::default()
    }
}

fn commands(rate: u64) -> Quota {
    Quota {
        commands_per_second: NonZeroU64::new(rate),
        ..Quota::default()
    }
}

#[test]
fn a_user_has_so_many_places_and_gets_them_back() {
    let (quotas, limits) = (Quotas::new(), limits(connections(1)));
    let (mut first, mut second) = (None, None);
    assert!(enter_as(&mut first, &quotas, Some("cart"), &limits));
    assert!(
        enter_as(&mut first, &quotas, Some("cart"), &limits),
        "it has it"
    );
    assert!(!enter_as(&mut second, &quotas, Some("cart"), &limits));
    assert!(enter_as(&mut second, &quotas, Some("ops"), &limits));
    assert!(second.is_none(), "no limit");
    assert!(enter_as(&mut first, &quotas, Some("ops"), &limits));
    assert!(enter_as(&mut second, &quotas, Some("cart"), &limits));
    drop(second);
    assert!(quotas.lock().is_empty());
}

#[test]
fn who_is_here_stays_under_a_lower_limit_and_counts() {
    let quotas = Quotas::new();
    let (mut first, mut second, mut third) = (None, None, None);
    let lower = limits(connections(1));
    for dues in [&mut first, &mut second] {
        renew(dues, &quotas, Some("cart"), None, &lower);
        assert!(dues.is_some());
    }
    assert!(!enter_as(&mut third, &quotas, Some("cart"), &lower));
    drop(first);
    assert!(!enter_as(&mut third, &quotas, Some("cart"), &lower));
    renew(
        &mut second,
        &quotas,
        Some("cart"),
        None,
        &config::Quotas::default(),
    );
    assert!(second.is_none());
    assert!(enter_as(&mut third, &quotas, Some("cart"), &lower));
}

#[test]
fn who_has_used_too_much_finds_that_again_when_it_comes_back() {
    let (quotas, limits) = (Quotas::new(), limits(commands(10)));
    let mut dues = None;
    assert!(enter_as(&mut dues, &quotas, Some("cart"), &limits));
    let held = dues.as_mut().unwrap();
    assert_eq!(held.allowance(), 10);
    held.debit(25, 1_000_000);
    assert!(held.holds_requests() && !held.holds_bytes());
    assert_eq!((held.allowance(), quotas.limited().users), (0, 1));
    let at = held.resume().unwrap();
    held.look(at);
    assert!(!held.holds_requests());
    drop(dues);
    let mut again = None;
    assert!(enter_as(&mut again, &quotas, Some("cart"), &limits));
    assert_eq!(again.as_ref().unwrap().allowance(), 1, "and then it waits");
    renew(
        &mut again,
        &quotas,
        Some("cart"),
        None,
        &self::limits(commands(20)),
    );
    assert_eq!(again.as_ref().unwrap().allowance(), 20, "forgiven");
}

#[test]
fn the_narrower_of_two_limits_holds() {
    let quotas = Quotas::new();
    let source: IpAddr = "2001:db8::1".parse().unwrap();
    let place = quotas.enter(Whose::address(source), commands(5));
    let mut dues = Dues::of_address(place);
    assert!(enter_as(
        &mut dues,
        &quotas,
        Some("cart"),
        &limits(commands(10))
    ));
    assert_eq!(dues.as_ref().unwrap().allowance(), 5);
    let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
    assert_eq!(Whose::address(source), Whose::address(neighbour));
}
