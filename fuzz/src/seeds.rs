//! Where fuzzing starts: an input of each kind, made here, of what is written today.
//!
//! Never: a draw. The same seeds come out each time, byte for byte.

use bytes::Bytes;
use cloudsync_client::statement::{self, BatchFacts, RevokeFacts};
use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::entry::{Put, Rewrap, RosterRow};
use cloudsync_protocol::frame::{Page, Push};
use cloudsync_protocol::id::decode_hex;
use cloudsync_protocol::limits::REWRAP_ITEM_BYTES;
use cloudsync_protocol::statement::{FORMAT, Member, PublicKey, RekeyStatement, RosterChange, RotateStatement, Signed};
use cloudsync_protocol::{Batch, DeviceId, DeviceSeq, Entry, Envelope, Frame, Hash, Operation, Seq, TimelineId, Version};

use crate::maker;

/// A target's name, the seed's name, its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// Every seed.
///
/// # Panics
/// When the golden bytes or the vectors that it starts from are not there as they are expected.
#[must_use]
pub fn all() -> Vec<Seed> {
    [frames(), envelopes(), cursors(), statements(), csv()].concat()
}

fn named<const N: usize>(target: &'static str, seeds: [(&str, Vec<u8>); N]) -> Vec<Seed> {
    seeds.into_iter().map(|(name, bytes)| (target, name.to_owned(), bytes)).collect()
}

/// `protocol/tests/golden`, by name.
fn golden() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("../../protocol/tests/golden/frames.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(name, hex)| (name, decode_hex(hex).expect("golden bytes are hexadecimal")))
}

fn frames() -> Vec<Seed> {
    let golden = golden().filter(|(_, bytes)| decode::<Frame>(bytes).is_ok());
    let mut seeds: Vec<Seed> = golden.map(|(name, bytes)| ("frames", name.to_owned(), bytes)).collect();
    let past = named("frames", [("page_past_the_last_number", encode(&Frame::from(past_the_last_number())))]);
    seeds.extend(named("frames", [("page_of_a_whole_log", encode(&Frame::from(whole_log())))]).into_iter().chain(past));
    seeds
}

/// Identity, device, and one push of it.
pub(crate) fn whole_log() -> Page {
    let mut entries: Vec<Entry> = changes().into_iter().zip(1..).map(|(change, seq)| row(seq, change).into()).collect();
    let Push { signed, operations, .. } = push();
    entries.push(Batch { first: Seq(3), server_ts: 1, signed, operations }.into());
    Page { request: 1, log: 0, timeline: TimelineId([0x71; 16]), from: Seq(0), to: Seq(3), head: Seq(3), entries }
}

/// Rows as no log has them: numbers are the server's, no device signs them.
fn past_the_last_number() -> Page {
    let Push { signed, operations, .. } = push();
    let entries = vec![Batch { first: Seq(u64::MAX), server_ts: 1, signed, operations: [operations.clone(), operations].concat() }.into()];
    Page { to: Seq(u64::MAX), entries, ..whole_log() }
}

fn row(seq: u64, change: RosterChange) -> RosterRow {
    RosterRow { seq: Seq(seq), server_ts: 1, change }
}

/// What makes an account of a log.
pub(crate) fn changes() -> [RosterChange; 2] {
    let identity = maker::identity();
    let enrolled = statement::enrol(&identity, maker::LOG, &maker::device(), (Bytes::from_static(b"name"), 2));
    [statement::identity(&identity, maker::LOG, 1), enrolled].map(|change| change.expect("this machine computes rightly"))
}

/// The account's device stays, the identity is the next.
pub(crate) fn rotation() -> RotateStatement {
    let [_, enrolled] = changes();
    let next = maker::next_identity();
    RotateStatement {
        format: FORMAT,
        log: maker::LOG,
        identity_epoch: 2,
        signing: next.signing.public(),
        sharing: next.sharing.public(),
        by: maker::device().id,
        version: 2,
        epoch: 2,
        keyring: Hash([5; 32]),
        recovery: PublicKey([6; 32]),
        members: vec![Member { device: maker::device().id, enrol: enrolled.signed().hash() }],
        revoked: Vec::new(),
        client_ts: 5,
    }
}

