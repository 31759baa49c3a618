//! One sample of every frame, with every field filled in, and the optional ones also empty.
//!
//! Never: a value that may change; golden bytes come from these.

use bytes::Bytes;
use cloudsync_protocol::codec::encode;
use cloudsync_protocol::entry::{Adopt, Origin, Put, Rewrap, RosterRow};
use cloudsync_protocol::envelope::{FORMAT, Hlc, SUITE_AES_256_GCM};
use cloudsync_protocol::error::{LastPush, RecordIssue, Usage};
use cloudsync_protocol::frame::*;
use cloudsync_protocol::statement::{
    BatchStatement, EnrolChange, EnrolStatement, IdentityChange, IdentityStatement, Leaver, Member, PublicKey, RekeyChange, RekeyStatement,
    RevokeChange, RevokeStatement, RosterChange, RotateChange, RotateStatement, Seen, Signature, Signed,
};
use cloudsync_protocol::{
    Batch, CollectionName, Cursor, DeviceId, DeviceSeq, Entry, Envelope, ErrorCode, Failure, Frame, Generation, Hash, Header, LogId, Nonce,
    Operation, RecordId, RecordKey, Row, Seq, ShortHash, TimelineId, UserId, Version,
};

const DEVICE: DeviceId = DeviceId([0x0d; 16]);
const LOG: LogId = LogId([0x10; 16]);
const TIMELINE: TimelineId = TimelineId([0x71; 16]);
const TS: u64 = 1_700_000_000_123;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn collection() -> CollectionName {
    CollectionName::new("timer_session").unwrap()
}

fn record() -> RecordId {
    RecordId::new("séance-1").unwrap()
}

fn key() -> RecordKey {
    RecordKey { collection: collection(), record: record() }
}

fn signature() -> Signature {
    Signature([0x51; 64])
}

pub(crate) fn header() -> Header {
    Header {
        format: FORMAT,
        suite: SUITE_AES_256_GCM,
        log: LOG,
        collection: collection(),
        record: record(),
        version: Version(3),
        parent: Hash([0xaa; 32]),
        device: DEVICE,
        device_seq: DeviceSeq(300),
        hlc: Hlc::from_ms(TS),
        flags: 0,
        commitment: Hash([0xcc; 32]),
    }
}

fn envelope() -> Envelope {
    Envelope { header: encode(&header()).into(), body: vec![0xb0; 92].into(), wrap: vec![0x3a; 68].into() }
}

fn origin() -> Origin {
    Origin { timeline: TimelineId([0x70; 16]), seq: Seq(70_002) }
}

fn adopt() -> Adopt {
    Adopt { over: Hash([0xad; 32]), origin: origin(), envelope: envelope() }
}

fn lineage() -> Vec<(TimelineId, Seq)> {
    vec![(TimelineId([0x70; 16]), Seq(1)), (TIMELINE, Seq(60_000))]
}

fn operations() -> Vec<Operation> {
    vec![Operation::Put(Put { base: Version(2), envelope: envelope() })]
}

pub(crate) fn batch_statement() -> BatchStatement {
    BatchStatement {
        format: 1,
        log: LOG,
        device: DEVICE,
        device_seq: DeviceSeq(300),
        prev_hash: Hash([0xbb; 32]),
        envelopes: vec![envelope().hash()],
        seen: vec![Seen { device: DeviceId([0x0e; 16]), device_seq: DeviceSeq(7), hash: Hash([0x5e; 32]) }],
    }
}

pub(crate) fn rewrap() -> Rewrap {
    let item = |seq: u64| [&seq.to_be_bytes()[..], &[0x88; 8], &[0x3b; 60]].concat();
    Rewrap { epoch: 2, items: [item(69_000), item(70_000)].concat().into() }
}

fn adopt_statement() -> BatchStatement {
    BatchStatement { envelopes: vec![adopt().stated_hash()], ..batch_statement() }
}

fn rewrap_statement() -> BatchStatement {
    BatchStatement { envelopes: vec![rewrap().hash()], seen: Vec::new(), ..batch_statement() }
}

