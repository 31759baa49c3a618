//! What is said of edits that the quota has no room for.
//!
//! Never: such an edit called refused for good; it is kept, and goes by itself when there is room.

use cloudsync_engine::replica::Usage;
use cloudsync_protocol::RecordKey;
use indicatif::HumanCount;

use crate::failure::{Exit, Failure};
use crate::output::counted;

const MAKE_ROOM: &str = "it is sent by itself once there is room: make some by `cloudsync delete …`, or write a smaller value by `cloudsync put …`; `cloudsync status` says how full it is";

/// Where nothing is taken of anybody.
pub(crate) const STORE_FULL: &str =
    "the server's disk is full: edits are kept here, queued, and sent later, by `cloudsync sync` or a running watch; tell its operator";

pub(crate) const STORE_FULL_HELP: &str = "tell its operator; `cloudsync sync` or a running watch sends them when there is room";

/// How full the quota is, for the middle of a sentence.
fn how_full(usage: Option<Usage>) -> String {
    usage.map_or_else(|| "the quota is full".to_owned(), |usage| format!("{} of the quota are used", used(usage)))
}

/// How full the quota is, by itself.
pub(crate) fn used(usage: Usage) -> String {
    format!("{} of {} B", HumanCount(usage.used), HumanCount(usage.limit))
}

/// An edit that was put just now and has to wait.
pub(crate) fn paused(key: &RecordKey, grows: u64, usage: Option<Usage>) -> Failure {
    let message = format!("{key}: {}, and this needs {} B more; your edit is kept and waits for room", how_full(usage), HumanCount(grows));
    Failure::new(Exit::Refused, "quota_exceeded", message, MAKE_ROOM)
}

/// So many edits that wait, where any do.
pub(crate) fn note(count: u64, usage: Option<Usage>) -> Option<String> {
    let wait = if count == 1 { "waits for room and is sent by itself" } else { "wait for room and are sent by themselves" };
    (count > 0).then(|| format!("paused: quota: {} {wait} once there is some; {}", counted(count, "edit"), how_full(usage)))
}

#[cfg(test)]
mod tests {
    use cloudsync_protocol::{CollectionName, ErrorCode, RecordId, Seq};

    use super::*;

    #[test]
    fn what_is_said_names_what_is_used_allowed_and_needed() {
        let key = RecordKey { collection: CollectionName::new("goal").unwrap(), record: RecordId::new("g1").unwrap() };
        let usage = Some(Usage { used: 9_999_900, limit: 10_000_000, at: Seq(1) });
        let failure = paused(&key, 350, usage);
        let expected =
            "goal/g1: 9,999,900 of 10,000,000 B of the quota are used, and this needs 350 B more; your edit is kept and waits for room";
        assert_eq!((failure.exit, failure.code, failure.message.as_str()), (Exit::Refused, ErrorCode::QuotaExceeded.name(), expected));
        assert_eq!(note(0, usage), None);
        let note = note(2, usage).unwrap();
        assert!(
            note.starts_with("paused: quota: 2 edits wait for room") && note.ends_with("9,999,900 of 10,000,000 B of the quota are used"),
            "{note}"
        );
    }
}
