//! Another password, other keys, and the recovery code in place of a password.
//!
//! Never: a signature of a row; the log's owner looks at those.

use bytes::Bytes;
use cloudsync_protocol::frame::{Authorized, GetRoster, LoginFinish, Recover, SecretFinish};
use cloudsync_protocol::limits::{KEYRING_BYTES_MAX, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{
    FORMAT, IdentityChange, Member, RekeyChange, RekeyStatement, RosterChange, RotateChange, RotateStatement, recover_message,
};
use cloudsync_protocol::{ErrorCode, Failure, Frame, Hash, Seq, Signature, codec};
use cloudsync_storage::Store as _;
use ed25519_dalek::Signer as _;

use crate::support::{Connection, Device, EMAIL, KEYRING, PASSWORD, Server, USER, code, server, unsigned};

const OTHER: &str = "battery staple";

fn blob(version: u64) -> Bytes {
    format!("keyring {version}").into()
}

fn rekey(version: u64) -> RosterChange {
    let keyring = Hash::of(&[&blob(version)]);
    let statement = RekeyStatement { format: FORMAT, log: USER.into(), identity_epoch: 1, version, keyring, client_ts: 0 };
    RosterChange::Rekey(RekeyChange { signed: unsigned(codec::encode(&statement)) })
}

/// After which the recovery code is that of the same number.
fn rotate(version: u64) -> RosterChange {
    let by = Device::new(1).id;
    let statement = RotateStatement {
        format: FORMAT,
        log: USER.into(),
        identity_epoch: version,
        signing: code(50).1,
        sharing: code(51).1,
        by,
        version,
        epoch: version,
        keyring: Hash::of(&[&blob(version)]),
        recovery: code(u8::try_from(version).unwrap()).1,
        members: vec![Member { device: by, enrol: Hash::default() }],
        revoked: Vec::new(),
        client_ts: 0,
    };
    RosterChange::Rotate(RotateChange { signed: unsigned(codec::encode(&statement)), endorsement: Signature([0; 64]) })
}

fn finish(to: &Authorized, change: RosterChange, keyring: Bytes, record: Option<Bytes>) -> SecretFinish {
    SecretFinish { request: 9, ticket: to.ticket.clone(), changes: vec![change], keyring, record }
}

/// A server where Ada has an account, and her connection with a ticket.
async fn logged_in() -> (Server, Connection, Authorized) {
    let server = server();
    server.sign_up(&Device::new(1)).await;
    let mut connection = server.connect();
    let authorized = connection.log_in(EMAIL, PASSWORD).await.unwrap();
    (server, connection, authorized)
}

/// Ada changes her password on a connection of its own.
async fn change_password(server: &Server, from: &str, to: &str) -> Authorized {
    let mut connection = server.connect();
    let authorized = connection.log_in(EMAIL, from).await.unwrap();
    let (record, _) = connection.secret_start(&authorized.ticket, to).await.unwrap();
    let version = authorized.keyring_version + 1;
    connection.authorized(finish(&authorized, rekey(version), blob(version), Some(record))).await.unwrap()
}

#[tokio::test]
async fn a_new_password_opens_the_account_and_the_old_one_does_not_any_more() {
    let (server, mut connection, authorized) = logged_in().await;
    assert_eq!((authorized.keyring_version, authorized.keyring.as_ref()), (1, KEYRING));
    let (record, export_key) = connection.secret_start(&authorized.ticket, OTHER).await.unwrap();
    let changed = connection.authorized(finish(&authorized, rekey(2), blob(2), Some(record))).await.unwrap();
    assert_eq!((changed.request, changed.keyring_version, &changed.keyring), (9, 2, &blob(2)));
    assert_eq!(changed.roster.len(), 2);
    let (_, of_login) = server.connect().log_in_start(EMAIL, OTHER).await.unwrap().unwrap();
    assert_eq!(of_login, export_key);
    assert!(server.connect().log_in_start(EMAIL, PASSWORD).await.unwrap().is_none(), "the old one opens no answer");
    let asked = server.ledger.asked.lock().unwrap().pop().unwrap();
    assert_eq!((asked.ticket_version, asked.credentials.unwrap().version), (1, 2));
}

#[tokio::test]
async fn a_password_that_changed_between_ke2_and_ke3_is_the_old_ones() {
    let (server, mut connection, _) = logged_in().await;
    let (late, _) = connection.log_in_start(EMAIL, PASSWORD).await.unwrap().unwrap();
    change_password(&server, PASSWORD, OTHER).await;
    assert_eq!(connection.authorized(late).await.unwrap_err().code, ErrorCode::CredentialsInvalid);
    let (other, _) = connection.log_in_start(EMAIL, OTHER).await.unwrap().unwrap();
    assert!(connection.authorized(other).await.is_ok());
}

#[tokio::test]
async fn a_rotation_brings_keyring_and_code_and_leaves_the_password() {
    let (server, mut connection, authorized) = logged_in().await;
    let rotated = connection.authorized(finish(&authorized, rotate(2), blob(2), None)).await.unwrap();
    assert_eq!((rotated.keyring_version, &rotated.keyring), (2, &blob(2)));
    assert_eq!(server.connect().log_in(EMAIL, PASSWORD).await.unwrap().keyring, blob(2));
    let credentials = server.store.credentials(USER).await.unwrap().unwrap();
    assert_eq!(credentials.recovery, code(2).1);
}

#[tokio::test]
async fn keys_that_were_changed_are_answered_again_with_a_fresh_ticket() {
    let (server, mut connection, authorized) = logged_in().await;
    let frame = finish(&authorized, rotate(2), blob(2), None);
    let first = connection.authorized(frame.clone()).await.unwrap();
    let again = connection.authorized(frame).await.unwrap();
    assert_eq!((again.keyring_version, server.ledger.len(USER)), (2, 2));
    let device = Device::new(1);
    assert!(connection.enrol(&first, &device, Vec::new()).await.is_ok());
    assert!(connection.enrol(&again, &device, Vec::new()).await.is_ok());
}

#[tokio::test]
async fn a_ticket_of_before_the_last_keyring_enrols_nobody() {
    let (server, mut connection, authorized) = logged_in().await;
    change_password(&server, PASSWORD, OTHER).await;
    let failure = connection.enrol(&authorized, &Device::new(1), Vec::new()).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::TicketInvalid);
    let device = Device::new(1);
    connection.enrol(&authorized, &device, vec![device.enrolment(USER)]).await.unwrap();
    assert_eq!(server.ledger.asked.lock().unwrap().last().unwrap().ticket_version, 1, "with changes the log's owner says it");
    let read = connection.send(GetRoster { request: 4, ticket: authorized.ticket.clone(), after: Seq::ZERO }).await;
    assert!(matches!(read, Ok(Frame::RosterPage(_))), "reading is no harm");
}

