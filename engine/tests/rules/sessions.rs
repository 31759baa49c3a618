//! Credit, event queues and cursors.

use cloudsync_engine::invariants::Rising;
use cloudsync_engine::session::{Attachment, Credit, CreditError, EventQueue, Offered, Outgoing, Session, TokenState};
use cloudsync_engine::user::{CommitOutcome, Effect, Event, Stop};
use cloudsync_protocol::limits::{DEVICE_QUEUE_BYTES_MAX, DEVICE_QUEUE_FRAMES_MAX, UNANSWERED_BYTES_MAX, UNANSWERED_REQUESTS_MAX};
use cloudsync_protocol::{Cursor, ErrorCode, Frame, Hash, Seq, ShortHash, TimelineId};

use crate::desk::{Desk, code};
use crate::maker::{create, peer, push};
use crate::support::store::{Store, Variant};

const NONE: Hash = Hash([0; 32]);

#[test]
fn a_request_id_is_not_zero_and_not_in_use() {
    let mut credit = Credit::default();
    assert_eq!(credit.take(0, 1), Err(CreditError::Zero));
    assert_eq!(credit.take(7, 1), Ok(()));
    assert_eq!(credit.take(7, 1), Err(CreditError::InUse(7)));
    assert!(credit.answered(7) && !credit.answered(7));
    assert_eq!(credit.take(7, 1), Ok(()));
}

#[test]
fn unanswered_requests_have_a_count_and_a_size() {
    let mut credit = Credit::default();
    (1..=u32::try_from(UNANSWERED_REQUESTS_MAX).unwrap()).for_each(|request| credit.take(request, 1).unwrap());
    assert_eq!(credit.take(99, 1), Err(CreditError::Requests));
    assert_eq!(CreditError::Requests.code(), ErrorCode::TooManyRequests);

    let mut credit = Credit::default();
    credit.take(1, UNANSWERED_BYTES_MAX - 10).unwrap();
    assert_eq!(credit.take(2, 11), Err(CreditError::Bytes { bytes: UNANSWERED_BYTES_MAX + 1 }));
    assert_eq!(credit.take(2, 10), Ok(()));
    credit.answered(1);
    assert_eq!(credit.take(3, UNANSWERED_BYTES_MAX - 9), Err(CreditError::Bytes { bytes: UNANSWERED_BYTES_MAX + 1 }));
    assert_eq!(credit.take(3, UNANSWERED_BYTES_MAX - 10), Ok(()));
}

#[test]
fn a_full_queue_drops_its_events_and_says_lagging_once() {
    let mut queue = EventQueue::default();
    assert_eq!(queue.offer(0, 1, Seq(1)), Offered::Dropped);
    queue.attach();
    (0..DEVICE_QUEUE_FRAMES_MAX).for_each(|n| assert_eq!(queue.offer(n, 1, Seq(1)), Offered::Queued));
    assert_eq!(queue.offer(999, 1, Seq(77)), Offered::Overflowed);
    assert_eq!(queue.offer(999, 1, Seq(78)), Offered::Dropped);
    assert_eq!((queue.pop(), queue.pop()), (Some(Outgoing::Lagging { head: Seq(77) }), None));
    assert_eq!((queue.offer(1, 1, Seq(79)), queue.attachment()), (Offered::Dropped, Attachment::Lagging));
    queue.attach();
    assert_eq!((queue.offer(2, 1, Seq(80)), queue.pop()), (Offered::Queued, Some(Outgoing::Event(2))));
}

#[test]
fn a_queue_is_full_by_its_bytes_as_well() {
    let mut queue = EventQueue::default();
    queue.attach();
    assert_eq!(queue.offer('a', DEVICE_QUEUE_BYTES_MAX, Seq(1)), Offered::Queued);
    assert_eq!(queue.offer('b', 1, Seq(2)), Offered::Overflowed);
    assert_eq!((queue.len(), queue.bytes()), (1, 0));
}

#[test]
fn a_token_holds_until_its_time_and_a_fresh_one_goes_on() {
    let mut session: Session<()> = Session::new(peer(1, 1), 1000);
    assert_eq!((session.token(999), session.token(1000)), (TokenState::Valid, TokenState::Expired));
    session.authenticated(2000);
    session.authenticated(1500);
    assert_eq!(session.token(1999), TokenState::Valid);
}

fn with_rows() -> (Desk, Cursor) {
    let mut desk = Desk::with_devices(1);
    desk.pushed(peer(1, 1), push(1, 1, NONE, &[create("a"), create("b"), create("c")]));
    let head = desk.user.head().unwrap();
    let cursor = Cursor { timeline: head.timeline, seq: Seq(3), row: desk.store.row(Seq(3)).unwrap() };
    (desk, cursor)
}

