//! Registering, signing in, staying signed in and signing out, with the real client against a real node.
//!
//! Never: a server crate's shortcut; everything goes over a socket.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure is the test's")]

use cloudsync_client::account::{self, Authorization, Enrolment, Password, Registration, Tokens, login};
use cloudsync_client::connection::{Connection, Events, Server, Session};
use cloudsync_client::envelope::{Draft, Expected, Payload, Plaintext, open, seal};
use cloudsync_client::keys::KeyFile;
use cloudsync_client::statement::{BatchFacts, batch};
use cloudsync_engine::roster::Standing;
use cloudsync_protocol::entry::Put;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::statement::Leaver;
use cloudsync_protocol::{
    CollectionName, Cursor, DeviceSeq, Entry, Envelope, ErrorCode, Hash, LogId, Operation, RecordId, RecordKey, Seq, Version,
};
use cloudsync_tests::{TestNode, Wire};

const EMAIL: &str = "ada@example.com";

fn password() -> Password {
    Password::new("correct horse battery staple").unwrap()
}

fn named(name: &str) -> Enrolment<'_> {
    Enrolment { name, instead_of: None }
}

struct Device {
    keys: KeyFile,
    tokens: Tokens,
}

async fn connect(server: &Server) -> Connection {
    Connection::open(server).await.unwrap()
}

async fn registered(server: &Server) -> Device {
    let connection = connect(server).await;
    let registration = Registration::prepare(&connection, EMAIL, &password()).await.unwrap();
    let authorization = registration.create(&connection).await.unwrap();
    let tokens = authorization.enrol(&connection, registration.keys(), named("laptop")).await.unwrap();
    Device { keys: registration.keys().clone(), tokens }
}

/// Signs in, with the profile that there is.
async fn signed_in(server: &Server, profile: Option<&KeyFile>) -> (Device, Authorization) {
    let connection = connect(server).await;
    let authorization = login(&connection, "Ada@Example.com ", &password()).await.unwrap();
    let keys = authorization.device(profile).unwrap();
    let tokens = authorization.enrol(&connection, &keys, named("phone")).await.unwrap();
    (Device { keys, tokens }, authorization)
}

async fn session(server: &Server, device: &Device) -> (Session, Events) {
    connect(server).await.hello(&device.keys.device, &device.tokens.access_token).await.unwrap()
}

/// One record, pushed as this device's first batch.
async fn write(session: &Session, keys: &KeyFile, value: &[u8]) -> Envelope {
    let claimed = session.claim().await.unwrap();
    let key = RecordKey { collection: CollectionName::new("timer_session").unwrap(), record: RecordId::new("s1").unwrap() };
    let device_seq = claimed.last.device_seq.next();
    let draft = Draft {
        log: keys.log(),
        key: &key,
        version: Version(1),
        parent: Hash::default(),
        device: keys.device.id,
        device_seq,
        hlc: Hlc::from_ms(session.welcome().server_ts),
        payload: Payload::Value(value),
    };
    let envelope = seal(&keys.secrets.account, &draft).unwrap();
    let facts = BatchFacts { log: keys.log(), device_seq, prev_hash: claimed.last.hash, envelopes: vec![envelope.hash()] };
    let signed = batch(&keys.device, facts).unwrap();
    let pushed = session.push(signed, vec![Operation::Put(Put { base: Version(0), envelope: envelope.clone() })]).await.unwrap();
    assert_eq!(pushed.device_seq, device_seq);
    envelope
}

/// Every envelope of the log.
async fn read(session: &Session) -> Vec<Envelope> {
    let attached = session.attach(Cursor::default()).await.unwrap();
    let mut pages = session.pages(Cursor::default(), attached.head);
    let mut envelopes = Vec::new();
    while let Some(page) = pages.next().await {
        for entry in page.unwrap().entries {
            if let Entry::Batch(batch) = entry {
                envelopes.extend(batch.operations.iter().filter_map(Operation::as_put).map(|put| put.envelope.clone()));
            }
        }
    }
    envelopes
}