fn signed(statement: Vec<u8>) -> Signed {
    Signed { statement: statement.into(), signature: signature() }
}

fn batch() -> Batch {
    Batch { first: Seq(70_000), server_ts: TS, signed: signed(encode(&batch_statement())), operations: operations() }
}

pub(crate) fn changes() -> [RosterChange; 5] {
    let identity = IdentityStatement {
        format: 1,
        log: LOG,
        identity_epoch: 1,
        signing: PublicKey([0x1d; 32]),
        sharing: PublicKey([0x5a; 32]),
        client_ts: TS,
    };
    let enrol = EnrolStatement {
        format: 1,
        log: LOG,
        identity_epoch: 1,
        device: DEVICE,
        signing: PublicKey([0xd1; 32]),
        agreement: PublicKey([0xd2; 32]),
        name: bytes("sealed name"),
        client_ts: TS,
    };
    let by = DeviceId([0x0e; 16]);
    let revoke = RevokeStatement { format: 1, log: LOG, identity_epoch: 1, device: DEVICE, last: DeviceSeq(300), by, client_ts: TS };
    let rotate = RotateStatement {
        format: 1,
        log: LOG,
        identity_epoch: 2,
        signing: PublicKey([0x2d; 32]),
        sharing: PublicKey([0x5b; 32]),
        by,
        version: 2,
        epoch: 2,
        keyring: Hash([0x4b; 32]),
        recovery: PublicKey([0x4d; 32]),
        members: vec![Member { device: by, enrol: Hash([0xe0; 32]) }],
        revoked: vec![Leaver { device: DeviceId([0x0f; 16]), last: DeviceSeq(300) }],
        client_ts: TS,
    };
    let rekey = RekeyStatement { format: 1, log: LOG, identity_epoch: 2, version: 3, keyring: Hash([0x4c; 32]), client_ts: TS };
    [
        RosterChange::Identity(IdentityChange { signed: signed(encode(&identity)) }),
        RosterChange::Enrol(EnrolChange { signed: signed(encode(&enrol)) }),
        RosterChange::Revoke(RevokeChange { signed: signed(encode(&revoke)) }),
        RosterChange::Rotate(RotateChange { signed: signed(encode(&rotate)), endorsement: Signature([0x52; 64]) }),
        RosterChange::Rekey(RekeyChange { signed: signed(encode(&rekey)) }),
    ]
}

fn roster() -> Vec<RosterRow> {
    let rows = changes().into_iter().zip(1..);
    rows.map(|(change, seq)| RosterRow { seq: Seq(seq), server_ts: TS, change }).collect()
}

fn entries() -> Vec<Entry> {
    roster().into_iter().map(Entry::Roster).chain([Entry::Batch(batch())]).collect()
}

fn row() -> Row {
    Row { seq: Seq(70_000), server_ts: TS, envelope: envelope(), origin: None }
}

fn cursor() -> Cursor {
    Cursor { timeline: TIMELINE, seq: Seq(70_000), row: ShortHash([0x88; 8]) }
}

fn last() -> LastPush {
    LastPush { device_seq: DeviceSeq(300), hash: Hash([0xba; 32]), seq: Seq(70_000) }
}

/// Every frame, named.
pub(crate) fn frames() -> Vec<(&'static str, Frame)> {
    let mut frames = connection_frames();
    frames.extend(account_frames());
    frames.extend(log_frames());
    frames.extend(push_frames());
    frames.extend(event_frames());
    frames
}