#[test]
fn a_cursor_of_this_log_attaches_and_is_told_the_head() {
    let (mut desk, cursor) = with_rows();
    let head = Cursor { seq: Seq(5), row: desk.user.head().unwrap().row, ..cursor };
    let beginning = Cursor { seq: Seq(0), timeline: TimelineId([0; 16]), row: ShortHash::default() };
    for cursor in [cursor, head, beginning] {
        assert!(matches!(desk.attach(peer(2, 1), cursor), Frame::Attached(attached) if attached.head == Seq(5)));
    }
    assert_eq!(desk.user.attached().count(), 1);
}

#[test]
fn cursors_that_are_not_of_this_log_are_refused() {
    let (mut desk, cursor) = with_rows();
    let row = ShortHash([1; 8]);
    for (cursor, expected) in [
        (Cursor { timeline: TimelineId([9; 16]), ..cursor }, ErrorCode::TimelineUnknown),
        (Cursor { seq: Seq(6), ..cursor }, ErrorCode::StoreRewound),
        (Cursor { row, ..cursor }, ErrorCode::StoreRewound),
        (Cursor { seq: Seq(5), row, ..cursor }, ErrorCode::StoreRewound),
    ] {
        assert_eq!(code(desk.attach(peer(2, 1), cursor)), expected);
    }
    assert_eq!(desk.user.attached().count(), 0);
}

#[test]
fn an_owner_that_was_replaced_does_not_say_rewound() {
    let (mut desk, cursor) = with_rows();
    let mut other = Desk::over(std::mem::replace(&mut desk.store, Store::new(Variant::AsDesigned)), 2, Vec::new());
    other.say(Event::Start);
    let hash = push(1, 1, NONE, &[create("a"), create("b"), create("c")]).signed.hash();
    other.pushed(peer(3, 1), push(1, 2, hash, &[create("d")]));
    desk.store = other.store;
    let newer = Cursor { seq: Seq(6), row: desk.store.row(Seq(6)).unwrap(), ..cursor };
    assert_eq!(code(desk.attach(peer(2, 1), newer)), ErrorCode::Busy);
    assert_eq!(desk.stop(), Some(Stop::Fenced));
}

/// Pages are read past the owner: one may have a row whose commit the owner does not know to be durable yet.
#[test]
fn a_cursor_on_a_commit_that_the_owner_does_not_know_durable_yet_is_busy_and_not_rewound() {
    let (mut desk, cursor) = with_rows();
    let hash = push(1, 1, NONE, &[create("a"), create("b"), create("c")]).signed.hash();
    desk.tell_push(peer(1, 1), push(1, 2, hash, &[create("d")]));
    let commit = loop {
        match desk.waiting.pop_front().unwrap() {
            Effect::Persist(commit) => break commit,
            other => {
                desk.waiting.push_back(other);
                desk.run_one();
            }
        }
    };
    let applied = desk.store.plan_commit((*commit).clone());
    assert!(desk.store.apply(applied).unwrap());
    let ahead = Cursor { seq: Seq(6), row: desk.store.row(Seq(6)).unwrap(), ..cursor };
    assert_eq!(code(desk.attach(peer(2, 1), ahead)), ErrorCode::Busy);
    desk.say(Event::Persisted { commit: commit.head.commit, outcome: CommitOutcome::Durable });
    assert!(matches!(desk.attach(peer(2, 1), ahead), Frame::Attached(attached) if attached.head == Seq(6)));
    assert_eq!(code(desk.attach(peer(2, 1), Cursor { seq: Seq(7), ..ahead })), ErrorCode::StoreRewound);
}

fn below_floor() -> (Desk, Cursor) {
    let (mut desk, cursor) = with_rows();
    desk.store.head.as_mut().unwrap().floor = Seq(4);
    (desk.unchecked_successor(), cursor)
}

#[test]
fn history_that_was_cut_asks_for_a_snapshot() {
    let (mut desk, cursor) = below_floor();
    assert_eq!(code(desk.attach(peer(2, 1), cursor)), ErrorCode::BelowFloor);
}

#[test]
fn what_is_told_out_of_order_is_noticed() {
    let mut rising = Rising::default();
    rising.told(Seq(0), Seq(2)).unwrap();
    assert!(rising.told(Seq(1), Seq(3)).is_err());
    rising.resync(Seq(1));
    rising.told(Seq(1), Seq(3)).unwrap();
}
