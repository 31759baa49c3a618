//! One user with an identity, devices and sessions, on a region over the gated store.
//!
//! Never: a shortcut past the public handles, except to kill an actor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloudsync_protocol::entry::{Operation, Put};
use cloudsync_protocol::envelope::{self, Envelope, Header, Hlc};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::{Attach, Claim, OWN_LOG, Pull, Push};
use cloudsync_protocol::statement::{
    self, BatchStatement, Carrier, EnrolChange, EnrolStatement, IdentityChange, IdentityStatement, PublicKey, RevokeChange,
    RevokeStatement, RosterChange, Signed, hello_message,
};
use cloudsync_protocol::{
    CollectionName, Cursor, DeviceId, DeviceSeq, ErrorCode, Failure, Frame, Hash, LogId, Nonce, RecordId, Seq, Signature, UserId, Version,
    codec,
};
use cloudsync_storage::Store as _;
use cloudsync_storage::memory::MemoryStore;
use cloudsync_storage::store::Account;
use ed25519_dalek::{Signer as _, SigningKey};
use tokio::time::Instant;

use super::gated::{Gate, GatedStore};
use crate::{Access, Clock, Device, Lane, OpenRequest, Options, Outbound, Outgoing, Region, Tokens};

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
    pub(crate) store: Arc<GatedStore>,
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

fn signed<T: serde::Serialize>(key: &SigningKey, context: &[u8], statement: &T) -> Signed {
    let statement = Bytes::from(codec::encode(statement));
    let signature = Signature(key.sign(&[context, &statement].concat()).to_bytes());
    Signed { statement, signature }
}

impl World {
    pub(crate) async fn start(options: Options) -> Self {
        Self::over(MemoryStore::new(), options).await
    }

    pub(crate) async fn over(memory: MemoryStore, options: Options) -> Self {
        let store = Arc::new(GatedStore::new(memory));
        let (user, identity, clock) = (UserId([7; 16]), key(200), Arc::new(TokioClock(Instant::now())));
        let account = Account {
            email: "ada@example.com".to_owned(),
            user,
            opaque_record: Bytes::from_static(b"record"),
            recovery: PublicKey([1; 32]),
            created_ts: START_MS,
        };
        store.create_account(account, Bytes::from_static(b"keyring")).await.unwrap();
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
        world.region.change_roster(user, vec![RosterChange::Identity(IdentityChange { signed })]).await.unwrap();
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
        self.region.change_roster(self.user, vec![change]).await.unwrap();
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
        let (device, outbound) = self.region.open(self.hello(phone, expires_ts)).await.unwrap();
        let last = LastPush { device_seq: DeviceSeq(0), hash: Hash::default(), seq: Seq::ZERO };
        Client { device, outbound, phone: phone.clone(), log: self.log(), last, last_request: 0, aside: Vec::new() }
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
        self.store.commits.send_replace(gate);
    }

