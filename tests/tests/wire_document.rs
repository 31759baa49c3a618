//! `docs/wire.md` names every frame, every error code and every limit that the code has.
//!
//! Never: a claim about what the page says of them; that is read by people.

use std::time::Duration;

use cloudsync_protocol::ErrorCode::{self, *};
use cloudsync_protocol::limits::*;

const PAGE: &str = include_str!("../../docs/wire.md");
const FRAMES: &str = include_str!("../../protocol/src/frame/mod.rs");

/// `GoingAway` as `going_away`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// As the page writes sizes: `1 MiB`, `64 KiB`, `254 B`.
fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// As the page writes numbers: `200,000`.
fn grouped(number: u64) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", grouped(number / 1000), number % 1000) }
}

/// As the page writes times: `5 min`, `30 s`.
fn time(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds > 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// What the page says of limits, made of the code's: what, the limit, what is past it.
fn limits() -> Vec<[String; 3]> {
    let coded = |codes: &[ErrorCode]| codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    let refused = |what: &str, limit: String, codes: &[ErrorCode]| [what.to_owned(), limit, coded(codes)];
    let other = |what: &str, limit: String, past: &str| [what.to_owned(), limit, past.to_owned()];
    let names = format!("{}, {}", size(COLLECTION_NAME_BYTES_MAX), size(RECORD_ID_BYTES_MAX));
    let [header, body, tombstone] = [HEADER_BYTES_MAX, BODY_BYTES_MAX, TOMBSTONE_BODY_BYTES_MAX].map(size);
    let counts = format!("{COLLECTIONS_MAX}, {}, {DEVICES_MAX}", grouped(RECORDS_MAX));
    let [token, keyring, email, statement, name] =
        [TOKEN_BYTES_MAX, KEYRING_BYTES_MAX, EMAIL_BYTES_MAX, STATEMENT_BYTES_MAX, DEVICE_NAME_BYTES_MAX].map(size);
    vec![
        refused("frame, as encoded", size(FRAME_BYTES_MAX), &[FrameTooLarge]),
        refused("nesting of arrays and maps, the frame's own with them", DEPTH_MAX.to_string(), &[Malformed]),
        other("collection name, record id", names, "`malformed` in a frame, `header_invalid` in a header"),
        refused(
            "envelope: header, body, tombstone's body, wrap",
            format!("{header}, {body}, {tombstone}, exactly {}", size(WRAP_BYTES)),
            &[HeaderInvalid, BodyTooLarge],
        ),
        refused("push", format!("{} operations, {}", grouped(PUSH_OPERATIONS_MAX as u64), size(PUSH_BYTES_MAX)), &[PushTooLarge]),
        refused(
            "records re-wrapped by one operation",
            format!("{}, of {REWRAP_ITEM_BYTES} B each", grouped(REWRAP_ITEMS_MAX as u64)),
            &[StatementInvalid],
        ),
        other("bodies of one event", size(EVENT_BODY_BYTES_MAX), "none: *head_at* instead"),
        other("versions in one answer to *history*", HISTORY_ROWS_MAX.to_string(), &format!("none: the answer has {HISTORY_ROWS_MAX}")),
        refused("unanswered requests", format!("{UNANSWERED_REQUESTS_MAX}, or {}", size(UNANSWERED_BYTES_MAX)), &[TooManyRequests]),
        other("request streams (QUIC)", format!("{REQUEST_STREAMS_MAX} at a time"), "flow control"),
        refused("collections, records, devices", counts, &[CollectionsFull, RecordsFull, DevicesFull]),
        refused(
            "live records of a user (header + body + wrap)",
            format!("{} B unless the node is told otherwise", grouped(QUOTA_BYTES_DEFAULT)),
            &[QuotaExceeded],
        ),
        refused("hybrid clock", format!("{} ahead of the server", time(CLOCK_AHEAD_MAX)), &[ClockAhead]),
        refused(
            "access token, keyring, e-mail address",
            format!("{token}, {keyring}, {email}"),
            &[TokenInvalid, KeyringInvalid, EmailInvalid],
        ),
        refused("statement of the roster, sealed device name", format!("{statement}, {name}"), &[StatementInvalid]),
        other(
            "waiting for one session",
            format!("{DEVICE_QUEUE_FRAMES_MAX} events or {}", size(DEVICE_QUEUE_BYTES_MAX)),
            "`lagging`, a frame",
        ),
        refused("hello, or the first account call", time(HELLO_TIMEOUT), &[HelloTimeout]),
        refused("the frame after an answered account call", time(ACCOUNT_CALL_TIMEOUT), &[HelloTimeout]),
        refused("hello, after the first account call", time(ACCOUNT_CONVERSATION_TIMEOUT), &[HelloTimeout]),
        refused("account calls of a connection", ACCOUNT_CALLS_MAX.to_string(), &[TooManyRequests]),
        refused("pace of a frame", format!("{FRAME_BYTES_PER_SECOND_MIN} B/s after {}", time(FRAME_GRACE)), &[FrameTooSlow]),
        refused("reading nothing", time(WRITE_STALL_MAX), &[TooSlow]),
    ]
}

#[test]
fn every_frame_stands_in_the_document_with_its_tag() {
    let mut frames = 0;
    for line in FRAMES.lines() {
        let Some((name, tag)) = line.trim().strip_suffix(',').and_then(|line| line.split_once(") = ")) else { continue };
        let (name, _) = name.split_once('(').unwrap();
        let row = format!("| {tag} | {} |", snake(name));
        assert!(PAGE.contains(&row), "no row {row}");
        frames += 1;
    }
    assert!(frames >= 40, "only {frames} frames were found in the source");
}

#[test]
fn every_error_code_stands_in_the_document() {
    for code in ErrorCode::ALL {
        assert!(PAGE.contains(&format!("| `{}` |", code.name())), "no row for {code}");
    }
}

#[test]
fn the_limits_of_the_document_are_those_of_the_code() {
    let (_, section) = PAGE.split_once("\n## Limits\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    // The first two lines are the table's head.
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let said: Vec<Vec<&str>> = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert_eq!(said, limits(), "what the document says, and what the code has");
}
