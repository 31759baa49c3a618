//! One user with an identity, devices and sessions, on a region over an observed store.
//!
//! Never: a shortcut past the public handles, except to kill an actor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloudsync_engine::user::AccountChange;
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::statement::{
    self, Carrier, EnrolChange, EnrolStatement, IdentityChange, IdentityStatement, PublicKey, RevokeChange, RevokeStatement, RosterChange,
    Signed, hello_message,
};
use cloudsync_protocol::{DeviceId, DeviceSeq, ErrorCode, Failure, Hash, LogId, Nonce, Seq, Signature, UserId, codec};
use cloudsync_storage::Store as _;
use cloudsync_storage::memory::{MemoryStore, ObservedStore};
use cloudsync_storage::store::{Account, Credentials};
use ed25519_dalek::{Signer as _, SigningKey};
use tokio::time::Instant;

use super::client::Client;
use super::gates::{Gate, Gates};
use crate::{Access, Clock, OpenRequest, Options, Region, Tokens};

pub(crate) const START_MS: u64 = 1_700_000_000_000;
const PATIENCE: Duration = Duration::from_secs(600);
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(500);

/// The wall clock goes with tokio's, which tests may pause.
#[derive(Debug)]
pub(crate) struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        START_MS + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

/// A token is `user device expiry` in hexadecimal and decimal: who it is for is not what is tested here.
#[derive(Debug)]
struct PlainTokens;

impl Tokens for PlainTokens {
    fn verify(&self, token: &str, now_ms: u64) -> Result<Access, Failure> {
        let invalid = || Failure::new(0, ErrorCode::TokenInvalid, "not a token");
        let mut parts = token.split(' ');
        let user = parts.next().and_then(UserId::from_hex).ok_or_else(invalid)?;
        let device = parts.next().and_then(DeviceId::from_hex).ok_or_else(invalid)?;
        let expires_ts = parts.next().and_then(|text| text.parse().ok()).ok_or_else(invalid)?;
        if expires_ts <= now_ms { Err(Failure::new(0, ErrorCode::TokenExpired, "over")) } else { Ok(Access { user, device, expires_ts }) }
    }
}

pub(crate) fn token(user: UserId, device: DeviceId, expires_ts: u64) -> String {
    format!("{user} {device} {expires_ts}")
}

#[derive(Debug, Clone)]
pub(crate) struct Phone {
    pub(crate) id: DeviceId,
    pub(crate) key: SigningKey,
}

pub(crate) struct World {
    pub(crate) region: Region,
    pub(crate) store: Arc<ObservedStore<Gates>>,
    pub(crate) user: UserId,
    identity: SigningKey,
    clock: Arc<TokioClock>,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

pub(crate) fn signed<T: serde::Serialize>(key: &SigningKey, context: &[u8], statement: &T) -> Signed {
    let statement = Bytes::from(codec::encode(statement));
    let signature = Signature(key.sign(&[context, &statement].concat()).to_bytes());
    Signed { statement, signature }
}

/// What a log-in asks for while the account has its first keyring.
pub(crate) const fn by_account(changes: Vec<RosterChange>) -> AccountChange {
    AccountChange { changes, ticket_version: 1, credentials: None }
}

impl World {
    pub(crate) async fn start(options: Options) -> Self {
        Self::over(MemoryStore::new(), options).await
    }

