//! The value of every limit, as the design and `docs/wire.md` have it, in plain numbers.
//!
//! Never: a value computed from another limit; a change that was not meant shows here.

use std::collections::BTreeSet;
use std::time::Duration;

use cloudsync_protocol::limits;

/// Each constant against its value; gives the names.
macro_rules! pinned {
    ($($name:ident = $value:expr;)*) => {{
        $(assert_eq!(limits::$name, $value, stringify!($name));)*
        BTreeSet::from([$(stringify!($name)),*])
    }};
}

#[test]
fn every_limit_has_the_value_that_the_design_gives_it() {
    let seconds = Duration::from_secs;
    let pinned = pinned! {
        PROTOCOL_VERSION = 1;
        ALPN = b"cloudsync/1";
        WEBSOCKET_PATH = "/v1/sync";
        FRAME_BYTES_MAX = 1_048_576;
        DEPTH_MAX = 16;
        BODY_BYTES_MAX = 65_536;
        TOMBSTONE_BODY_BYTES_MAX = 256;
        WRAP_BYTES = 68;
        BODY_BYTES_MIN = 92;
        HEADER_BYTES_MAX = 512;
        REWRAP_ITEMS_MAX = 1_000;
        REWRAP_ITEM_BYTES = 76;
        PUSH_OPERATIONS_MAX = 1_000;
        PUSH_BYTES_MAX = 524_288;
        PAGE_BYTES = 262_144;
        EVENT_BODY_BYTES_MAX = 65_536;
        COMMIT_BYTES_MAX = 4_194_304;
        UNANSWERED_REQUESTS_MAX = 32;
        UNANSWERED_BYTES_MAX = 2_097_152;
        COLLECTION_NAME_BYTES_MAX = 64;
        RECORD_ID_BYTES_MAX = 128;
        COLLECTIONS_MAX = 256;
        DEVICES_MAX = 64;
        RECORDS_MAX = 200_000;
        PAYLOAD_BYTES_MAX = 1_048_576;
        CLOCK_AHEAD_MAX = seconds(300);
        DEVICE_QUEUE_FRAMES_MAX = 256;
        DEVICE_QUEUE_BYTES_MAX = 1_048_576;
        HELLO_TIMEOUT = seconds(5);
        ACCOUNT_CALL_TIMEOUT = seconds(30);
        ACCOUNT_CALLS_MAX = 32;
        ACCOUNT_CONVERSATION_TIMEOUT = seconds(120);
        REQUEST_STREAMS_MAX = 16;
        FRAME_BYTES_PER_SECOND_MIN = 100;
        FRAME_GRACE = seconds(5);
        WRITE_STALL_MAX = seconds(30);
        TOKEN_BYTES_MAX = 4_096;
        EMAIL_BYTES_MAX = 254;
        KEYRING_BYTES_MAX = 65_536;
        DEVICE_NAME_BYTES_MAX = 256;
        STATEMENT_BYTES_MAX = 4_096;
        HISTORY_ROWS_MAX = 100;
        QUOTA_BYTES_DEFAULT = 10_000_000;
    };
    let source = include_str!("../../src/limits.rs");
    let named = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':').map(|(name, _)| name));
    assert_eq!(pinned, named.collect(), "each is pinned here");
}
