//! Registering: what is taken, what is refused, and that asking again is harmless.
//!
//! Never: the password on the server's side.

use bytes::Bytes;
use cloudsync_accounts::Options;
use cloudsync_protocol::frame::{Ping, RegisterStart};
use cloudsync_protocol::limits::{EMAIL_BYTES_MAX, KEYRING_BYTES_MAX};
use cloudsync_protocol::{ErrorCode, Frame, UserId};
use cloudsync_storage::memory::{Fault, Target};

use crate::support::{EMAIL, KEYRING, PASSWORD, USER, server, server_with};

#[tokio::test]
async fn registering_gives_a_ticket_and_the_keyring_back() {
    let server = server();
    let authorized = server.connect().register(EMAIL, PASSWORD).await.unwrap();
    assert_eq!((authorized.request, authorized.user, authorized.keyring_version), (2, USER, 1));
    assert_eq!(authorized.keyring, KEYRING);
    assert!(authorized.roster.is_empty());
}

#[tokio::test]
async fn the_very_same_registration_again_succeeds_on_this_connection_and_on_another() {
    let server = server();
    let mut connection = server.connect();
    let registering = connection.register_start(EMAIL, PASSWORD).await.unwrap();
    connection.authorized(registering.finish.clone()).await.unwrap();
    connection.authorized(registering.finish.clone()).await.unwrap();
    let mut later = server.connect_at(connection.now_ms + 60_000);
    later.send(registering.start).await.unwrap();
    assert_eq!(later.authorized(registering.finish).await.unwrap().user, USER);
}

#[tokio::test]
async fn another_registration_for_the_address_is_refused_and_changes_nothing() {
    let server = server();
    let first = server.connect().register_start(EMAIL, PASSWORD).await.unwrap();
    server.connect().register(EMAIL, PASSWORD).await.unwrap();
    let mut connection = server.connect();
    for (user, keyring) in [(USER, Bytes::from_static(KEYRING)), (UserId([2; 16]), Bytes::from_static(b"another"))] {
        let mut other = connection.register_start("Ada@EXAMPLE.com", "another password").await.unwrap().finish;
        (other.user, other.keyring) = (user, keyring);
        assert_eq!(connection.send(other).await.unwrap_err().code, ErrorCode::EmailTaken);
    }
    drop(first);
    assert_eq!(server.connect().log_in(EMAIL, PASSWORD).await.unwrap().keyring, KEYRING);
}

#[tokio::test]
async fn the_same_registration_with_another_keyring_or_recovery_key_is_refused() {
    let server = server();
    let mut connection = server.connect();
    let finish = connection.register_start(EMAIL, PASSWORD).await.unwrap().finish;
    connection.authorized(finish.clone()).await.unwrap();
    let mut keyring = finish.clone();
    keyring.keyring = Bytes::from_static(b"another");
    assert_eq!(connection.send(keyring).await.unwrap_err().code, ErrorCode::EmailTaken);
    let mut recovery = finish;
    recovery.recovery.0[0] ^= 1;
    assert_eq!(connection.send(recovery).await.unwrap_err().code, ErrorCode::EmailTaken);
}

#[tokio::test]
async fn a_user_id_that_is_taken_is_refused() {
    let server = server();
    server.connect().register(EMAIL, PASSWORD).await.unwrap();
    let failure = server.connect().register("bob@example.com", PASSWORD).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::UserTaken, 2));
}

#[tokio::test]
async fn a_write_of_unknown_outcome_that_stands_is_a_registration() {
    let server = server();
    server.faults.script(Target::Write, Fault::Applied);
    assert_eq!(server.connect().register(EMAIL, PASSWORD).await.unwrap().user, USER);
}