fn push() -> Push {
    let sealed = maker::seal_padded(maker::header(0), &padded(0, b"1"));
    // The log begins with the first account key; whether a wrap opens is no matter to who believes everything.
    let wrap = [1_u64.to_be_bytes().as_slice(), sealed.wrap.get(8..).unwrap_or_default()].concat().into();
    let envelope = Envelope { wrap, ..sealed };
    push_of(vec![Put { base: Version::NONE, envelope }.into()])
}

fn push_of(operations: Vec<Operation>) -> Push {
    let envelopes = operations.iter().map(Operation::hash).collect();
    let facts = BatchFacts { log: maker::LOG, device_seq: DeviceSeq(1), prev_hash: Hash::default(), envelopes };
    let signed = statement::batch(&maker::device(), facts).expect("this machine computes rightly");
    Push { request: 1, log: 0, signed, operations }
}

fn padded(packing: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a seed is short");
    let mut padded = [&[packing], length.to_be_bytes().as_slice(), content].concat();
    padded.resize(padded.len().next_multiple_of(64), 0);
    padded
}

fn after(choice: &[u8], bytes: &[u8]) -> Vec<u8> {
    [choice, bytes].concat()
}

fn envelopes() -> Vec<Seed> {
    // Version, number of the push, clock; where it is damaged, and how.
    let facts =
        |version: u8, at: u8, flip: u8| [&[version, 0, 0, 0, 0, 0, 0, 0][..], &[3, 0, 0, 0, 0, 0, 0, 0], &[7; 8], &[at, 0, flip]].concat();
    let sent = |envelope: &Envelope| after(&[0], &encode(envelope));
    let gzip = decode_hex("1f8b08000000000002ff4b4c1c0583090000af8a0da690010000").expect("a seed");
    named(
        "envelopes",
        [
            ("sent", sent(&maker::seal_padded(maker::header(0), &padded(0, b"{\"minutes\":25}")))),
            ("sent_tombstone", sent(&maker::seal_padded(maker::header(1), &padded(0, b"")))),
            ("sealed_value", after(&[1, 0], &after(&facts(1, 0, 0), b"{\"minutes\":25}"))),
            ("sealed_later_value_damaged", after(&[1, 0], &after(&facts(2, 99, 1), b"{\"minutes\":50}"))),
            ("sealed_tombstone", after(&[1, 1], &facts(3, 0, 0))),
            ("sealed_compressible_value", after(&[1, 2], &after(&facts(1, 5, 128), b"gather ye rosebuds while ye may"))),
            ("padded_rightly", after(&[2, 0, 0, 0], &padded(0, b"gather ye rosebuds"))),
            ("padded_with_a_one", after(&[2, 0, 0, 0], &[&[0, 0, 0, 0, 1, b'1'], [0; 57].as_slice(), &[1]].concat())),
            ("padded_gzip", after(&[2, 0, 0, 0], &padded(1, &gzip))),
            ("padded_tombstone_with_content", after(&[2, 1, 0, 0], &padded(0, b"1"))),
            ("padded_too_much", after(&[2, 0, 64, 0], &padded(0, b"1"))),
        ],
    )
}

fn cursors() -> Vec<Seed> {
    let input = |[floor, head, seq]: [u64; 3], flags: u8| after(&[floor, head, seq].map(u64::to_le_bytes).concat(), &[flags]);
    named(
        "cursors",
        [
            ("beginning", input([0, 9, 0], 3)),
            ("in_between", input([3, 9, 5], 0)),
            ("in_between_another_row", input([3, 9, 5], 2)),
            ("at_the_head", input([3, 9, 9], 0)),
            ("at_the_head_another_row", input([3, 9, 9], 2)),
            ("at_the_head_that_is_not_known", input([3, 9, 9], 4)),
            ("ahead", input([3, 9, 10], 4)),
            ("at_the_floor_that_is_cut", input([3, 9, 3], 8)),
            ("below_the_floor", input([3, 9, 2], 8)),
            ("another_timeline", input([3, 9, 5], 1)),
            ("everything_cut", input([9, 9, 9], 8)),
            ("the_last_number", input([0, u64::MAX, u64::MAX], 0)),
        ],
    )
}

