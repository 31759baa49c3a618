//! Enrolling the device that a connection is.
//!
//! Never: tokens for a device whose key the other end does not hold.

use cloudsync_accounts::TICKET_LIFETIME;
use cloudsync_protocol::frame::GetRoster;
use cloudsync_protocol::limits::{DEVICES_MAX, FRAME_BYTES_MAX, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{EnrolChange, IdentityChange, RevokeChange, RosterChange};
use cloudsync_protocol::{ErrorCode, Failure, Frame, Seq, codec};
use cloudsync_storage::memory::{Fault, Target};

use crate::support::{Device, EMAIL, NOW_MS, PASSWORD, USER, server, unsigned};

/// A statement of that many bytes; the log's owner would look at it.
fn identity(bytes: usize) -> RosterChange {
    RosterChange::Identity(IdentityChange { signed: unsigned(vec![0; bytes]) })
}

#[tokio::test]
async fn enrolling_appends_the_changes_and_gives_tokens_of_that_device() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    let tokens = connection.enrol(&authorized, &device, vec![identity(10), device.enrolment(USER)]).await.unwrap();
    assert_eq!((tokens.request, server.ledger.len(USER)), (5, 2));
    let access = server.accounts.verify_access(&tokens.access_token, NOW_MS).unwrap();
    assert_eq!((access.user, access.device, access.expires_ts), (USER, device.id, tokens.access_expires_ts));
    server.connect().refresh(&device, &tokens.refresh_token).await.unwrap();
}

#[tokio::test]
async fn enrolling_again_succeeds_on_this_connection_and_without_changes_on_another() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    for _ in 0..2 {
        connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap();
    }
    let mut connection = server.connect();
    let authorized = connection.log_in(EMAIL, PASSWORD).await.unwrap();
    let tokens = connection.enrol(&authorized, &device, Vec::new()).await.unwrap();
    assert_eq!(server.accounts.verify_access(&tokens.access_token, NOW_MS).unwrap().device, device.id);
}

#[tokio::test]
async fn the_ticket_of_another_connection_is_refused() {
    let (server, device) = (server(), Device::new(1));
    let authorized = server.connect().register(EMAIL, PASSWORD).await.unwrap();
    let failure = server.connect().enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap_err();
    assert_eq!((failure.code, failure.request, server.ledger.len(USER)), (ErrorCode::TicketInvalid, 5, 0));
}

#[tokio::test]
async fn a_ticket_holds_for_its_lifetime_and_no_longer() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    connection.now_ms += u64::try_from(TICKET_LIFETIME.as_millis()).unwrap();
    let late = connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::TicketInvalid);
    connection.now_ms -= 1;
    connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap();
}

#[tokio::test]
async fn a_ticket_enrols_one_device() {
    let (server, device, other) = (server(), Device::new(1), Device::new(2));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap();
    let failure = connection.enrol(&authorized, &other, vec![other.enrolment(USER)]).await.unwrap_err();
    assert_eq!((failure.code, server.ledger.len(USER)), (ErrorCode::TicketInvalid, 1));
}

#[tokio::test]
async fn a_proof_by_another_key_appends_nothing() {
    let (server, device, mut thief) = (server(), Device::new(1), Device::new(2));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    thief.id = device.id;
    let failure = connection.enrol(&authorized, &thief, vec![device.enrolment(USER)]).await.unwrap_err();
    assert_eq!((failure.code, server.ledger.len(USER)), (ErrorCode::SignatureInvalid, 0));
    // Nor is a device that is enrolled already taken by its id.
    connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap();
    let failure = connection.enrol(&authorized, &thief, Vec::new()).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SignatureInvalid);
}

#[tokio::test]
async fn changes_that_are_not_this_enrolment_are_refused() {
    let (server, device, other) = (server(), Device::new(1), Device::new(2));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    for changes in [
        vec![other.enrolment(USER)],
        vec![identity(10)],
        vec![other.revocation(USER)],
        vec![device.revocation(USER), device.enrolment(USER)],
        vec![device.enrolment(USER), device.enrolment(USER)],
        vec![device.enrolment(USER), other.revocation(USER)],
        vec![RosterChange::Enrol(EnrolChange { signed: unsigned(vec![0xc1]) })],
        vec![RosterChange::Revoke(RevokeChange { signed: unsigned(vec![0xc1]) }), device.enrolment(USER)],
    ] {
        assert_eq!(connection.enrol(&authorized, &device, changes).await.unwrap_err().code, ErrorCode::StatementInvalid);
    }
    assert_eq!(server.ledger.len(USER), 0);
}

