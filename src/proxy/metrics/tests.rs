use super::*;

#[test]
fn a_session_is_in_the_count_from_its_begin_to_its_end() {
    let metrics = Metrics::new(2, 1);
    let thread = metrics.add_thread();
    let mut meter = metrics.open_session(&thread, 1, Some("cart"));
    meter.owed(5);
    meter.owed(3);
    assert_eq!(
        (thread.owed.get(), thread.listeners[1].opened.get()),
        (3, 1)
    );
    meter.denied(Class::Read, "key");
    meter.acts_as(&metrics, None);
    meter.denied(Class::Write, "command");
    meter.ended("done");
    drop(meter);
    drop(metrics.open_session(&thread, 1, None));
    let mut closed = Default::default();
    thread.listeners[1].closed.sum(&mut closed);
    assert_eq!(closed, [("done", 1), (DROPPED, 1)].into());
    assert_eq!(thread.owed.get(), 0);
    let mut denied = Vec::new();
    thread.each_user(|label, user| {
        let count = |class| user.get(Judgement::Deny, class);
        denied.push((label.to_string(), count(Class::Read), count(Class::Write)));
    });
    denied.sort();
    assert_eq!(
        denied,
        [(NOBODY.to_owned(), 0, 1), ("cart".to_owned(), 1, 0)]
    );
}

#[test]
fn users_beyond_the_limit_are_counted_together() {
    let metrics = Metrics::new(1, 1);
    let threads = [metrics.add_thread(), metrics.add_thread()];
    for number in 0..MOST_USERS + 500 {
        let name = format!("u{number}");
        let meter = metrics.open_session(&threads[number % 2], 0, Some(&name));
        meter.denied(Class::Read, "key");
    }
    let mut labels = HashSet::new();
    let mut sum = 0;
    let mut others = 0;
    for thread in &threads {
        thread.each_user(|label, user| {
            labels.insert(Arc::clone(label));
            let count = user.get(Judgement::Deny, Class::Read);
            sum += count;
            if &**label == OTHER_USERS {
                others += count;
            }
        });
    }
    assert_eq!(labels.len(), MOST_USERS + 1);
    assert_eq!((sum, others), (MOST_USERS as u64 + 500, 500));
}

#[test]
fn a_connection_changes_its_use_and_goes() {
    let metrics = Metrics::new(1, 1);
    let thread = metrics.add_thread();
    let counts = || Use::ALL.map(|used| thread.upstreams[0].connections(used));
    let mut one = thread.count(0, Use::Own);
    let other = thread.count(0, Use::Shared);
    assert_eq!(counts(), [1, 1, 0]);
    one.turn(Use::Idle);
    assert_eq!(counts(), [1, 0, 1]);
    drop((one, other));
    assert_eq!(counts(), [0, 0, 0]);
}
