//! Every limit of the protocol, and the metric in which it is seen to be met.
//!
//! Never: a limit that is not in the table; the table is held against the limits' own file.

use std::collections::BTreeSet;

use cloudsync_protocol::ErrorCode::{self, *};

use crate::metrics::{LAGGING, LIMITS, LIMITS_REACHED, NAMES, REQUESTS_REFUSED};

const SOURCE: &str = include_str!("../../../protocol/src/limits.rs");

/// How it is counted when it is met.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// A failure, under `cloudsync_requests_refused_total` with that code; where it ends a session or a handshake, under
    /// `cloudsync_session_closes_total` or `cloudsync_handshake_failures_total` too.
    Refused(ErrorCode),
    /// Nothing is refused: under `cloudsync_limits_reached_total` with that name.
    Reached(&'static str),
    /// Under that metric.
    Metric(&'static str),
    /// Nobody is there to be told: under `cloudsync_session_closes_total` or `cloudsync_handshake_failures_total` with that code.
    Closed(ErrorCode),
    /// A client keeps to it before anything is sent: no node sees what is in a sealed body, or a stream that QUIC did not open.
    Client,
    /// No limit: a name, a shape, or the least of something that has no most.
    NoLimit,
}

const TABLE: [(&str, Seen); 43] = [
    ("PROTOCOL_VERSION", Seen::Refused(VersionUnsupported)),
    ("ALPN", Seen::NoLimit),
    ("WEBSOCKET_PATH", Seen::NoLimit),
    ("FRAME_BYTES_MAX", Seen::Refused(FrameTooLarge)),
    ("DEPTH_MAX", Seen::Refused(Malformed)),
    ("BODY_BYTES_MAX", Seen::Refused(BodyTooLarge)),
    ("TOMBSTONE_BODY_BYTES_MAX", Seen::Refused(BodyTooLarge)),
    ("WRAP_BYTES", Seen::Refused(HeaderInvalid)),
    ("BODY_BYTES_MIN", Seen::Refused(HeaderInvalid)),
    ("HEADER_BYTES_MAX", Seen::Refused(HeaderInvalid)),
    ("REWRAP_ITEMS_MAX", Seen::Refused(StatementInvalid)),
    ("REWRAP_ITEM_BYTES", Seen::Refused(StatementInvalid)),
    ("PUSH_OPERATIONS_MAX", Seen::Refused(PushTooLarge)),
    ("PUSH_BYTES_MAX", Seen::Refused(PushTooLarge)),
    ("PAGE_BYTES", Seen::Reached("page_bytes")),
    ("EVENT_BODY_BYTES_MAX", Seen::Reached("event_bodies")),
    ("COMMIT_BYTES_MAX", Seen::Reached("commit_bytes")),
    ("UNANSWERED_REQUESTS_MAX", Seen::Refused(TooManyRequests)),
    ("UNANSWERED_BYTES_MAX", Seen::Refused(TooManyRequests)),
    ("COLLECTION_NAME_BYTES_MAX", Seen::Refused(Malformed)),
    ("RECORD_ID_BYTES_MAX", Seen::Refused(Malformed)),
    ("COLLECTIONS_MAX", Seen::Refused(CollectionsFull)),
    ("DEVICES_MAX", Seen::Refused(DevicesFull)),
    ("RECORDS_MAX", Seen::Refused(RecordsFull)),
    ("QUOTA_BYTES_DEFAULT", Seen::Refused(QuotaExceeded)),
    ("PAYLOAD_BYTES_MAX", Seen::Client),
    ("CLOCK_AHEAD_MAX", Seen::Refused(ClockAhead)),
    ("DEVICE_QUEUE_FRAMES_MAX", Seen::Metric(LAGGING)),
    ("DEVICE_QUEUE_BYTES_MAX", Seen::Metric(LAGGING)),
    ("HELLO_TIMEOUT", Seen::Refused(HelloTimeout)),
    ("ACCOUNT_CALL_TIMEOUT", Seen::Refused(HelloTimeout)),
    ("ACCOUNT_CALLS_MAX", Seen::Refused(TooManyRequests)),
    ("ACCOUNT_CONVERSATION_TIMEOUT", Seen::Refused(HelloTimeout)),
    ("REQUEST_STREAMS_MAX", Seen::Client),
    ("FRAME_BYTES_PER_SECOND_MIN", Seen::Refused(FrameTooSlow)),
    ("FRAME_GRACE", Seen::Refused(FrameTooSlow)),
    ("WRITE_STALL_MAX", Seen::Closed(TooSlow)),
    ("TOKEN_BYTES_MAX", Seen::Refused(TokenInvalid)),
    ("EMAIL_BYTES_MAX", Seen::Refused(EmailInvalid)),
    ("KEYRING_BYTES_MAX", Seen::Refused(KeyringInvalid)),
    ("DEVICE_NAME_BYTES_MAX", Seen::Refused(StatementInvalid)),
    ("STATEMENT_BYTES_MAX", Seen::Refused(StatementInvalid)),
    ("HISTORY_ROWS_MAX", Seen::Reached("history_rows")),
];

#[test]
fn every_limit_is_counted_in_some_metric_when_it_is_met() {
    let constants = SOURCE.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let limits: BTreeSet<&str> = constants.collect();
    assert_eq!(TABLE.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), limits);
    let mut reached = BTreeSet::new();
    for (name, seen) in TABLE {
        match seen {
            Seen::Refused(code) | Seen::Closed(code) => {
                assert!(ErrorCode::ALL.contains(&code) && NAMES.contains(&REQUESTS_REFUSED), "{name}");
            }
            Seen::Reached(limit) => assert!(reached.insert(limit) && NAMES.contains(&LIMITS_REACHED), "{name}"),
            Seen::Metric(metric) => assert!(NAMES.contains(&metric), "{name}"),
            Seen::Client | Seen::NoLimit => {}
        }
    }
    assert_eq!(reached, LIMITS.into_iter().collect());
}