    pub(crate) async fn over(memory: MemoryStore, options: Options) -> Self {
        let store = Arc::new(ObservedStore { store: memory, observer: Gates::default() });
        let (user, identity, clock) = (UserId([7; 16]), key(200), Arc::new(TokioClock(Instant::now())));
        let account = Account { email: "ada@example.com".to_owned(), user, created_ts: START_MS };
        let [opaque_record, keyring] = [&b"record"[..], b"keyring"].map(Bytes::from_static);
        let credentials = Credentials { version: 1, opaque_record, recovery: PublicKey([1; 32]), keyring };
        store.create_account(account, credentials).await.unwrap();
        let region = Region::start(Arc::clone(&store) as _, Arc::new(PlainTokens), Arc::clone(&clock) as _, options).await.unwrap();
        let world = Self { region, store, user, identity, clock };
        let statement = IdentityStatement {
            format: statement::FORMAT,
            log: user.into(),
            identity_epoch: 1,
            signing: public(&world.identity),
            sharing: PublicKey([2; 32]),
            client_ts: START_MS,
        };
        let signed = signed(&world.identity, statement::CONTEXT_IDENTITY, &statement);
        world.region.change_roster(user, by_account(vec![RosterChange::Identity(IdentityChange { signed })])).await.unwrap();
        world
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn log(&self) -> LogId {
        self.user.into()
    }

    pub(crate) async fn enrol(&self, number: u8) -> Phone {
        let (phone, change) = self.enrolment(number);
        self.region.change_roster(self.user, by_account(vec![change])).await.unwrap();
        phone
    }

    pub(crate) fn enrolment(&self, number: u8) -> (Phone, RosterChange) {
        let phone = Phone { id: DeviceId([number; 16]), key: key(number) };
        let statement = EnrolStatement {
            format: statement::FORMAT,
            log: self.log(),
            identity_epoch: 1,
            device: phone.id,
            signing: public(&phone.key),
            agreement: PublicKey([3; 32]),
            name: Bytes::from_static(b"sealed"),
            client_ts: START_MS,
        };
        let signed = signed(&self.identity, statement::CONTEXT_ENROL, &statement);
        (phone, RosterChange::Enrol(EnrolChange { signed }))
    }

    pub(crate) fn revoke(&self, phone: &Phone, by: &Phone, last: DeviceSeq) -> RosterChange {
        let statement = RevokeStatement {
            format: statement::FORMAT,
            log: self.log(),
            identity_epoch: 1,
            device: phone.id,
            last,
            by: by.id,
            client_ts: START_MS,
        };
        RosterChange::Revoke(RevokeChange { signed: signed(&self.identity, statement::CONTEXT_REVOKE, &statement) })
    }

    pub(crate) fn hello(&self, phone: &Phone, expires_ts: u64) -> OpenRequest {
        let token = token(self.user, phone.id, expires_ts);
        let nonce = Nonce([phone.id.0[0]; 32]);
        let signature = Signature(phone.key.sign(&hello_message(&nonce, Carrier::Quic, &token)).to_bytes());
        OpenRequest { user: self.user, device: phone.id, carrier: Carrier::Quic, nonce, token, token_expires_ts: expires_ts, signature }
    }

    pub(crate) async fn open(&self, phone: &Phone) -> Client {
        let expires_ts = self.now_ms() + u64::try_from(TOKEN_LIFE.as_millis()).unwrap();
        let (session, outbound) = self.region.open(self.hello(phone, expires_ts)).await.unwrap();
        let last = LastPush { device_seq: DeviceSeq(0), hash: Hash::default(), seq: Seq::ZERO };
        Client { session, outbound, phone: phone.clone(), log: self.log(), last, last_request: 0, aside: Vec::new() }
    }

    /// A session that reads events.
    pub(crate) async fn attached(&self, phone: &Phone) -> Client {
        let mut client = self.open(phone).await;
        client.attach().await;
        client
    }

    /// A session that may push.
    pub(crate) async fn pusher(&self, phone: &Phone) -> Client {
        let mut client = self.attached(phone).await;
        client.claim().await;
        client
    }

    pub(crate) fn commits(&self, gate: Gate) {
        self.store.observer.commits.send_replace(gate);
    }

    /// Waits until the store was asked for `count` commits since it was made.
    pub(crate) async fn commits_begun(&self, count: usize) {
        within(self.store.observer.commits_begun.subscribe().wait_for(|begun| *begun >= count)).await.unwrap();
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits for something that is not told; needs paused time, or it would poll for real.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
