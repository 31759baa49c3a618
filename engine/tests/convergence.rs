//! Replicas, a server and its store under loss, reordering, crashes and takeovers: whatever happens, all end with the same
//! records, nothing acknowledged is lost, every edit is committed, settled or parked, and a snapshot of any moment with the
//! log after it comes to the same as the whole log.
//!
//! A failure names its seed; `CLOUDSYNC_SIM_SEED=<seed> cargo test -p cloudsync-engine --test convergence` runs that one.
//!
//! Never: a rule of its own; see `support::sim`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "a test may panic where it stands")]
#![expect(clippy::disallowed_methods, reason = "which runs are made is named in the environment")]

mod support;

use std::collections::BTreeMap;

use cloudsync_engine::invariants::Invariant;
use cloudsync_protocol::ErrorCode;
use proptest::prelude::*;
use support::sim::reader::Snapshots;
use support::sim::world::{Plan, Policies, Quota, World};

/// More processes that overtake one another.
const RACING: Plan = Plan { devices: 2, processes: 3, steps: 2000, records: 6, ..TWO };
const TWO: Plan = Plan {
    devices: 2,
    processes: 2,
    steps: 1000,
    records: 3,
    snapshots: Snapshots::AsDesigned,
    quota: Quota::Ample,
    policies: Policies::Reject,
};
const THREE: Plan = Plan { devices: 3, processes: 1, records: 4, ..TWO };
const SCARCE: Plan = Plan { devices: 3, processes: 2, steps: 1000, records: 5, quota: Quota::Scarce(4), ..TWO };

/// 96 unless `CLOUDSYNC_SIM_CASES` says more.
fn cases() -> u32 {
    std::env::var("CLOUDSYNC_SIM_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

fn run(seed: u64, plan: Plan) {
    let one: Option<u64> = std::env::var("CLOUDSYNC_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = one.unwrap_or(seed);
    let drawn = [Policies::Reject, Policies::LastWriteWins, Policies::Changing];
    let plan = Plan { policies: drawn[(seed % 3) as usize], ..plan };
    if let Err(panic) = std::panic::catch_unwind(|| World::new(seed, plan).run().unwrap()) {
        eprintln!("CLOUDSYNC_SIM_SEED={seed} with {plan:?}");
        std::panic::resume_unwind(panic);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn two_devices_with_two_sessions_each_converge(seed: u64) {
        run(seed, TWO);
    }

    #[test]
    fn three_devices_converge(seed: u64) {
        run(seed, THREE);
    }

    #[test]
    fn devices_without_room_for_all_they_write_converge(seed: u64) {
        run(seed, SCARCE);
    }
}

#[test]
fn runs_commit_pushes_of_one_operation_and_of_several() {
    let operations: Vec<usize> = (0..10)
        .flat_map(|seed| {
            let mut world = World::new(seed, TWO);
            world.run().unwrap();
            world.operations()
        })
        .collect();
    let several = operations.iter().filter(|operations| **operations > 1).count();
    assert!(several > 20 && operations.len() - several > 20, "{several} of {} have several operations", operations.len());
}

/// Runs whose refusals are counted.
const RACES: u64 = 120;
/// The refusals that an honest device can get, so that what it makes of each is tried: at least so often in [`RACES`] runs.
/// (`sequence_reused` and `base_unknown` come to profiles that were rolled back.)
const REFUSALS: [(ErrorCode, usize); 10] = [
    (ErrorCode::ChainMoved, 2),
    (ErrorCode::Settled, 2),
    (ErrorCode::Stale, 50),
    (ErrorCode::Refused, 50),
    (ErrorCode::RecordsFull, 100),
    (ErrorCode::ClaimFirst, 1),
    (ErrorCode::NotThePusher, 200),
    (ErrorCode::Busy, 10),
    (ErrorCode::StoreUnavailable, 8),
    (ErrorCode::DeviceRevoked, 20),
];

#[test]
fn runs_meet_every_refusal_that_an_honest_device_can_get() {
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..RACES {
        let mut world = World::new(seed, RACING);
        world.run().unwrap();
        for (code, times) in world.reached() {
            *reached.entry(code.clone()).or_default() += times;
        }
    }
    for (code, least) in REFUSALS {
        let times = reached.get(code.name()).copied().unwrap_or_default();
        assert!(times >= least, "{code} {times} times, of {reached:?}");
    }
}

#[test]
fn runs_without_room_refuse_pushes_and_end_with_edits_that_wait_and_with_none() {
    let ends: Vec<(u64, u64)> = (0..20)
        .map(|seed| {
            let mut world = World::new(seed, SCARCE);
            world.run().unwrap();
            world.without_room()
        })
        .collect();
    let refused: u64 = ends.iter().map(|(refused, _)| refused).sum();
    let (waiting, none) = (
        ends.iter().filter(|(_, paused)| *paused > 0).count(),
        ends.iter().filter(|(refused, paused)| *refused > 0 && *paused == 0).count(),
    );
    assert!(refused > 50 && waiting > 3 && none > 3, "{ends:?}");
}

/// The first violation that any of these runs meets.
fn found(snapshots: Snapshots) -> Option<Invariant> {
    (0..10).find_map(|seed| World::new(seed, Plan { snapshots, ..TWO }).run().err()).map(|violation| violation.invariant)
}

#[test]
fn a_snapshot_without_what_was_deleted_is_found_out() {
    assert_eq!(found(Snapshots::WithoutTombstones), Some(Invariant::R1));
    assert_eq!(found(Snapshots::AsDesigned), None);
}

#[test]
fn a_snapshot_of_before_its_start_is_found_out() {
    assert_eq!(found(Snapshots::BehindTheirStart), Some(Invariant::R1));
}
