//! Logging in by password.
//!
//! Never: an answer that tells a wrong password from an unknown address.

use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::frame::{LoginFinish, LoginStart};
use cloudsync_storage::memory::Reach;

use crate::support::{Device, EMAIL, KEYRING, PASSWORD, USER, server};

#[tokio::test]
async fn the_right_password_gives_the_keyring_the_roster_and_the_export_key_of_the_registration() {
    let server = server();
    let mut connection = server.connect();
    let registering = connection.register_start(EMAIL, PASSWORD).await.unwrap();
    connection.authorized(registering.finish).await.unwrap();
    server.ledger.append(USER, vec![Device::new(1).enrolment(USER)]);
    let mut connection = server.connect();
    let (finish, export_key) = connection.log_in_start("ADA@example.com", PASSWORD).await.unwrap().unwrap();
    let authorized = connection.authorized(finish).await.unwrap();
    assert_eq!(export_key, registering.export_key);
    assert_eq!((authorized.user, authorized.keyring.as_ref(), authorized.roster.len()), (USER, KEYRING, 1));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_alike() {
    let server = server();
    server.connect().register(EMAIL, PASSWORD).await.unwrap();
    let mut seen = Vec::new();
    for (email, password) in [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD)] {
        let mut connection = server.connect();
        // The length of KE2 is checked on the way; neither client can open it, so that KE3 has to be made up.
        assert!(connection.log_in_start(email, password).await.unwrap().is_none());
        seen.push(connection.send(LoginFinish { request: 4, message: vec![5; 64].into() }).await.unwrap_err());
    }
    assert_eq!(seen[0].code, ErrorCode::CredentialsInvalid);
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn the_answer_of_one_log_in_finishes_no_other() {
    let server = server();
    server.connect().register(EMAIL, PASSWORD).await.unwrap();
    let mut connection = server.connect();
    let (finish, _) = connection.log_in_start(EMAIL, PASSWORD).await.unwrap().unwrap();
    let mut other = server.connect();
    other.log_in_start(EMAIL, PASSWORD).await.unwrap().unwrap();
    assert_eq!(other.send(finish.clone()).await.unwrap_err().code, ErrorCode::CredentialsInvalid);
    connection.authorized(finish.clone()).await.unwrap();
    let again = connection.send(finish).await.unwrap_err();
    assert_eq!((again.code, again.request), (ErrorCode::OpaqueInvalid, 4));
}

#[tokio::test]
async fn a_second_step_without_the_first_is_out_of_order() {
    let server = server();
    let failure = server.connect().send(LoginFinish { request: 4, message: vec![5; 64].into() }).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::OpaqueInvalid);
}

#[tokio::test]
async fn what_is_no_opaque_message_is_refused() {
    let server = server();
    let mut connection = server.connect();
    for message in [Vec::new(), vec![0; 96], vec![255; 96], vec![1; 4096]] {
        let start = LoginStart { request: 3, email: EMAIL.to_owned(), message: message.into() };
        assert_eq!(connection.send(start).await.unwrap_err().code, ErrorCode::OpaqueInvalid);
    }
    connection.log_in_start(EMAIL, PASSWORD).await.unwrap();
    let cut = LoginFinish { request: 4, message: vec![5; 63].into() };
    assert_eq!(connection.send(cut).await.unwrap_err().code, ErrorCode::OpaqueInvalid);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_said_with_when_to_try_again() {
    let server = server();
    server.connect().register(EMAIL, PASSWORD).await.unwrap();
    server.faults.set_reach(Reach::Down);
    let failure = server.connect().log_in_start(EMAIL, PASSWORD).await.map(drop).unwrap_err();
    assert_eq!((failure.code, failure.retry_after_ms), (ErrorCode::StoreUnavailable, Some(1_000)));
    server.faults.set_reach(Reach::Up);
    server.connect().log_in(EMAIL, PASSWORD).await.unwrap();
}