    /// Waits until the store was asked for `count` commits since it was made.
    pub(crate) async fn commits_begun(&self, count: usize) {
        within(self.store.commits_begun.subscribe().wait_for(|begun| *begun >= count)).await.unwrap();
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

/// One session as a client has it.
pub(crate) struct Client {
    pub(crate) device: Device,
    pub(crate) outbound: Outbound,
    pub(crate) phone: Phone,
    pub(crate) last: LastPush,
    pub(crate) aside: Vec<Frame>,
    log: LogId,
    last_request: u32,
}

pub(crate) fn decode(outgoing: &Outgoing) -> Frame {
    codec::decode(&outgoing.frame).unwrap()
}

impl Client {
    pub(crate) fn request(&mut self) -> u32 {
        self.last_request += 1;
        self.last_request
    }

    pub(crate) fn send(&self, frame: impl Into<Frame>) {
        let frame = frame.into();
        let bytes = codec::encode(&frame).len();
        self.device.submit(frame, bytes, Lane::Control);
    }

    /// The next frame; nothing when the session is over.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within(self.outbound.next()).await.map(|outgoing| decode(&outgoing))
    }

    /// The answer to a request; events go aside.
    pub(crate) async fn answer(&mut self, request: u32) -> Frame {
        if let Some(at) = self.aside.iter().position(|frame| request_of(frame) == Some(request)) {
            return self.aside.remove(at);
        }
        loop {
            let frame = self.next().await.expect("the session goes on");
            if request_of(&frame) == Some(request) {
                return frame;
            }
            self.aside.push(frame);
        }
    }

    /// The next event, from aside first; answers go aside.
    pub(crate) async fn event(&mut self) -> Frame {
        if let Some(at) = self.aside.iter().position(|frame| request_of(frame).is_none()) {
            return self.aside.remove(at);
        }
        loop {
            let frame = self.next().await.expect("the session goes on");
            if request_of(&frame).is_none() {
                return frame;
            }
            self.aside.push(frame);
        }
    }

    pub(crate) async fn attach(&mut self) -> Seq {
        let request = self.request();
        self.send(Attach { request, log: OWN_LOG, cursor: Cursor::default() });
        match self.answer(request).await {
            Frame::Attached(attached) => attached.head,
            other => panic!("not attached: {other:?}"),
        }
    }

    pub(crate) async fn claim(&mut self) -> LastPush {
        let request = self.request();
        self.send(Claim { request, log: OWN_LOG });
        match self.answer(request).await {
            Frame::Claimed(claimed) => {
                self.last = claimed.last;
                claimed.last
            }
            other => panic!("not claimed: {other:?}"),
        }
    }

    /// A push of one record, first version, `body_bytes` long, that follows the last one known.
    pub(crate) fn batch(&mut self, record: &str, body_bytes: usize) -> Push {
        self.batch_of(&[record], body_bytes)
    }

    /// The same of several records.
    pub(crate) fn batch_of(&mut self, records: &[&str], body_bytes: usize) -> Push {
        let device_seq = self.last.device_seq.next();
        let envelopes: Vec<Envelope> = records.iter().map(|record| self.envelope(record, body_bytes)).collect();
        let statement = BatchStatement {
            format: statement::FORMAT,
            log: self.log,
            device: self.phone.id,
            device_seq,
            prev_hash: self.last.hash,
            envelopes: envelopes.iter().map(Envelope::hash).collect(),
            seen: Vec::new(),
        };
        let signed = signed(&self.phone.key, statement::CONTEXT_BATCH, &statement);
        let operations = envelopes.into_iter().map(|envelope| Operation::Put(Put { base: Version(0), envelope })).collect();
        Push { request: self.request(), log: OWN_LOG, signed, operations }
    }

    fn envelope(&self, record: &str, body_bytes: usize) -> Envelope {
        let header = Header {
            format: envelope::FORMAT,
            suite: envelope::SUITE_AES_256_GCM,
            log: self.log,
            collection: CollectionName::new("timer_session").unwrap(),
            record: RecordId::new(record).unwrap(),
            version: Version(1),
            parent: Hash::default(),
            device: self.phone.id,
            device_seq: self.last.device_seq.next(),
            hlc: Hlc::from_ms(START_MS),
            flags: 0,
            commitment: Hash::default(),
        };
        Envelope {
            header: codec::encode(&header).into(),
            body: vec![5; body_bytes].into(),
            wrap: vec![6; cloudsync_protocol::limits::WRAP_BYTES].into(),
        }
    }

    /// Pushes one small record and waits until it is committed.
    pub(crate) async fn push(&mut self, record: &str) -> Seq {
        let push = self.batch(record, cloudsync_protocol::limits::BODY_BYTES_MIN);
        let request = push.request;
        self.send(push);
        let frame = self.answer(request).await;
        self.pushed(&frame)
    }

    /// Notes a committed push.
    pub(crate) fn pushed(&mut self, frame: &Frame) -> Seq {
        match frame {
            Frame::Pushed(pushed) => {
                self.last = LastPush { device_seq: pushed.device_seq, hash: pushed.hash, seq: pushed.to };
                pushed.to
            }
            other => panic!("not pushed: {other:?}"),
        }
    }

    pub(crate) fn pull(&mut self) -> u32 {
        let request = self.request();
        self.send(Pull { request, log: OWN_LOG, from: Cursor::default(), to: Seq(u64::MAX) });
        request
    }

    /// The code of a refusal.
    pub(crate) async fn refusal(&mut self, request: u32) -> ErrorCode {
        match self.answer(request).await {
            Frame::Failure(failure) => failure.code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn request_of(frame: &Frame) -> Option<u32> {
    match frame {
        Frame::Failure(frame) => Some(frame.request),
        Frame::Authenticated(frame) => Some(frame.request),
        Frame::Attached(frame) => Some(frame.request),
        Frame::Page(frame) => Some(frame.request),
        Frame::SnapshotPage(frame) => Some(frame.request),
        Frame::Claimed(frame) => Some(frame.request),
        Frame::Pushed(frame) => Some(frame.request),
        Frame::RosterChanged(frame) => Some(frame.request),
        Frame::Keyring(frame) => Some(frame.request),
        Frame::Versions(frame) => Some(frame.request),
        _ => None,
    }
}
