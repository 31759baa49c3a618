//! What a client and a node count on of each other in numbers, once: each row of the *Limits* of `docs/wire.md`, and the bounds
//! that are proven against those at the end of this file.
//!
//! Never: a bound that one side could change without the other's noticing (a store's groups, a region's queues: those are its
//! crate's own).

use std::time::Duration;

/// The protocol version that this code speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The ALPN of QUIC connections.
pub const ALPN: &[u8] = b"cloudsync/1";
/// The path of the WebSocket.
pub const WEBSOCKET_PATH: &str = "/v1/sync";

/// A frame as encoded, either direction.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Nesting of MessagePack arrays.
pub const DEPTH_MAX: usize = 16;
/// A record's body: ciphertext as sent, after padding, with nonce and tag.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// A tombstone's body.
pub const TOMBSTONE_BODY_BYTES_MAX: usize = 256;
/// A wrapped content key, exactly: epoch, nonce, key and tag of suite 1.
pub const WRAP_BYTES: usize = 8 + 12 + 32 + 16;
/// The shortest body: nonce, one padding step, tag.
pub const BODY_BYTES_MIN: usize = 12 + 64 + 16;
/// A record's header as encoded. The longest that this release makes has 331 B; the rest is for fields that a newer one appends.
pub const HEADER_BYTES_MAX: usize = 512;
/// Re-wrapped records of one operation.
pub const REWRAP_ITEMS_MAX: usize = 1000;
/// One of them: the row's seq and short hash, then a wrap without its epoch.
pub const REWRAP_ITEM_BYTES: usize = 8 + 8 + WRAP_BYTES - 8;
/// Operations of one push.
pub const PUSH_OPERATIONS_MAX: usize = 1000;
/// A push's statement, signature and operations as encoded.
pub const PUSH_BYTES_MAX: usize = 512 * 1024;
/// A page is whole batches until this many bytes are passed.
pub const PAGE_BYTES: usize = 256 * 1024;
/// Bodies of one event, without what is round them; beyond, it is announced as a head only. The largest record still fits.
pub const EVENT_BODY_BYTES_MAX: usize = 64 * 1024;
/// One commit of a log: the frames of its pushes together. What is over waits for the next.
pub const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Unanswered requests of a session: those whose answers have not begun to go out.
pub const UNANSWERED_REQUESTS_MAX: usize = 32;
/// Unanswered request bytes of a session.
pub const UNANSWERED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A collection's name.
pub const COLLECTION_NAME_BYTES_MAX: usize = 64;
/// A record's id.
pub const RECORD_ID_BYTES_MAX: usize = 128;
/// Collections of a log.
pub const COLLECTIONS_MAX: usize = 256;
/// Enrolled devices of a user.
pub const DEVICES_MAX: usize = 64;
/// Records of a log, live and dead: new ones are refused here, deletes never.
pub const RECORDS_MAX: u64 = 200_000;
/// Bytes of a user's live records (header + body + wrap), unless the node is told otherwise. Tombstones are not counted.
pub const QUOTA_BYTES_DEFAULT: u64 = 10_000_000;
/// A payload after decompression.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// How far a record's hybrid clock may be ahead of the server's.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// Frames that wait for one device.
pub const DEVICE_QUEUE_FRAMES_MAX: usize = 256;
/// Bytes that wait for one device.
pub const DEVICE_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// For each step to a session by itself: the handshake of TLS or QUIC, the head of HTTP, then *hello* or an account call from the
/// challenge on. An account call that was answered without a failure gives [`ACCOUNT_CALL_TIMEOUT`] to the next frame.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// From the answer to an account call to the next one: the client stretches the password meanwhile.
pub const ACCOUNT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// From the first account call to *hello* or the connection's end, however many calls there are: registering and enrolling takes
/// seconds, since a client asks its person before it connects.
pub const ACCOUNT_CONVERSATION_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// Account calls of one connection; registering and enrolling takes three.
pub const ACCOUNT_CALLS_MAX: u32 = 32;
/// Request streams that a client may have open on a QUIC connection.
pub const REQUEST_STREAMS_MAX: u32 = 16;
/// The slowest that a frame may come in, in bytes a second, once it has begun.
pub const FRAME_BYTES_PER_SECOND_MIN: u64 = 100;
/// A frame may stall for that long before its pace counts: a lost packet or a sleeping radio is no attack.
pub const FRAME_GRACE: Duration = Duration::from_secs(5);
/// With bytes to send, a peer that takes none of them for that long is too slow.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// An access token as text.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// An e-mail address (RFC 5321, 4.5.3.1.3, less the brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// The keyring blob.
pub const KEYRING_BYTES_MAX: usize = 64 * 1024;
/// A sealed device name.
pub const DEVICE_NAME_BYTES_MAX: usize = 256;
/// A statement that is not a batch's.
pub const STATEMENT_BYTES_MAX: usize = 4096;
/// Versions that one history answer holds; a larger wish is answered with so many.
pub const HISTORY_ROWS_MAX: u32 = 100;

const _: () = assert!(PUSH_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(PAGE_BYTES + PUSH_BYTES_MAX < FRAME_BYTES_MAX, "a page that a whole batch overshoots must fit a frame");
const _: () = assert!(BODY_BYTES_MAX + HEADER_BYTES_MAX + WRAP_BYTES < PUSH_BYTES_MAX);
const _: () = assert!(PUSH_BYTES_MAX <= UNANSWERED_BYTES_MAX && PUSH_BYTES_MAX <= COMMIT_BYTES_MAX);
const _: () = assert!(EVENT_BODY_BYTES_MAX >= BODY_BYTES_MAX, "any one record fits an event");
const _: () = assert!(REWRAP_ITEMS_MAX * REWRAP_ITEM_BYTES + STATEMENT_BYTES_MAX < PUSH_BYTES_MAX);
const _: () = assert!(PUSH_BYTES_MAX < DEVICE_QUEUE_BYTES_MAX, "an event holds no more than a push");
