//! What a batch must be on sight.

use cloudsync_engine::batch::{self, BatchError, StatementError, VerifyError};
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::entry::Put;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::limits::{
    BODY_BYTES_MIN, COLLECTION_NAME_BYTES_MAX, HEADER_BYTES_MAX, PUSH_OPERATIONS_MAX, RECORD_ID_BYTES_MAX, TOMBSTONE_BODY_BYTES_MAX,
    WRAP_BYTES,
};
use cloudsync_protocol::{Batch, CollectionName, ErrorCode, Hash, Header, LogId, Operation, RecordId, Seq, Version};

use crate::maker::{LOG, Write, create, enrol, identity, push, push_of, write};
use crate::support::keys::row;

const NONE: Hash = Hash([0; 32]);

fn check_one(operation: Operation) -> Result<(), ErrorCode> {
    let push = push_of(1, 1, NONE, vec![operation]);
    match batch::check(LOG, &push.signed, &push.operations) {
        Ok(_) => Ok(()),
        Err(BatchError::Invalid(errors)) => Err(errors[0].code()),
        Err(other) => panic!("{other}"),
    }
}

/// An operation with something changed about its header.
fn with_header(change: impl Fn(&mut Header)) -> Operation {
    let Operation::Put(mut put) = create("a").operation(1, 1) else { panic!("a put") };
    let mut header: Header = decode(&put.envelope.header).unwrap();
    change(&mut header);
    put.envelope.header = encode(&header).into();
    Operation::Put(put)
}

fn with_put(change: impl Fn(&mut Put)) -> Operation {
    let Operation::Put(mut put) = create("a").operation(1, 1) else { panic!("a put") };
    change(&mut put);
    Operation::Put(put)
}

#[test]
fn operations_count_from_one_to_their_limit() {
    for (count, fits) in [(0, false), (1, true), (PUSH_OPERATIONS_MAX, true), (PUSH_OPERATIONS_MAX + 1, false)] {
        let writes: Vec<_> = (0..count).map(|n| create(&format!("r{n}"))).collect();
        let push = push(1, 1, NONE, &writes);
        let outcome = batch::check(LOG, &push.signed, &push.operations);
        assert_eq!(outcome.is_ok(), fits);
        assert!(fits || outcome == Err(BatchError::Operations(count)));
    }
}

#[test]
fn every_header_field_must_fit_the_push() {
    assert_eq!(check_one(with_header(|_| ())), Ok(()));
    let changes: [fn(&mut Header); 8] = [
        |header| header.log = LogId([8; 16]),
        |header| header.device.0[0] ^= 1,
        |header| header.device_seq = header.device_seq.next(),
        |header| header.version = Version(2),
        |header| header.parent = Hash([1; 32]),
        |header| header.format = 2,
        |header| header.suite = 2,
        |header| header.flags = 2,
    ];
    for change in changes {
        assert_eq!(check_one(with_header(change)), Err(ErrorCode::HeaderInvalid));
    }
    assert_eq!(check_one(with_put(|put| put.base = Version(u64::MAX))), Err(ErrorCode::HeaderInvalid));
    assert_eq!(check_one(with_put(|put| put.envelope.header = b"\x93".as_slice().into())), Err(ErrorCode::HeaderInvalid));
}

#[test]
fn parts_of_an_envelope_have_their_lengths() {
    let body = |bytes: usize| check_one(Write { body_bytes: bytes, ..create("a") }.operation(1, 1));
    assert_eq!((body(BODY_BYTES_MIN), body(BODY_BYTES_MIN - 1)), (Ok(()), Err(ErrorCode::HeaderInvalid)));
    let tombstone = |bytes: usize| check_one(Write { body_bytes: bytes, ..create("a").dead() }.operation(1, 1));
    assert_eq!((tombstone(TOMBSTONE_BODY_BYTES_MAX), tombstone(TOMBSTONE_BODY_BYTES_MAX + 1)), (Ok(()), Err(ErrorCode::BodyTooLarge)));
    let wrap = |bytes: usize| check_one(with_put(|put| put.envelope.wrap = vec![0; bytes].into()));
    assert_eq!(
        (wrap(WRAP_BYTES), wrap(WRAP_BYTES - 1), wrap(WRAP_BYTES + 1)),
        (Ok(()), Err(ErrorCode::HeaderInvalid), Err(ErrorCode::HeaderInvalid))
    );
}

/// A header with its longest names and numbers, and one field more, as a newer release appends it, to be `bytes` long.
fn with_header_of(bytes: usize) -> Operation {
    let Operation::Put(mut put) = with_header(|header| {
        header.collection = CollectionName::new("c".repeat(COLLECTION_NAME_BYTES_MAX)).unwrap();
        header.record = RecordId::new("r".repeat(RECORD_ID_BYTES_MAX)).unwrap();
        header.hlc = Hlc(u64::MAX);
    }) else {
        panic!("a put")
    };
    let mut header = put.envelope.header.to_vec();
    assert_eq!(header[0], 0x9c, "twelve fields");
    let appended = u8::try_from(bytes - header.len() - 2).unwrap();
    header[0] = 0x9d;
    header.extend([0xc4, appended]);
    header.resize(bytes, 0);
    put.envelope.header = header.into();
    Operation::Put(put)
}

#[test]
fn a_header_has_room_for_what_a_newer_release_appends_up_to_its_limit() {
    assert_eq!(check_one(with_header_of(HEADER_BYTES_MAX)), Ok(()));
    let too_long = with_header_of(HEADER_BYTES_MAX + 1);
    let Operation::Put(put) = &too_long else { panic!("a put") };
    assert!(decode::<Header>(&put.envelope.header).is_ok(), "refused for its length alone");
    assert_eq!(check_one(too_long), Err(ErrorCode::HeaderInvalid));
}

#[test]
fn statement_and_operations_must_be_the_same() {
    let push = push(1, 1, NONE, &[create("a"), create("b")]);
    let outcome = |operations: &[Operation]| batch::check(LOG, &push.signed, operations).unwrap_err();
    assert_eq!(outcome(&push.operations[..1]), BatchError::Hashes { index: 1 });
    let other = write("b", 0, NONE);
    let other = Write { fill: 77, ..other }.operation(1, 1);
    assert_eq!(outcome(&[push.operations[0].clone(), other]), BatchError::Hashes { index: 1 });
    assert_eq!(batch::check(LogId([8; 16]), &push.signed, &push.operations), Err(BatchError::Statement(StatementError::Log(LOG))));
    let zero = push_of(1, 0, NONE, Vec::new());
    assert_eq!(batch::statement(LOG, &zero.signed), Err(StatementError::Zero));
}

#[test]
fn a_receiver_believes_a_batch_that_its_device_signed_while_enrolled() {
    let roster = Roster::from_rows(LOG, &[row(1, identity()), row(5, enrol(1))]).unwrap();
    let made = push(1, 1, NONE, &[create("a")]);
    let at = |first| Batch { first: Seq(first), server_ts: 1, signed: made.signed.clone(), operations: made.operations.clone() };
    assert!(batch::verify(LOG, &roster, &at(6)).is_ok());
    assert!(matches!(batch::verify(LOG, &roster, &at(4)), Err(VerifyError::NotEnrolled { .. })));
    let mut forged = at(6);
    forged.signed.signature.0[0] ^= 1;
    assert!(matches!(batch::verify(LOG, &roster, &forged), Err(VerifyError::Signature { .. })));
}