#[tokio::test]
async fn a_statement_may_be_as_long_as_the_limit_and_no_longer() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    let over = vec![identity(STATEMENT_BYTES_MAX + 1), device.enrolment(USER)];
    assert_eq!(connection.enrol(&authorized, &device, over).await.unwrap_err().code, ErrorCode::StatementInvalid);
    connection.enrol(&authorized, &device, vec![identity(STATEMENT_BYTES_MAX), device.enrolment(USER)]).await.unwrap();
}

#[tokio::test]
async fn revokes_that_make_room_go_with_the_enrolment_as_many_as_there_can_be_devices() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    let mut changes = vec![identity(10)];
    changes.extend((0..DEVICES_MAX).map(|at| Device::new(u8::try_from(at + 2).unwrap()).revocation(USER)));
    changes.push(device.enrolment(USER));
    connection.enrol(&authorized, &device, changes.clone()).await.unwrap();
    assert_eq!(server.ledger.len(USER), DEVICES_MAX + 2);
    changes.insert(0, Device::new(100).revocation(USER));
    assert_eq!(connection.enrol(&authorized, &device, changes).await.unwrap_err().code, ErrorCode::StatementInvalid);
}

#[tokio::test]
async fn a_long_roster_comes_in_pages() {
    let server = server();
    server.connect().register(EMAIL, PASSWORD).await.unwrap();
    server.ledger.append(USER, vec![identity(STATEMENT_BYTES_MAX); 200]);
    let mut connection = server.connect();
    let authorized = connection.log_in(EMAIL, PASSWORD).await.unwrap();
    let (mut rows, mut more, mut pages) = (authorized.roster, authorized.more, 1);
    while more {
        assert!(codec::encode(&rows).len() < FRAME_BYTES_MAX);
        let after = rows.last().unwrap().seq;
        let Frame::RosterPage(page) = connection.send(GetRoster { request: 8, ticket: authorized.ticket.clone(), after }).await.unwrap()
        else {
            panic!("another answer")
        };
        assert_eq!(page.request, 8);
        rows.extend(page.roster);
        (more, pages) = (page.more, pages + 1);
    }
    let seqs: Vec<u64> = rows.iter().map(|row| row.seq.0).collect();
    assert_eq!((seqs, pages), ((1..=200).collect(), 4));
    let stranger = GetRoster { request: 8, ticket: authorized.ticket, after: Seq::ZERO };
    assert_eq!(server.connect().send(stranger).await.unwrap_err().code, ErrorCode::TicketInvalid);
}

#[tokio::test]
async fn a_device_that_is_unknown_or_revoked_gets_no_tokens() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    assert_eq!(connection.enrol(&authorized, &device, Vec::new()).await.unwrap_err().code, ErrorCode::DeviceUnknown);
    server.ledger.append(USER, vec![device.enrolment(USER), device.revocation(USER)]);
    assert_eq!(connection.enrol(&authorized, &device, Vec::new()).await.unwrap_err().code, ErrorCode::DeviceRevoked);
}

#[tokio::test]
async fn what_the_log_refuses_is_passed_on_as_the_answer() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    server.ledger.refuse(Failure::new(0, ErrorCode::DevicesFull, "64 devices"));
    let failure = connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap_err();
    assert_eq!(failure, Failure::new(5, ErrorCode::DevicesFull, "64 devices"));
}

#[tokio::test]
async fn a_family_of_unknown_outcome_is_looked_for() {
    let (server, device) = (server(), Device::new(1));
    let mut connection = server.connect();
    let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
    server.faults.script(Target::Write, Fault::Lost);
    let failure = connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap_err();
    assert_eq!((failure.code, failure.retry_after_ms), (ErrorCode::StoreUnavailable, Some(1_000)));
    server.faults.script(Target::Write, Fault::Applied);
    let tokens = connection.enrol(&authorized, &device, Vec::new()).await.unwrap();
    server.connect().refresh(&device, &tokens.refresh_token).await.unwrap();
}
