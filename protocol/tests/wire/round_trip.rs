//! Whatever a frame holds, it comes back; whatever bytes come, decoding them ends.

use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::entry::{Adopt, Origin, Put, Rewrap};
use cloudsync_protocol::error::{LastPush, RecordIssue, Usage};
use cloudsync_protocol::frame::{Event, Push};
use cloudsync_protocol::statement::{Signature, Signed};
use cloudsync_protocol::{
    Batch, CollectionName, DeviceId, DeviceSeq, Entry, Envelope, ErrorCode, Failure, Frame, Hash, Operation, RecordId, RecordKey, Seq,
    TimelineId, Version,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::samples;

fn signed() -> impl Strategy<Value = Signed> {
    (vec(any::<u8>(), 0..300), any::<[u8; 32]>()).prop_map(|(statement, half)| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&half);
        Signed { statement: statement.into(), signature: Signature(signature) }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let rewrap = (any::<u64>(), vec(any::<u8>(), 0..400)).prop_map(|(epoch, items)| Rewrap { epoch, items: items.into() }.into());
    let adopt = (put(), any::<[u8; 32]>(), any::<[u8; 16]>(), any::<u64>()).prop_map(|(put, over, timeline, seq)| {
        let envelope = put.envelope().unwrap().clone();
        Adopt { over: Hash(over), origin: Origin { timeline: TimelineId(timeline), seq: Seq(seq) }, envelope }.into()
    });
    prop_oneof![4 => put(), 1 => adopt, 1 => rewrap]
}

fn put() -> impl Strategy<Value = Operation> {
    (any::<u64>(), vec(any::<u8>(), 0..100), vec(any::<u8>(), 0..400), vec(any::<u8>(), 0..100)).prop_map(|(base, header, body, wrap)| {
        Operation::Put(Put { base: Version(base), envelope: Envelope { header: header.into(), body: body.into(), wrap: wrap.into() } })
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    let code = (0..ErrorCode::ALL.len()).prop_map(|index| ErrorCode::ALL[index]);
    let key = ("\\PC{1,16}", "\\PC{1,32}").prop_map(|(collection, record)| RecordKey {
        collection: CollectionName::new(collection).unwrap(),
        record: RecordId::new(record).unwrap(),
    });
    let issue = (key, code.clone(), any::<[u64; 3]>()).prop_map(|(key, code, [current, seq, grows])| RecordIssue {
        key,
        code,
        current: Version(current),
        current_seq: Seq(seq),
        grows,
    });
    let last = (any::<u64>(), any::<[u8; 32]>(), any::<u64>())
        .prop_map(|(device_seq, hash, seq)| Box::new(LastPush { device_seq: DeviceSeq(device_seq), hash: Hash(hash), seq: Seq(seq) }));
    let quota = any::<[u64; 4]>().prop_map(|[used, limit, need, at]| Box::new(Usage { used, limit, need, at: Seq(at) }));
    let facts = (
        vec(issue, 0..4),
        proptest::option::of(last),
        proptest::option::of(quota),
        (any::<Option<[u8; 16]>>(), vec(any::<([u8; 16], u64)>(), 0..3), any::<Option<u64>>()),
    );
    (any::<u32>(), code, ".{0,40}", any::<Option<u32>>(), facts).prop_map(
        |(request, code, message, retry_after_ms, (records, last, quota, (device, lineage, server_ts)))| Failure {
            request,
            code,
            message,
            retry_after_ms,
            records,
            last,
            quota,
            device: device.map(DeviceId),
            lineage: lineage.into_iter().map(|(timeline, seq)| (TimelineId(timeline), Seq(seq))).collect(),
            server_ts: server_ts.map(Box::new),
        },
    )
}

proptest! {
    #[test]
    fn pushes_come_back(request in any::<u32>(), log in any::<u32>(), signed in signed(), operations in vec(operation(), 0..5)) {
        let push = Push { request, log, signed, operations };
        prop_assert!(push.counted_bytes() < encode(&Frame::from(push.clone())).len());
        prop_assert_eq!(decode::<Frame>(&encode(&Frame::from(push.clone()))).unwrap(), Frame::from(push));
    }

    #[test]
    fn events_come_back(first in 1..u64::MAX / 2, server_ts in any::<u64>(), signed in signed(), operations in vec(operation(), 1..5)) {
        let entry = Entry::Batch(Batch { first: Seq(first), server_ts, signed, operations });
        let timeline = TimelineId([3; 16]);
        let event = Frame::from(Event { log: 0, timeline, from: Seq(first - 1), to: entry.last(), entries: vec![entry] });
        prop_assert_eq!(decode::<Frame>(&encode(&event)).unwrap(), event);
    }

    #[test]
    fn failures_come_back(failure in failure()) {
        let frame = Frame::from(failure);
        prop_assert_eq!(decode::<Frame>(&encode(&frame)).unwrap(), frame);
    }

    #[test]
    fn random_bytes_end_in_an_error_or_in_a_frame(bytes in vec(any::<u8>(), 0..400)) {
        if let Ok(frame) = decode::<Frame>(&bytes) {
            prop_assert_eq!(decode::<Frame>(&encode(&frame)).unwrap(), frame);
        }
    }

    #[test]
    fn a_flipped_byte_never_panics(sample in 0..samples::frames().len(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&samples::frames().remove(sample).1);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(frame) = decode::<Frame>(&bytes) {
            prop_assert_eq!(decode::<Frame>(&encode(&frame)).unwrap(), frame);
        }
    }
}
