//! What this crate measures: every name, its unit and its meaning, in one place.
//!
//! Never: an id of a user, device or record as a label.

use metrics::Unit;

/// From the call of a commit to its answer.
pub const COMMIT_SECONDS: &str = "cloudsync_store_commit_seconds";
/// Operations that one transaction made durable together.
pub const GROUP_OPERATIONS: &str = "cloudsync_store_group_operations";
/// The time of `COMMIT`, its sync included.
pub const FSYNC_SECONDS: &str = "cloudsync_store_fsync_seconds";
/// What was not written, or not well, by outcome: one of [`OUTCOMES`].
pub const ERRORS: &str = "cloudsync_store_errors_total";

/// The outcomes that errors are counted by.
pub const OUTCOMES: [&str; 7] = ["fenced", "full", "unknown", "unavailable", "damaged", "side_file", "checkpoint"];

/// Describes every metric of this crate to the recorder, and shows each from the start; call once, after installing it.
pub fn describe() {
    metrics::describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "from the call of a commit to its answer");
    metrics::describe_histogram!(GROUP_OPERATIONS, Unit::Count, "operations that one transaction made durable together");
    metrics::describe_histogram!(FSYNC_SECONDS, Unit::Seconds, "the time of COMMIT, its sync included");
    metrics::describe_counter!(ERRORS, Unit::Count, "what the store did not write, or not well, by outcome");
    for name in [COMMIT_SECONDS, GROUP_OPERATIONS, FSYNC_SECONDS] {
        let _ = metrics::histogram!(name);
    }
    for outcome in OUTCOMES {
        metrics::counter!(ERRORS, "outcome" => outcome).increment(0);
    }
}