#[tokio::test]
async fn a_write_that_was_lost_is_said_and_can_be_sent_again() {
    let server = server();
    let mut connection = server.connect();
    let finish = connection.register_start(EMAIL, PASSWORD).await.unwrap().finish;
    for fault in [Fault::Lost, Fault::Unavailable] {
        server.faults.script(Target::Write, fault);
        let failure = connection.send(finish.clone()).await.unwrap_err();
        assert_eq!((failure.code, failure.retry_after_ms), (ErrorCode::StoreUnavailable, Some(1_000)));
    }
    server.faults.script(Target::Write, Fault::Full);
    let failure = connection.send(finish.clone()).await.unwrap_err();
    assert_eq!((failure.code, failure.retry_after_ms), (ErrorCode::StoreFull, Some(60_000)));
    assert_eq!(connection.authorized(finish).await.unwrap().user, USER);
}

#[tokio::test]
async fn a_server_that_is_closed_takes_no_registration_at_either_step() {
    let closed = server_with(&Options::default());
    let mut connection = closed.connect();
    let failure = connection.register(EMAIL, PASSWORD).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::RegistrationClosed, 1));
    let finish = server().connect().register_start(EMAIL, PASSWORD).await.unwrap().finish;
    assert_eq!(connection.send(finish).await.unwrap_err().code, ErrorCode::RegistrationClosed);
}

#[tokio::test]
async fn a_keyring_may_be_as_large_as_the_limit_and_no_larger() {
    let server = server();
    let mut connection = server.connect();
    let mut finish = connection.register_start(EMAIL, PASSWORD).await.unwrap().finish;
    for bytes in [0, KEYRING_BYTES_MAX + 1] {
        finish.keyring = vec![7; bytes].into();
        assert_eq!(connection.send(finish.clone()).await.unwrap_err().code, ErrorCode::KeyringInvalid, "{bytes} B");
    }
    finish.keyring = vec![7; KEYRING_BYTES_MAX].into();
    assert_eq!(connection.authorized(finish).await.unwrap().keyring.len(), KEYRING_BYTES_MAX);
}

#[tokio::test]
async fn an_address_may_be_as_long_as_the_limit_and_no_longer() {
    let server = server();
    let mut connection = server.connect();
    let at = format!("{}@example.com", "a".repeat(EMAIL_BYTES_MAX - "@example.com".len()));
    connection.register_start(&at, PASSWORD).await.unwrap();
    for refused in [format!("a{at}"), "ada".to_owned(), "ada@exa mple.com".to_owned()] {
        assert_eq!(connection.register_start(&refused, PASSWORD).await.map(drop).unwrap_err().code, ErrorCode::EmailInvalid, "{refused}");
    }
}

#[tokio::test]
async fn the_second_step_without_the_first_or_for_another_address_is_out_of_order() {
    let server = server();
    let mut connection = server.connect();
    let finish = connection.register_start(EMAIL, PASSWORD).await.unwrap().finish;
    let mut other = finish.clone();
    other.email = "bob@example.com".to_owned();
    assert_eq!(connection.send(other).await.unwrap_err().code, ErrorCode::OpaqueInvalid);
    let failure = server.connect().send(finish).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::OpaqueInvalid, 2));
}

#[tokio::test]
async fn what_is_no_opaque_message_is_refused() {
    let server = server();
    let mut connection = server.connect();
    for message in [Vec::new(), vec![0; 32], vec![255; 32], vec![1; 4096]] {
        let start = RegisterStart { request: 1, email: EMAIL.to_owned(), message: message.into() };
        assert_eq!(connection.send(start).await.unwrap_err().code, ErrorCode::OpaqueInvalid);
    }
    let mut finish = connection.register_start(EMAIL, PASSWORD).await.unwrap().finish;
    finish.record = finish.record.slice(1..);
    assert_eq!(connection.send(finish).await.unwrap_err().code, ErrorCode::OpaqueInvalid);
}

#[tokio::test]
async fn a_frame_that_is_no_account_call_and_a_request_without_a_number_close_the_connection() {
    let server = server();
    let mut connection = server.connect();
    let failure = connection.send(Frame::from(Ping { number: 1 })).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::UnexpectedFrame, 0));
    let start = RegisterStart { request: 0, email: EMAIL.to_owned(), message: Bytes::new() };
    let failure = connection.send(start).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::RequestIdInUse, 0));
}
