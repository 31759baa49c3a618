//! What this crate measures: every name, its unit and its meaning, in one place.
//!
//! Never: an id of a user, device or record as a label.

use cloudsync_engine::invariants::Invariant;
use cloudsync_protocol::ErrorCode;
use metrics::{Counter, Gauge, Histogram, Unit};

/// Open sessions.
pub const SESSIONS: &str = "cloudsync_sessions";
/// Users with an actor of their own.
pub const USERS_ACTIVE: &str = "cloudsync_users_active";
/// Activations of user actors.
pub const ACTIVATIONS: &str = "cloudsync_activations_total";
/// User actors that ended by a panic.
pub const USER_PANICS: &str = "cloudsync_user_panics_total";
/// Pushes by outcome: `committed`, `repeated` (it had been committed before), or the code of the refusal.
pub const PUSHES: &str = "cloudsync_pushes_total";
/// Commits by outcome: `durable`, `fenced`, `unknown`, `full`, `unavailable`.
pub const COMMITS: &str = "cloudsync_commits_total";
/// Operations of a commit.
pub const COMMIT_OPERATIONS: &str = "cloudsync_commit_operations";
/// From the call of the store to its answer.
pub const COMMIT_SECONDS: &str = "cloudsync_commit_seconds";
/// From the admitted push, if this very push was committed, to the moment its events stand in the queues of the other sessions.
pub const PUSH_FAN_OUT_SECONDS: &str = "cloudsync_push_fan_out_seconds";
/// Frames that wait for sockets.
pub const QUEUE_FRAMES: &str = "cloudsync_queue_frames";
/// Requests that were admitted and are not answered.
pub const REQUESTS_UNANSWERED: &str = "cloudsync_requests_unanswered";
/// Sessions whose queue overflowed.
pub const LAGGING: &str = "cloudsync_lagging_total";
/// Records that a push found changed (*stale*). What a device finds changed while it reads, before it pushes, no server knows of.
pub const CONFLICTS: &str = "cloudsync_conflicts_total";
/// Failures told to clients, by code: of requests, of limits that ended a session, of hellos and account calls. A push that is
/// *refused* for its records counts once more for each code that they have.
pub const REQUESTS_REFUSED: &str = "cloudsync_requests_refused_total";
/// Limits that refuse nothing, by name, each time that one had an effect: `commit_bytes` (requests waited for the next commit),
/// `event_bodies` (an entry was announced as a head), `page_bytes` (a page ended before what was asked for), `history_rows`
/// (more versions were asked for than one answer holds).
pub const LIMITS_REACHED: &str = "cloudsync_limits_reached_total";
/// Invariants of the design found broken, by number. Anything but 0 is a bug.
pub const INVARIANT_VIOLATIONS: &str = "cloudsync_invariant_violations_total";

#[cfg(test)]
pub(crate) const NAMES: &[&str] = &[
    SESSIONS,
    USERS_ACTIVE,
    ACTIVATIONS,
    USER_PANICS,
    PUSHES,
    COMMITS,
    COMMIT_OPERATIONS,
    COMMIT_SECONDS,
    PUSH_FAN_OUT_SECONDS,
    QUEUE_FRAMES,
    REQUESTS_UNANSWERED,
    LAGGING,
    CONFLICTS,
    REQUESTS_REFUSED,
    LIMITS_REACHED,
    INVARIANT_VIOLATIONS,
];

