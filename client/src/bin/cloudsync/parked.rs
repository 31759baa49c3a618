//! What is said of edits that are parked: why, and what ends it.
//!
//! Never: a newer version spoken of where the server refused an edit for itself.

use std::collections::BTreeSet;

use cloudsync_engine::replica::{Conflict, Reason};
use cloudsync_protocol::{ErrorCode, RecordKey};

use crate::output::{counted, visible};

/// How a conflict ends.
pub(crate) const SETTLE: &str = "see `cloudsync conflicts`; settle each by `cloudsync put … --onto current`, `cloudsync delete … --onto current` or `cloudsync conflicts drop …`";

/// What was to be done to a record whose edit is in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typed {
    Put,
    Delete,
}

/// How that one ends.
pub(crate) fn settle(key: &RecordKey, typed: Typed) -> String {
    let (collection, record) = (visible(key.collection.as_str()), visible(key.record.as_str()));
    let again = match typed {
        Typed::Delete => format!("delete it by `cloudsync delete {collection} {record} --onto current`"),
        Typed::Put => format!("write it by `cloudsync put {collection} {record} … --onto current`"),
    };
    format!(
        "see `cloudsync conflicts`; {again}, which takes the place of the edit in conflict, \
         or give that one up first by `cloudsync conflicts drop {collection} {record}`"
    )
}

const WRITE_AGAIN: &str = "see `cloudsync conflicts`; once that is mended write it again by `cloudsync put … --onto current`, or give it up by `cloudsync conflicts drop …`";

/// What to do about an edit that was refused for this.
#[expect(clippy::wildcard_enum_match_arm, reason = "codes are open: what is not named here takes the common words")]
pub(crate) fn parked_help(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BodyTooLarge => {
            "write a smaller value by `cloudsync put … --onto current`, or give it up by `cloudsync conflicts drop …`"
        }
        ErrorCode::ClockAhead => {
            "what another device wrote later has a stamp that the server's clock has not come to: write it again by `cloudsync put … --onto current`"
        }
        _ => WRITE_AGAIN,
    }
}

/// Why edits are parked, in a sentence without its end, and what to do; nothing where none is.
pub(crate) fn why_and_how(parked: &[Conflict]) -> Option<(String, &'static str)> {
    let codes: BTreeSet<&str> = parked.iter().filter_map(refusal).map(ErrorCode::name).collect();
    let refused = parked.iter().filter(|conflict| refusal(conflict).is_some()).count();
    let (stale, codes) = (parked.len() - refused, codes.into_iter().collect::<Vec<_>>().join(", "));
    let edits = |count: usize| format!("{} of this device", counted(count as u64, "edit"));
    let conflict = if stale == 1 { "is in conflict with a newer version" } else { "are in conflict with newer versions" };
    let are = if refused == 1 { "is" } else { "are" };
    match (stale, refused, parked) {
        (0, 0, _) => None,
        (_, 0, _) => Some((format!("{} {conflict}", edits(stale)), SETTLE)),
        (0, 1, [only]) => Some((format!("{} is refused ({codes})", edits(1)), refusal(only).map_or(WRITE_AGAIN, parked_help))),
        (0, ..) => Some((format!("{} are refused ({codes})", edits(refused)), WRITE_AGAIN)),
        (..) => Some((format!("{} {conflict}, {refused} {are} refused ({codes})", edits(stale)), SETTLE)),
    }
}

/// One edit that was parked just now.
pub(crate) fn just_now(conflict: &Conflict) -> String {
    let key = &conflict.mine.key;
    match (refusal(conflict), &conflict.current) {
        (Some(code), _) => format!("{key}: your edit is refused ({code}) and kept: {}", parked_help(code)),
        (None, Some(current)) => {
            format!("{key}: your edit is in conflict with version {} and kept: see `cloudsync conflicts`", current.version)
        }
        (None, None) => format!("{key}: your edit is in conflict and kept: see `cloudsync conflicts`"),
    }
}

const fn refusal(conflict: &Conflict) -> Option<ErrorCode> {
    match conflict.reason {
        Reason::Stale => None,
        Reason::Refused(code) => Some(code),
    }
}

#[cfg(test)]
mod tests {
    use cloudsync_engine::replica::{Content, Edit, EditId, EditState};
    use cloudsync_protocol::envelope::Hlc;
    use cloudsync_protocol::{CollectionName, Hash, RecordId, Version};

    use super::*;

    fn parked(reasons: &[Reason]) -> Vec<Conflict> {
        let key = RecordKey { collection: CollectionName::new("goal").unwrap(), record: RecordId::new("g1").unwrap() };
        let conflict = |reason: &Reason| {
            let state = EditState::Parked(*reason);
            let (id, base, parent) = (EditId(1), Version(1), Hash::default());
            let mine = Edit { id, last: id, key: key.clone(), content: Content::Deleted, base, parent, hlc: Hlc(1), state, yields: false };
            Conflict { mine, reason: *reason, current: None }
        };
        reasons.iter().map(conflict).collect()
    }

    #[test]
    fn a_note_says_why_edits_are_parked() {
        let (stale, large, full) = (Reason::Stale, Reason::Refused(ErrorCode::BodyTooLarge), Reason::Refused(ErrorCode::RecordsFull));
        let said = |reasons: &[Reason]| why_and_how(&parked(reasons)).map(|(why, _)| why);
        let expected = [
            (vec![], None),
            (vec![stale], Some("1 edit of this device is in conflict with a newer version")),
            (vec![stale, stale], Some("2 edits of this device are in conflict with newer versions")),
            (vec![large], Some("1 edit of this device is refused (body_too_large)")),
            (vec![full, large, large], Some("3 edits of this device are refused (body_too_large, records_full)")),
            (vec![stale, large], Some("1 edit of this device is in conflict with a newer version, 1 is refused (body_too_large)")),
        ];
        for (reasons, expected) in expected {
            assert_eq!(said(&reasons).as_deref(), expected);
        }
    }

    #[test]
    fn an_edit_that_is_too_large_is_not_said_to_be_in_conflict() {
        let said = just_now(&parked(&[Reason::Refused(ErrorCode::BodyTooLarge)])[0]);
        assert!(said.starts_with("goal/g1: your edit is refused (body_too_large) and kept: write a smaller value"), "{said}");
        assert!(just_now(&parked(&[Reason::Stale])[0]).starts_with("goal/g1: your edit is in conflict and kept"));
    }
}
