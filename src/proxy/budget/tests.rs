//! What counts, and who is cut.

use super::*;

const MB: usize = 1 << 20;

#[test]
fn what_everybody_may_hold_does_not_count() {
    let budget = Budget::new(MB);
    let mut holding = Holding::new(&budget, 1);
    holding.book(FREE, 0);
    assert_eq!(
        budget.memory(),
        Memory {
            used: 0,
            most: MB,
            holders: 0
        }
    );
    holding.book(FREE + 1, 0);
    assert_eq!(
        budget.memory(),
        Memory {
            used: 2 * FREE,
            most: MB,
            holders: 1
        }
    );
    holding.book(MB, 0);
    assert!(holding.must_wait(FREE + 1) && !holding.must_wait(FREE));
    budget.set(2 * MB);
    assert!(!holding.must_wait(MB));
    holding.book(0, 0);
    assert_eq!(
        budget.memory(),
        Memory {
            used: 0,
            most: 2 * MB,
            holders: 0
        }
    );
    holding.book(3 * MB, 0);
    drop(holding);
    assert_eq!(
        budget.memory(),
        Memory {
            used: 0,
            most: 2 * MB,
            holders: 0
        }
    );
}

/// Looks until somebody is cut, while somebody wants more.
fn judge(judge: &mut Judge, budget: &Budget, mut meanwhile: impl FnMut()) -> Vec<u64> {
    for _ in 0..=PATIENCE {
        budget.want();
        meanwhile();
        let cut = judge.look(budget);
        if !cut.is_empty() {
            return cut;
        }
    }
    Vec::new()
}

#[test]
fn who_waits_for_memory_alone_is_cut_last() {
    let budget = Budget::new(5 * MB);
    let mut holdings: Vec<_> = (1..=3).map(|id| Holding::new(&budget, id)).collect();
    holdings[2].book(3 * MB, 0);
    for (holding, held) in holdings.iter_mut().zip([MB, 2 * MB, 3 * MB]) {
        holding.book(held, 0);
    }
    assert!(holdings[2].must_wait_to_read(3 * MB, 0));
    holdings[2].book(3 * MB, 0);
    let mut it = Judge::default();
    assert_eq!(judge(&mut it, &budget, || ()), [2]);
    drop(holdings.remove(1));
    budget.set(3 * MB);
    assert_eq!(
        judge(&mut it, &budget, || ()),
        [1, 3],
        "if there is nobody else"
    );
}

#[test]
fn one_at_a_time_goes_over_the_budget_to_its_end() {
    let budget = Budget::new(MB);
    let mut holdings: Vec<_> = (1..=3).map(|id| Holding::new(&budget, id)).collect();
    for holding in &mut holdings {
        holding.book(MB, 0);
    }
    let waits = |holding: &mut Holding| holding.must_wait_to_read(MB, MB);
    assert!(!waits(&mut holdings[1]));
    assert!(waits(&mut holdings[0]) && waits(&mut holdings[2]));
    assert!(!waits(&mut holdings[1]), "still");
    holdings[1].book(0, MB as u64);
    assert!(!waits(&mut holdings[2]));
    assert!(waits(&mut holdings[1]) && waits(&mut holdings[0]));
    // It has its turn, and makes nothing of it.
    let mut it = Judge::default();
    assert_eq!(judge(&mut it, &budget, || ()), [3, 1]);
    drop(holdings.pop());
    assert!(!waits(&mut holdings[0]));
}

#[test]
fn the_largest_that_does_not_move_is_cut_and_only_where_it_is_needed() {
    let budget = Budget::new(10 * MB);
    let mut holdings: Vec<_> = (1..=4).map(|id| Holding::new(&budget, id)).collect();
    for (holding, held) in holdings.iter_mut().zip([MB, 4 * MB, 3 * MB, MB]) {
        holding.book(held, 0);
    }
    let mut it = Judge::default();
    assert!(judge(&mut it, &budget, || ()).is_empty(), "there is room");
    holdings[3].book(2 * MB, 0);
    for _ in 0..20 {
        assert!(it.look(&budget).is_empty(), "nobody wants more");
    }
    // The largest passes on 1 MB a second; the next one doesn't.
    let mut passed = 0;
    let mut largest = holdings.remove(1);
    let cut = judge(&mut it, &budget, || {
        passed += SLOW_BELOW;
        largest.book(4 * MB, passed);
    });
    assert_eq!(cut, [3]);
    assert!(holdings[1].is_cut() && !largest.is_cut());
    drop(holdings.remove(1));
    assert!(
        judge(&mut it, &budget, || ()).is_empty(),
        "there is room again"
    );
}
