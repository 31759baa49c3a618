//! Random runs of the model hold as designed; the two variants that the design warns of are found out.

use cloudsync_engine::invariants::Invariant;
use proptest::prelude::*;

use crate::simulation::{KINDS, Simulation};
use crate::support::rng::Rng;
use crate::support::store::Variant;

/// A script that is the same in every run.
fn script(seed: u64, length: usize) -> Vec<(u8, u8)> {
    let mut rng = Rng::new(seed);
    (0..length).map(|_| rng.next().to_be_bytes()).map(|bytes| (bytes[0] % KINDS, bytes[1])).collect()
}

/// The first violation that any of these runs meets.
fn found(variant: Variant) -> Option<Invariant> {
    (0..100).find_map(|seed| Simulation::run(variant, &script(seed, 500)).err()).map(|violation| violation.invariant)
}

/// Session 10 claims and pushes; its commit is parked and its outcome unknown; resolving writes again and meets a full
/// store; session 11 claims; then what was parked applies, if it can.
const PARKED_BEFORE_A_CLAIM: [(u8, u8); 15] =
    [(2, 0), (8, 15), (9, 0), (0, 0x40), (8, 15), (9, 0), (8, 0), (9, 0), (8, 15), (9, 0), (8, 5), (9, 0), (2, 2), (8, 15), (9, 0)];

/// A second owner acquires and waits for the roster; a third, in the first one's place, acquires, reads it and lets a log-in
/// revoke a device and enrol another; then the second gets the roster as it is by now.
const FENCED_WHILE_IT_READ_THE_ROSTER: [(u8, u8); 13] = [
    (15, 0),
    (8, 0x1f),
    (9, 0x10),
    (15, 0),
    (8, 0x1f),
    (9, 0x10),
    (8, 0x1f),
    (9, 0x10),
    (16, 0x50),
    (8, 0x1f),
    (9, 0x10),
    (8, 0x0f),
    (9, 0),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_invariant_holds_whatever_the_store_does(script in proptest::collection::vec((0..KINDS, any::<u8>()), 0..600)) {
        let outcome = Simulation::run(Variant::AsDesigned, &script);
        prop_assert!(outcome.is_ok(), "{:?}", outcome);
    }
}

#[test]
fn runs_get_something_done() {
    let acknowledged: Vec<u64> = (0..40).flat_map(|seed| Simulation::acknowledged_of(&script(seed, 500))).collect();
    assert!(acknowledged.len() > 300, "{} batches in 40 runs", acknowledged.len());
    let several = acknowledged.iter().filter(|operations| **operations > 1).count();
    assert!(several > 120, "{several} of several operations");
    let changes: usize = (0..40).map(|seed| Simulation::roster_changes_of(&script(seed, 500))).sum();
    assert!(changes > 100, "{changes} changes of the roster in 40 runs");
    let keys: Vec<(u64, usize)> = (0..40).map(|seed| Simulation::keys_of(&script(seed, 500))).collect();
    let (epochs, wraps) = keys.iter().fold((0, 0), |(epochs, wraps), (epoch, of)| (epochs + epoch - 1, wraps + of));
    assert!(epochs > 40 && wraps > 20, "{epochs} rotations and {wraps} newer wraps in 40 runs");
}

#[test]
fn the_same_scripts_that_find_the_wrong_variants_hold_as_designed() {
    assert_eq!(found(Variant::AsDesigned), None);
}

#[test]
fn resolving_an_unknown_commit_by_reading_only_is_found_out() {
    // Late commits apply at the end of every run.
    let outcome = Simulation::run(Variant::ResolveByReading, &PARKED_BEFORE_A_CLAIM);
    assert_eq!(outcome.map_err(|violation| violation.invariant), Err(Invariant::D2));
    assert_eq!(Simulation::run(Variant::AsDesigned, &PARKED_BEFORE_A_CLAIM), Ok(()));
}

#[test]
fn a_counter_that_restarts_with_each_activation_is_found_out() {
    assert!(found(Variant::CounterRestarts).is_some());
}

#[test]
fn an_owner_that_is_fenced_while_it_reads_the_roster_goes_by_the_one_of_its_head() {
    assert_eq!(Simulation::roster_changes_of(&FENCED_WHILE_IT_READ_THE_ROSTER), 2, "or nothing is shown");
    assert_eq!(Simulation::run(Variant::AsDesigned, &FENCED_WHILE_IT_READ_THE_ROSTER), Ok(()));
}