#[tokio::test]
async fn what_one_device_writes_the_other_decrypts_over_every_wire() {
    for wire in Wire::ALL {
        let node = TestNode::start().await.unwrap();
        let server = node.server(wire).unwrap();
        let laptop = registered(&server).await;
        let (writing, _events) = session(&server, &laptop).await;
        assert_eq!(writing.welcome().user, laptop.keys.secrets.user);
        let written = write(&writing, &laptop.keys, b"{\"minutes\":25}").await;

        let (phone, authorization) = signed_in(&server, None).await;
        assert_ne!(phone.keys.device.id, laptop.keys.device.id);
        assert_eq!(authorization.device_name(laptop.keys.device.id).as_deref(), Some("laptop"));
        let (reading, _events) = session(&server, &phone).await;
        let envelopes = read(&reading).await;
        assert_eq!(envelopes, [written], "{wire:?}");
        let opened = open(&phone.keys.secrets.account, &envelopes[0], &Expected::of_log(phone.keys.log())).unwrap();
        assert_eq!(opened.plaintext, Plaintext::Value(b"{\"minutes\":25}".to_vec().into()));
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_crash_between_creating_and_enrolling_is_mended_by_signing_in() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Quic).unwrap();
    let connection = connect(&server).await;
    let registration = Registration::prepare(&connection, EMAIL, &password()).await.unwrap();
    let stored = KeyFile::from_bytes(&registration.keys().to_bytes()).unwrap();
    registration.create(&connection).await.unwrap();
    drop((registration, connection));

    let (device, before) = signed_in(&server, Some(&stored)).await;
    assert!(before.roster().identity().is_none());
    assert_eq!(device.keys.device.id, stored.device.id);
    let (_session, _events) = session(&server, &device).await;
    let (_, after) = signed_in(&server, Some(&stored)).await;
    assert!(matches!(after.roster().standing(stored.device.id), Standing::Enrolled(_)));
    node.shutdown().await;
}

#[tokio::test]
async fn an_account_whose_creation_was_not_answered_is_found_again() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Wss).unwrap();
    let connection = connect(&server).await;
    let registration = Registration::prepare(&connection, EMAIL, &password()).await.unwrap();
    registration.create(&connection).await.unwrap();
    drop(connection);
    let connection = connect(&server).await;
    let authorization = registration.create_again(&connection).await.unwrap();
    authorization.enrol(&connection, registration.keys(), named("laptop")).await.unwrap();
    // Another registration of the same address is another account, and refused.
    let other = Registration::prepare(&connection, EMAIL, &password()).await.unwrap();
    assert_eq!(other.create(&connection).await.unwrap_err().code(), Some(ErrorCode::EmailTaken));
    node.shutdown().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_the_same() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Quic).unwrap();
    registered(&server).await;
    let wrong = login(&connect(&server).await, EMAIL, &Password::new("wrong").unwrap()).await.unwrap_err();
    let unknown = login(&connect(&server).await, "bob@example.com", &password()).await.unwrap_err();
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.code(), Some(ErrorCode::CredentialsInvalid));
    node.shutdown().await;
}

#[tokio::test]
async fn an_enrolled_profile_signs_in_as_the_same_device_and_adds_no_row() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Quic).unwrap();
    let laptop = registered(&server).await;
    let (again, before) = signed_in(&server, Some(&laptop.keys)).await;
    assert_eq!(again.keys.device.id, laptop.keys.device.id);
    assert!(again.tokens.replace(&laptop.tokens));
    let (_, after) = signed_in(&server, Some(&laptop.keys)).await;
    assert_eq!((before.roster().last(), after.roster().last()), (Seq(2), Seq(2)));
    node.shutdown().await;
}

