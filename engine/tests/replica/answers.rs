//! What the answers to a push decide, and what they leave.
//!
//! Never: an answer that is of another batch taken for this one's.

use cloudsync_engine::replica::{BatchState, Fate, Next, Reason, Replica, Tables};
use cloudsync_protocol::{ErrorCode, Failure};

use crate::desk::{conflicts, fate, issue, put, two, write};
use crate::support::keys::{Keys, key, value};
use crate::support::log::Device;

#[test]
fn codes_that_say_nothing_of_the_batch_leave_it_and_say_what_to_do() {
    let (_, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    let busy = Failure { retry_after_ms: Some(70), ..Failure::new(1, ErrorCode::Busy, "") };
    assert_eq!(a.fail(&batch, &busy), Next::Retry { after_ms: 70 });
    assert_eq!(a.fail(&batch, &Failure::new(1, ErrorCode::ClaimFirst, "")), Next::Claim);
    assert_eq!(a.fail(&batch, &Failure::new(1, ErrorCode::NotThePusher, "")), Next::ClaimLater);
    let revoked = Failure::new(1, ErrorCode::DeviceRevoked, "gone");
    assert_eq!(a.fail(&batch, &revoked), Next::Stop { code: ErrorCode::DeviceRevoked, message: "gone".into() });
    assert_eq!(a.outgoing(), Some(batch));
}

#[test]
fn an_answer_to_other_bytes_under_the_same_number_decides_nothing() {
    let (mut log, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let old = a.outgoing().unwrap();
    // The profile becomes another device, whose first batch has the same number.
    let mut anew = Device { tables: a.tables.clone(), ..Device::new(3) };
    Replica::enrolled_anew(&mut anew.tables, &anew.me).unwrap();
    log.change(Keys::new(3).enrol());
    let batch = anew.outgoing().unwrap();
    assert_eq!((batch.device_seq, batch.hash == old.hash), (old.device_seq, false));
    let before = anew.tables.clone();
    let failure = Failure { records: vec![issue(ErrorCode::RecordsFull)], ..Failure::new(1, ErrorCode::Refused, "") };
    assert_eq!(anew.fail(&old, &failure), Next::Push);
    assert_eq!(anew.tables, before);
    let pushed = log.push(&old).unwrap();
    assert!(anew.transact(|replica, _| replica.pushed(&pushed)).is_err());
    assert_eq!(anew.tables, before);
}

#[test]
fn these_codes_decide_a_push_and_no_others() {
    const DECIDING: [ErrorCode; 11] = [
        ErrorCode::Stale,
        ErrorCode::Refused,
        ErrorCode::BaseUnknown,
        ErrorCode::HeaderInvalid,
        ErrorCode::BodyTooLarge,
        ErrorCode::ClockAhead,
        ErrorCode::CollectionsFull,
        ErrorCode::RecordsFull,
        ErrorCode::QuotaExceeded,
        ErrorCode::PushTooLarge,
        ErrorCode::StatementInvalid,
    ];
    let (_, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    let signed = a.tables.clone();
    for code in ErrorCode::ALL.iter().copied().chain([ErrorCode::Unrecognised]) {
        a.tables = signed.clone();
        let named = Failure { records: vec![issue(ErrorCode::HeaderInvalid)], ..Failure::new(1, code, "") };
        a.fail(&batch, &named);
        let state = a.tables.batch(batch.device, batch.device_seq).unwrap().unwrap().state;
        let expected = if DECIDING.contains(&code) { BatchState::Closed } else { BatchState::Open };
        assert_eq!(state, expected, "{code}");
        if state == BatchState::Open {
            assert_eq!(a.outgoing(), Some(batch.clone()), "{code}: the same bytes again");
        }
    }
}

#[test]
fn a_refusal_of_the_whole_push_parks_all_of_it_and_blocks_nothing() {
    for code in [ErrorCode::PushTooLarge, ErrorCode::StatementInvalid, ErrorCode::HeaderInvalid] {
        let (mut log, mut a, _) = two();
        let ids = ["s1", "s2"].map(|record| put(&mut a, record, value("x")));
        let batch = a.outgoing().unwrap();
        assert_eq!(a.fail(&batch, &Failure::new(1, code, "")), Next::Push);
        assert_eq!(fate(&mut a, "s1", ids[0]), Fate::Parked(Reason::Refused(code)));
        assert_eq!(fate(&mut a, "s2", ids[1]), Fate::Parked(Reason::Refused(code)));
        write(&mut a, &mut log, "s3", value("goes on"));
        assert!(log.current.contains_key(&key("s3")));
    }
}

#[test]
fn a_full_store_holds_the_queue_for_a_long_while_and_nothing_of_it_is_given_up() {
    let (mut log, mut a, _) = two();
    let signed = put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    let waiting = put(&mut a, "s2", value("two"));
    let full = Failure::new(1, ErrorCode::StoreFull, "");
    assert_eq!(a.fail(&batch, &full), Next::Retry { after_ms: 60_000 });
    assert_eq!(a.fail(&batch, &Failure { retry_after_ms: Some(5), ..full }), Next::Retry { after_ms: 5 }, "what the answer says");
    assert_eq!((fate(&mut a, "s1", signed), fate(&mut a, "s2", waiting)), (Fate::Signed, Fate::Waiting));
    assert_eq!(a.outgoing(), Some(batch), "the same bytes again");
    a.drain(&mut log);
    assert_eq!((conflicts(&mut a), log.current.len()), (0, 2));
}