#[tokio::test]
async fn what_is_no_change_of_keys_is_refused_before_anybody_is_asked() {
    let (server, mut connection, authorized) = logged_in().await;
    let before = server.ledger.asked.lock().unwrap().len();
    let identity = || RosterChange::Identity(IdentityChange { signed: unsigned(vec![0]) });
    let enrol = Device::new(2).enrolment(USER);
    let long = RosterChange::Rekey(RekeyChange { signed: unsigned(vec![0; STATEMENT_BYTES_MAX + 1]) });
    let garbled = RosterChange::Rekey(RekeyChange { signed: unsigned(vec![0xc1]) });
    for (changes, keyring, record, expected) in [
        (vec![rekey(2)], blob(3), None, ErrorCode::KeyringInvalid),
        (vec![rekey(2)], Bytes::new(), None, ErrorCode::KeyringInvalid),
        (vec![rekey(2)], Bytes::from(vec![1; KEYRING_BYTES_MAX + 1]), None, ErrorCode::KeyringInvalid),
        (vec![rekey(2)], blob(2), Some(Bytes::from_static(b"no record")), ErrorCode::OpaqueInvalid),
        (vec![], blob(2), None, ErrorCode::StatementInvalid),
        (vec![identity()], blob(2), None, ErrorCode::StatementInvalid),
        (vec![enrol.clone()], blob(2), None, ErrorCode::StatementInvalid),
        (vec![enrol, rekey(2)], blob(2), None, ErrorCode::StatementInvalid),
        (vec![rekey(2), rekey(2)], blob(2), None, ErrorCode::StatementInvalid),
        (vec![identity(), identity(), rekey(2)], blob(2), None, ErrorCode::StatementInvalid),
        (vec![long], blob(2), None, ErrorCode::StatementInvalid),
        (vec![garbled], blob(2), None, ErrorCode::StatementInvalid),
    ] {
        let frame = SecretFinish { request: 9, ticket: authorized.ticket.clone(), changes, keyring, record };
        let failure = connection.send(frame).await.unwrap_err();
        assert_eq!((failure.code, failure.request), (expected, 9), "{}", failure.message);
    }
    assert_eq!(server.ledger.asked.lock().unwrap().len(), before);
    let foreign = SecretFinish { ticket: Bytes::from_static(b"ticket"), ..finish(&authorized, rekey(2), blob(2), None) };
    assert_eq!(connection.send(foreign).await.unwrap_err().code, ErrorCode::TicketInvalid);
    let first = connection.secret_start(&Bytes::from_static(b"ticket"), OTHER).await.unwrap_err();
    assert_eq!(first.code, ErrorCode::TicketInvalid);
    assert!(
        connection
            .authorized(SecretFinish { changes: vec![identity(), rekey(2)], ..finish(&authorized, rekey(2), blob(2), None) })
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_refusal_of_the_owner_comes_back_with_its_facts() {
    let (server, mut connection, authorized) = logged_in().await;
    let device = Some(Device::new(3).id);
    server.ledger.refuse(Failure { device, ..Failure::new(0, ErrorCode::RevokeLastDiffers, "another push") });
    let failure = connection.send(finish(&authorized, rotate(2), blob(2), None)).await.unwrap_err();
    assert_eq!((failure.code, failure.device, failure.request), (ErrorCode::RevokeLastDiffers, device, 9));
    let credentials = server.store.credentials(USER).await.unwrap().unwrap();
    assert_eq!(credentials.version, 1, "nothing was changed");
}

/// What the code of that number shows on a connection.
fn recover(connection: &Connection, email: &str, number: u8) -> Recover {
    let signature = Signature(code(number).0.sign(&recover_message(&connection.nonce, &email.to_lowercase())).to_bytes());
    Recover { request: 7, email: email.to_owned(), signature }
}

#[tokio::test]
async fn the_recovery_code_gives_what_the_password_gives() {
    let (server, _, _) = logged_in().await;
    let mut connection = server.connect();
    let authorized = connection.authorized(recover(&connection, "ADA@example.com", 1)).await.unwrap();
    assert_eq!((authorized.request, authorized.user, authorized.keyring.as_ref()), (7, USER, KEYRING));
    let (record, _) = connection.secret_start(&authorized.ticket, OTHER).await.unwrap();
    let changed = connection.authorized(finish(&authorized, rekey(2), blob(2), Some(record))).await.unwrap();
    connection.enrol(&changed, &Device::new(1), Vec::new()).await.unwrap();
    assert!(server.connect().log_in(EMAIL, OTHER).await.is_ok());
}

#[tokio::test]
async fn a_wrong_code_an_unknown_address_and_a_proof_of_another_connection_look_alike() {
    let (server, _, _) = logged_in().await;
    let elsewhere = recover(&server.connect(), EMAIL, 1);
    let mut connection = server.connect();
    let wrong = connection.send(recover(&connection, EMAIL, 2)).await.unwrap_err();
    let unknown = connection.send(recover(&connection, "nobody@example.com", 1)).await.unwrap_err();
    let replayed = connection.send(elsewhere).await.unwrap_err();
    assert_eq!(wrong.code, ErrorCode::CredentialsInvalid);
    assert_eq!((&wrong, &wrong), (&unknown, &replayed));
    let no_address = connection.send(recover(&connection, "ada", 1)).await.unwrap_err();
    assert_eq!(no_address.code, ErrorCode::EmailInvalid);
}

#[tokio::test]
async fn after_a_rotation_the_old_code_is_a_wrong_one() {
    let (server, mut connection, authorized) = logged_in().await;
    connection.authorized(finish(&authorized, rotate(2), blob(2), None)).await.unwrap();
    let mut connection = server.connect();
    let old = connection.send(recover(&connection, EMAIL, 1)).await.unwrap_err();
    assert_eq!(old.code, ErrorCode::CredentialsInvalid);
    assert!(connection.authorized(recover(&connection, EMAIL, 2)).await.is_ok());
}

#[tokio::test]
async fn keyring_and_roster_of_two_moments_are_never_given_together() {
    let (server, _, _) = logged_in().await;
    server.ledger.append(USER, vec![rekey(2)]);
    let failure = server.connect().log_in(EMAIL, PASSWORD).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Busy);
    assert!(failure.retry_after_ms.is_some());
    server.ledger.take_back(USER);
    assert!(server.connect().log_in(EMAIL, PASSWORD).await.is_ok());
    let made_up = server.connect().send(LoginFinish { request: 4, message: vec![5; 64].into() }).await.unwrap_err();
    assert_eq!(made_up.code, ErrorCode::OpaqueInvalid);
}
