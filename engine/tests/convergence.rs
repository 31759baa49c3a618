//! Replicas, a server and its store under loss, reordering, crashes and takeovers: whatever happens, all end with the same
//! records, nothing acknowledged is lost, and every edit is committed, settled or parked.
//!
//! A failure names its seed; `CLOUDSYNC_SIM_SEED=<seed> cargo test -p cloudsync-engine --test convergence` runs that one.
//!
//! Never: a rule of its own; see `support::sim`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "a test may panic where it stands")]

mod support;

use proptest::prelude::*;
use support::sim::world::{Plan, World};

const TWO: Plan = Plan { devices: 2, processes: 2, steps: 500, records: 3 };
const THREE: Plan = Plan { devices: 3, processes: 1, steps: 600, records: 4 };

/// 128 unless `CLOUDSYNC_SIM_CASES` says more.
fn cases() -> u32 {
    std::env::var("CLOUDSYNC_SIM_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(128)
}

fn run(seed: u64, plan: Plan) {
    let one: Option<u64> = std::env::var("CLOUDSYNC_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = one.unwrap_or(seed);
    if let Err(panic) = std::panic::catch_unwind(|| World::new(seed, plan).run()) {
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
}