fn connection_frames() -> Vec<(&'static str, Frame)> {
    let issue = RecordIssue { key: key(), code: ErrorCode::Stale, current: Version(4), current_seq: Seq(69_999), grows: 0 };
    let full = Failure {
        request: 9,
        code: ErrorCode::Stale,
        message: "1 record".to_owned(),
        retry_after_ms: Some(250),
        records: vec![issue],
        last: Some(Box::new(last())),
        quota: None,
        device: Some(DEVICE),
        lineage: lineage().into(),
        server_ts: Some(Box::new(TS)),
    };
    let over = Failure {
        records: vec![RecordIssue {
            key: key(),
            code: ErrorCode::QuotaExceeded,
            current: Version(4),
            current_seq: Seq(69_999),
            grows: 700,
        }],
        quota: Some(Box::new(Usage { used: 9_999_744, limit: 10_000_000, need: 700, at: Seq(70_000) })),
        ..Failure::new(9, ErrorCode::QuotaExceeded, "full")
    };
    let user = UserId([0x05; 16]);
    let token_expires_ts = TS + 900_000;
    vec![
        ("challenge", Challenge { nonce: Nonce([0x4e; 32]), server_ts: TS, version_min: 1, version_max: 1 }.into()),
        (
            "hello",
            Hello {
                version_min: 1,
                version_max: 1,
                token: "header.claims.signature".to_owned(),
                device: DEVICE,
                signature: signature(),
                client: "cloudsync/0.1.0".to_owned(),
            }
            .into(),
        ),
        (
            "welcome",
            Welcome {
                version: 1,
                session: 12,
                user,
                server_ts: TS,
                token_expires_ts,
                keyring_version: 2,
                nodes: vec!["quic://127.0.0.1:4433".to_owned()],
                timeline: TIMELINE,
            }
            .into(),
        ),
        ("going_away", GoingAway { code: ErrorCode::GoingAway, message: "drain".to_owned(), retry_after_ms: 1000 }.into()),
        ("ping", Ping { number: u64::MAX }.into()),
        ("pong", Pong { number: 0 }.into()),
        ("failure", Failure::new(0, ErrorCode::Malformed, "why").into()),
        ("failure_with_facts", full.into()),
        ("failure_over_quota", over.into()),
    ]
}

fn account_frames() -> Vec<(&'static str, Frame)> {
    let email = || "ada@example.com".to_owned();
    let user = UserId([0x05; 16]);
    let keyring = || bytes("keyring blob");
    let ticket = || bytes("ticket");
    let recovery = PublicKey([0x4c; 32]);
    let finish = |record| SecretFinish { request: 4, ticket: ticket(), changes: changes()[3..].to_vec(), keyring: keyring(), record };
    vec![
        ("register_start", RegisterStart { request: 1, email: email(), message: bytes("blinded") }.into()),
        ("register_started", RegisterStarted { request: 1, message: bytes("evaluated") }.into()),
        (
            "register_finish",
            RegisterFinish { request: 2, email: email(), record: bytes("record"), user, keyring: keyring(), recovery }.into(),
        ),
        ("login_start", LoginStart { request: 1, email: email(), message: bytes("ke1") }.into()),
        ("login_started", LoginStarted { request: 1, message: bytes("ke2") }.into()),
        ("login_finish", LoginFinish { request: 2, message: bytes("ke3") }.into()),
        (
            "authorized",
            Authorized { request: 2, user, ticket: ticket(), keyring_version: 1, keyring: keyring(), roster: roster(), more: false }.into(),
        ),
        ("enrol", Enrol { request: 3, ticket: ticket(), device: DEVICE, changes: changes().to_vec(), proof: signature() }.into()),
        ("refresh", Refresh { request: 1, refresh_token: "refresh".to_owned(), proof: signature() }.into()),
        (
            "tokens",
            Tokens {
                request: 1,
                access_token: "access".to_owned(),
                access_expires_ts: TS,
                refresh_token: "refresh".to_owned(),
                refresh_expires_ts: TS,
            }
            .into(),
        ),
        ("erase_account", EraseAccount { request: 3, ticket: ticket() }.into()),
        ("logout", Logout { request: 1, refresh_token: "refresh".to_owned(), proof: signature() }.into()),
        ("done", Done { request: 1 }.into()),
        ("get_roster", GetRoster { request: 4, ticket: ticket(), after: Seq(3) }.into()),
        ("roster_page", RosterPage { request: 4, roster: roster(), more: true }.into()),
        ("recover", Recover { request: 1, email: email(), signature: signature() }.into()),
        ("secret_start", SecretStart { request: 3, ticket: ticket(), message: bytes("blinded") }.into()),
        ("secret_finish", finish(Some(bytes("record"))).into()),
        ("secret_finish_without_record", finish(None).into()),
        ("authenticate", Authenticate { request: 1, token: "token".to_owned(), signature: signature() }.into()),
        ("authenticated", Authenticated { request: 1, token_expires_ts: TS }.into()),
        ("get_keyring", GetKeyring { request: 1 }.into()),
        ("keyring", Keyring { request: 1, version: 1, keyring: keyring() }.into()),
    ]
}