#[tokio::test]
async fn a_refresh_gives_newer_tokens_and_a_log_out_ends_them() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Ws).unwrap();
    let laptop = registered(&server).await;
    let connection = connect(&server).await;
    let fresh = account::refresh(&connection, &laptop.keys.device, &laptop.tokens.refresh_token).await.unwrap();
    assert!(fresh.replace(&laptop.tokens) && !laptop.tokens.replace(&fresh));
    let device = Device { keys: laptop.keys, tokens: fresh };
    let (open, _events) = session(&server, &device).await;
    let again = account::refresh(&connection, &device.keys.device, &device.tokens.refresh_token).await.unwrap();
    let authenticated = open.authenticate(&device.keys.device, &again.access_token).await.unwrap();
    assert!(authenticated.token_expires_ts >= open.welcome().token_expires_ts);
    account::logout(&connection, &device.keys.device, &again.refresh_token).await.unwrap();
    let refused = account::refresh(&connection, &device.keys.device, &again.refresh_token).await.unwrap_err();
    assert!(matches!(refused.code(), Some(ErrorCode::RefreshInvalid | ErrorCode::RefreshExpired)), "{refused}");
    node.shutdown().await;
}

#[tokio::test]
async fn a_revoked_device_is_out_at_once_and_its_profile_comes_back_as_another() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Quic).unwrap();
    let laptop = registered(&server).await;
    let (phone, _) = signed_in(&server, None).await;
    let (lost, _lost_events) = session(&server, &phone).await;
    write(&lost, &phone.keys, b"1").await;
    // Its last push is not known here: the server names it, and the statement is signed again.
    let connection = connect(&server).await;
    let unlocked = account::unlock(&connection, EMAIL, &password()).await.unwrap();
    let leaving = [Leaver { device: phone.keys.device.id, last: DeviceSeq(0) }];
    let rotation = unlocked.rotation(&connection, &laptop.keys, &leaving, None).await.unwrap();
    let refused = rotation.send(&connection, &unlocked.authorization, &laptop.keys).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::RevokeLastDiffers));
    let roster = unlocked.authorization.roster();
    let rotation = rotation.with_last((roster, &laptop.keys), (phone.keys.device.id, DeviceSeq(1))).unwrap();
    rotation.send(&connection, &unlocked.authorization, &laptop.keys).await.unwrap();
    assert_eq!(lost.closed().await.code(), Some(ErrorCode::DeviceRevoked));
    let refused = connect(&server).await.hello(&phone.keys.device, &phone.tokens.access_token).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DeviceRevoked));
    let (back, authorization) = signed_in(&server, Some(&phone.keys)).await;
    assert!(matches!(authorization.roster().standing(phone.keys.device.id), Standing::Revoked(_)));
    assert_ne!(back.keys.device.id, phone.keys.device.id);
    node.shutdown().await;
}

#[tokio::test]
async fn a_device_can_be_enrolled_in_place_of_another() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Quic).unwrap();
    let laptop = registered(&server).await;
    let (writing, _events) = session(&server, &laptop).await;
    write(&writing, &laptop.keys, b"1").await;
    let connection = connect(&server).await;
    let authorization = login(&connection, EMAIL, &password()).await.unwrap();
    let keys = authorization.device(None).unwrap();
    let enrolment = Enrolment { name: "phone", instead_of: Some(laptop.keys.device.id) };
    authorization.enrol(&connection, &keys, enrolment).await.unwrap();
    let (_, after) = signed_in(&server, Some(&keys)).await;
    assert!(matches!(after.roster().standing(laptop.keys.device.id), Standing::Revoked(_)));
    assert!(matches!(after.roster().standing(keys.device.id), Standing::Enrolled(_)));
    node.shutdown().await;
}

#[tokio::test]
async fn keys_of_another_account_are_not_used() {
    let node = TestNode::start().await.unwrap();
    let server = node.server(Wire::Quic).unwrap();
    registered(&server).await;
    let connection = connect(&server).await;
    let other = Registration::prepare(&connection, "bob@example.com", &password()).await.unwrap();
    let authorization = login(&connection, EMAIL, &password()).await.unwrap();
    assert_eq!(authorization.device(Some(other.keys())).unwrap_err(), account::Error::OtherAccount);
    assert_ne!(LogId::from(authorization.user()), other.keys().log());
    node.shutdown().await;
}