fn statements() -> Vec<Seed> {
    let of = |wanted: &str| golden().find(|(name, _)| *name == wanted).expect("a golden name").1;
    let keyring: serde_json::Value = serde_json::from_str(include_str!("../../client/vectors/keyring.json")).expect("a vector");
    let keyring = keyring.pointer("/keyrings/0/blob").and_then(|hex| decode_hex(hex.as_str()?)).expect("the vector's blob");
    let keyring: Signed = decode(&keyring).expect("a blob");
    let mut other = maker::device();
    other.id = DeviceId([0x0e; 16]);
    let identity = maker::identity();
    let enrol = statement::enrol(&identity, maker::LOG, &other, (Bytes::from_static(b"name"), 3)).expect("this machine computes rightly");
    let facts = RevokeFacts { device: maker::device().id, last: DeviceSeq(1), by: maker::device().id, client_ts: 4 };
    let revoke = statement::revoke(&identity, maker::LOG, facts).expect("this machine computes rightly");
    let rekey = RekeyStatement { format: FORMAT, log: maker::LOG, identity_epoch: 1, version: 2, keyring: Hash([5; 32]), client_ts: 5 };
    let new_wraps = Rewrap { epoch: 2, items: [[0; REWRAP_ITEM_BYTES], [1; REWRAP_ITEM_BYTES]].concat().into() }.into();
    let stated = |change: &RosterChange| change.signed().statement.to_vec();
    named(
        "statements",
        [
            ("batch", after(&[0, 0], &of("batch_statement"))),
            ("keyring", after(&[1, 0], &keyring.statement)),
            ("header", after(&[2, 0], &of("header"))),
            ("identity", after(&[3, 0], &of("identity_statement"))),
            ("identity_again", after(&[3, 0], &changes().first().map(stated).unwrap_or_default())),
            ("enrol", after(&[4, 0], &of("enrol_statement"))),
            ("enrol_another", after(&[4, 0], &stated(&enrol))),
            ("enrol_by_a_stranger", after(&[4, 1], &stated(&enrol))),
            ("revoke", after(&[5, 0], &stated(&revoke))),
            ("rotate", after(&[6, 0], &of("rotate_statement"))),
            ("rotate_now", after(&[6, 0], &encode(&rotation()))),
            ("rotate_endorsed_by_a_stranger", after(&[6, 1], &encode(&rotation()))),
            ("rekey", after(&[7, 0], &of("rekey_statement"))),
            ("rekey_now", after(&[7, 0], &encode(&rekey))),
            ("push", after(&[8, 0], &encode(&push()))),
            ("push_of_new_wraps", after(&[8, 0], &encode(&push_of(vec![new_wraps])))),
        ],
    )
}

fn csv() -> Vec<Seed> {
    let good = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\n";
    let whole = "\u{feff}actual,date,DONE,extra,estimate,description,word_cnt,X.words\r\n1,2009-04-09,1,x,NA,7,,@a\r\n";
    named(
        "csv",
        [
            ("rows", after(&[0], [good, good, "\"@b,@c\",\"1,2\",7,0,2012-02-29,0.5,11.30\n"].concat().as_bytes())),
            ("a_quote_not_closed", after(&[0], [good, "\"@a,\"1\",1,1,2009-04-09,NA,NA\n", good].concat().as_bytes())),
            ("columns_too_few", after(&[0], [good, "\"@a\",1\n\n", good].concat().as_bytes())),
            ("not_utf_8", after(&[0], b"\"\xff\",1,1,1,2009-04-09,NA,NA\n")),
            ("dates", after(&[0], b"a,1,1,1,2009-02-29,NA,NA\na,1,1,1,2000-02-29,NA,NA\n")),
            ("a_quote_not_closed_in_another_column", after(&[1], b"@a,1,1,1,2009-04-09,NA,NA,\"open\n@a,1,1,1,2009-04-09,NA,NA,x\n")),
            ("lines_that_end_with_a_carriage_return", after(&[0], &[good, "\"@open,1\n", good].concat().replace('\n', "\r").into_bytes())),
            ("whole_file", after(&[2], whole.as_bytes())),
            ("no_columns", after(&[2], b"a,b\n")),
        ],
    )
}