fn log_frames() -> Vec<(&'static str, Frame)> {
    let (request, log) = (u32::MAX, OWN_LOG);
    let (head, to) = (Seq(70_001), Seq(70_000));
    let token = SnapshotToken { timeline: TIMELINE, start: to, last: Some(key()), roster_after: Some(Seq(2)) };
    let bare = SnapshotToken { timeline: TIMELINE, start: to, last: None, roster_after: None };
    let history = |before| History { request, log, collection: collection(), record: record(), before, count: 100 };
    let page = |roster, resume| SnapshotPage { request, log, start: cursor(), roster, rows: vec![row()], resume };
    vec![
        ("attach", Attach { request, log, cursor: cursor() }.into()),
        (
            "attached",
            Attached {
                request,
                log,
                id: LOG,
                head,
                timeline: TIMELINE,
                generation: Generation(0),
                floor: Seq(1),
                used_bytes: 9_999_744,
                quota_bytes: 10_000_000,
                lineage: lineage(),
            }
            .into(),
        ),
        ("pull", Pull { request, log, from: cursor(), to: head }.into()),
        ("page", Page { request, log, timeline: TIMELINE, from: Seq(0), to, head, entries: entries() }.into()),
        ("snapshot", Snapshot { request, log, resume: None }.into()),
        ("snapshot_resumed", Snapshot { request, log, resume: Some(token.clone()) }.into()),
        ("snapshot_page", page(roster(), Some(token)).into()),
        ("snapshot_page_of_rows", page(Vec::new(), Some(bare)).into()),
        ("snapshot_page_last", page(Vec::new(), None).into()),
        ("history", history(None).into()),
        ("history_before", history(Some(Version(3))).into()),
        ("roster_after", RosterAfter { request, log, after: Seq(3) }.into()),
        ("versions", Versions { request, log, rows: vec![row(), Row { origin: Some(origin()), ..row() }], more: true }.into()),
    ]
}

fn push_frames() -> Vec<(&'static str, Frame)> {
    let (request, log) = (128, OWN_LOG);
    let [_, _, change, ..] = changes();
    let (from, to) = (Seq(69_999), Seq(70_000));
    let hash = Hash([0xba; 32]);
    vec![
        ("claim", Claim { request, log }.into()),
        ("claimed", Claimed { request, log, last: last() }.into()),
        ("push", Push { request, log, signed: signed(encode(&batch_statement())), operations: operations() }.into()),
        ("push_of_wraps", Push { request, log, signed: signed(encode(&rewrap_statement())), operations: vec![rewrap().into()] }.into()),
        ("push_of_adopts", Push { request, log, signed: signed(encode(&adopt_statement())), operations: vec![adopt().into()] }.into()),
        ("pushed", Pushed { request, log, device_seq: DeviceSeq(300), hash, timeline: TIMELINE, from, to }.into()),
        ("change_roster", ChangeRoster { request, log, change }.into()),
        ("roster_changed", RosterChanged { request, log, seq: to }.into()),
    ]
}

fn event_frames() -> Vec<(&'static str, Frame)> {
    let (log, timeline, from, to) = (OWN_LOG, TIMELINE, Seq(0), Seq(70_000));
    let row = ShortHash([0x88; 8]);
    vec![
        ("event", Event { log, timeline, from, to, entries: entries() }.into()),
        ("committed", Committed { log, timeline, from, to, device_seq: DeviceSeq(300), row, server_ts: TS }.into()),
        ("head_at", HeadAt { log, timeline, head: to }.into()),
        ("lagging", Lagging { log, head: to }.into()),
    ]
}