/// Describes every metric of this crate to the recorder; call once, after installing it.
pub fn describe() {
    metrics::describe_gauge!(SESSIONS, Unit::Count, "open sessions");
    metrics::describe_gauge!(USERS_ACTIVE, Unit::Count, "users with an actor of their own");
    metrics::describe_counter!(ACTIVATIONS, Unit::Count, "activations of user actors");
    metrics::describe_counter!(USER_PANICS, Unit::Count, "user actors that ended by a panic");
    metrics::describe_counter!(PUSHES, Unit::Count, "pushes by outcome: committed, repeated, or the code of the refusal");
    metrics::describe_counter!(COMMITS, Unit::Count, "commits by outcome: durable, fenced, unknown, full, unavailable");
    metrics::describe_histogram!(COMMIT_OPERATIONS, Unit::Count, "operations of a commit");
    metrics::describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "from the call of the store to its answer");
    metrics::describe_histogram!(PUSH_FAN_OUT_SECONDS, Unit::Seconds, "from the admitted push to its events in the other sessions' queues");
    metrics::describe_gauge!(QUEUE_FRAMES, Unit::Count, "frames that wait for sockets");
    metrics::describe_gauge!(REQUESTS_UNANSWERED, Unit::Count, "requests that were admitted and are not answered");
    metrics::describe_counter!(LAGGING, Unit::Count, "sessions whose queue overflowed");
    metrics::describe_counter!(
        CONFLICTS,
        Unit::Count,
        "records that a push found changed (stale); conflicts that a device finds while it reads are not among them"
    );
    metrics::describe_counter!(
        REQUESTS_REFUSED,
        Unit::Count,
        "failures told to clients, by code; a refused push also by its records' codes, each once"
    );
    metrics::describe_counter!(
        LIMITS_REACHED,
        Unit::Count,
        "limits that refuse nothing, by name: commit_bytes, event_bodies, page_bytes, history_rows"
    );
    metrics::describe_counter!(INVARIANT_VIOLATIONS, Unit::Count, "invariants of the design found broken, by number");
    // An alarm on an increase needs the 0 before it.
    for invariant in Invariant::ALL {
        violations(invariant).increment(0);
    }
}

/// Those of one invariant.
pub(crate) fn violations(invariant: Invariant) -> Counter {
    metrics::counter!(INVARIANT_VIOLATIONS, "invariant" => format!("{invariant:?}"))
}

/// Counts a failure that a client is told of; of those before *welcome*, the node does.
pub fn refused(code: ErrorCode) {
    metrics::counter!(REQUESTS_REFUSED, "code" => code.name()).increment(1);
}

/// The names under [`LIMITS_REACHED`].
#[cfg(test)]
pub(crate) const LIMITS: [&str; 4] = ["commit_bytes", "event_bodies", "page_bytes", "history_rows"];

/// Counts that a limit had an effect which no failure tells.
pub(crate) fn limit_reached(limit: &'static str) {
    metrics::counter!(LIMITS_REACHED, "limit" => limit).increment(1);
}

/// Handles of the metrics without labels, looked up once.
pub(crate) struct Meters {
    pub(crate) sessions: Gauge,
    pub(crate) users_active: Gauge,
    pub(crate) activations: Counter,
    pub(crate) user_panics: Counter,
    pub(crate) commit_operations: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) push_fan_out_seconds: Histogram,
    pub(crate) queue_frames: Gauge,
    pub(crate) requests_unanswered: Gauge,
    pub(crate) lagging: Counter,
    pub(crate) conflicts: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            sessions: metrics::gauge!(SESSIONS),
            users_active: metrics::gauge!(USERS_ACTIVE),
            activations: metrics::counter!(ACTIVATIONS),
            user_panics: metrics::counter!(USER_PANICS),
            commit_operations: metrics::histogram!(COMMIT_OPERATIONS),
            commit_seconds: metrics::histogram!(COMMIT_SECONDS),
            push_fan_out_seconds: metrics::histogram!(PUSH_FAN_OUT_SECONDS),
            queue_frames: metrics::gauge!(QUEUE_FRAMES),
            requests_unanswered: metrics::gauge!(REQUESTS_UNANSWERED),
            lagging: metrics::counter!(LAGGING),
            conflicts: metrics::counter!(CONFLICTS),
        }
    }

    pub(crate) fn refused(&self, code: ErrorCode) {
        refused(code);
    }

    pub(crate) fn pushed(&self, outcome: &'static str) {
        metrics::counter!(PUSHES, "outcome" => outcome).increment(1);
    }

    pub(crate) fn committed(&self, outcome: &'static str) {
        metrics::counter!(COMMITS, "outcome" => outcome).increment(1);
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}
