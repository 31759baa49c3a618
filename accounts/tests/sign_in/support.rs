//! A server in memory, a client that does OPAQUE, and devices with keys.
//!
//! Never: an assertion about behaviour; those are in the tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use bytes::Bytes;
use cloudsync_accounts::{Accounts, Conversation, Options, Registration, Rosters, Secrets};
use cloudsync_engine::log::{Acquire, Commit, NewCredentials};
use cloudsync_engine::user::AccountChange;
use cloudsync_protocol::codec;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{
    Authorized, Enrol, LoginFinish, LoginStart, Logout, Refresh, RegisterFinish, RegisterStart, SecretStart, Tokens,
};
use cloudsync_protocol::statement::{
    EnrolChange, EnrolStatement, FORMAT, PublicKey, RevokeChange, RevokeStatement, RosterChange, Signed, refresh_message,
};
use cloudsync_protocol::{DeviceId, DeviceSeq, Entry, Failure, Frame, Nonce, OwnerId, Seq, Signature, TimelineId, UserId, View};
use cloudsync_storage::Store as _;
use cloudsync_storage::memory::{Faults, MemoryStore};
use ed25519_dalek::{Signer as _, SigningKey};
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters, CredentialResponse,
    Identifiers, RegistrationResponse, Ristretto255, TripleDh,
};
use rand08::rngs::OsRng;

pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
pub(crate) const EMAIL: &str = "ada@example.com";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const USER: UserId = UserId([1; 16]);
pub(crate) const KEYRING: &[u8] = b"a sealed keyring";

struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_10::Sha512>;
    type Ksf = Argon2<'static>;
}

/// The smallest stretch: its cost is the client's business.
fn stretch() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap())
}

/// One set of secrets for all tests: finding primes takes a while.
pub(crate) fn secrets() -> Arc<Secrets> {
    static SECRETS: OnceLock<Arc<Secrets>> = OnceLock::new();
    Arc::clone(SECRETS.get_or_init(|| Arc::new(Secrets::generate().unwrap())))
}

/// Rosters without an owner: they append what comes, or refuse it all. Credentials are committed as an owner does it.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Arc<MemoryStore>,
    rows: Mutex<BTreeMap<UserId, Vec<RosterRow>>>,
    refusal: Mutex<Option<Failure>>,
    /// What the calls asked for, in order.
    pub(crate) asked: Mutex<Vec<AccountChange>>,
}

impl Ledger {
    fn new(store: Arc<MemoryStore>) -> Self {
        Self { store, rows: Mutex::default(), refusal: Mutex::default(), asked: Mutex::default() }
    }

    /// In a log of the store that nobody reads here: what counts is that they are there.
    async fn commit(&self, user: UserId, credentials: NewCredentials) {
        let (view, log) = (View(1), user.into());
        let acquire =
            Acquire { log, view, owner: OwnerId([u8::try_from(credentials.version).unwrap(); 16]), timeline: TimelineId([1; 16]) };
        let mut head = self.store.acquire(acquire).await.unwrap();
        let after = head.seq;
        let change = RosterChange::Enrol(EnrolChange { signed: unsigned(vec![0]) });
        let entry = Entry::Roster(RosterRow { seq: after.next(), server_ts: NOW_MS, change });
        head.follow(&entry, |_, _| None).unwrap();
        let commit = Commit { log, after, entries: vec![entry], head, credentials: Some(credentials), wraps: Vec::new() };
        self.store.commit(commit).await.unwrap();
    }

    pub(crate) fn append(&self, user: UserId, changes: Vec<RosterChange>) {
        let mut rows = self.rows.lock().unwrap();
        let rows = rows.entry(user).or_default();
        for change in changes {
            let seq = Seq(rows.len() as u64 + 1);
            rows.push(RosterRow { seq, server_ts: NOW_MS, change });
        }
    }

    /// The roster as it was before the last change.
    pub(crate) fn take_back(&self, user: UserId) {
        self.rows.lock().unwrap().entry(user).or_default().pop();
    }

    fn has(&self, user: UserId, change: &RosterChange) -> bool {
        change.is_of_keyring() && self.rows.lock().unwrap().get(&user).is_some_and(|rows| rows.iter().any(|row| row.change == *change))
    }

    pub(crate) fn refuse(&self, failure: Failure) {
        *self.refusal.lock().unwrap() = Some(failure);
    }

    pub(crate) fn len(&self, user: UserId) -> usize {
        self.rows.lock().unwrap().get(&user).map_or(0, Vec::len)
    }
}

#[async_trait]
impl Rosters for Ledger {
    async fn change(&self, user: UserId, change: AccountChange) -> Result<(), Failure> {
        if let Some(failure) = self.refusal.lock().unwrap().clone() {
            return Err(failure);
        }
        self.asked.lock().unwrap().push(change.clone());
        let is_there = change.changes.iter().all(|change| self.has(user, change));
        if is_there {
            return Ok(());
        }
        if let Some(credentials) = change.credentials {
            self.commit(user, credentials).await;
        }
        self.append(user, change.changes);
        Ok(())
    }

    fn erased(&self, user: UserId) {
        self.rows.lock().unwrap().remove(&user);
    }

    async fn roster(&self, user: UserId) -> Result<Vec<RosterRow>, Failure> {
        Ok(self.rows.lock().unwrap().get(&user).cloned().unwrap_or_default())
    }
}

/// A server.
pub(crate) struct Server {
    pub(crate) accounts: Accounts,
    pub(crate) faults: Faults,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) store: Arc<MemoryStore>,
    nonces: Mutex<u8>,
}

/// One that anybody may register at.
pub(crate) fn server() -> Server {
    server_of(secrets())
}

pub(crate) fn server_of(secrets: Arc<Secrets>) -> Server {
    Server::start(secrets, &open())
}

pub(crate) fn server_with(options: &Options) -> Server {
    Server::start(secrets(), options)
}

fn open() -> Options {
    Options { registration: Registration::Open, ..Options::default() }
}

/// A connection, as its client has it.
pub(crate) struct Connection {
    pub(crate) conversation: Conversation,
    pub(crate) nonce: Nonce,
    pub(crate) now_ms: u64,
}

impl Server {
    fn start(secrets: Arc<Secrets>, options: &Options) -> Self {
        let faults = Faults::none();
        let store = Arc::new(MemoryStore::with_faults(faults.clone()));
        let ledger = Arc::new(Ledger::new(Arc::clone(&store)));
        let accounts = Accounts::new(secrets, options, Arc::<MemoryStore>::clone(&store), Arc::<Ledger>::clone(&ledger));
        Self { accounts, faults, ledger, store, nonces: Mutex::new(0) }
    }

    /// The same store and rosters under secrets as they were read again.
    pub(crate) fn restarted(self, secrets: Arc<Secrets>) -> Self {
        let accounts = Accounts::new(secrets, &open(), Arc::<MemoryStore>::clone(&self.store), Arc::<Ledger>::clone(&self.ledger));
        Self { accounts, ..self }
    }

    pub(crate) fn connect(&self) -> Connection {
        self.connect_at(NOW_MS)
    }

    pub(crate) fn connect_at(&self, now_ms: u64) -> Connection {
        let mut nonces = self.nonces.lock().unwrap();
        *nonces = nonces.wrapping_add(1);
        let nonce = Nonce([*nonces; 32]);
        Connection { conversation: self.accounts.converse(nonce), nonce, now_ms }
    }

    /// Registers Ada and enrols her device.
    pub(crate) async fn sign_up(&self, device: &Device) -> Tokens {
        let mut connection = self.connect();
        let authorized = connection.register(EMAIL, PASSWORD).await.unwrap();
        connection.enrol(&authorized, device, vec![device.enrolment(USER)]).await.unwrap()
    }
}

/// What the client of a registration has to send a second time.
#[derive(Clone)]
pub(crate) struct Registering {
    pub(crate) start: RegisterStart,
    pub(crate) finish: RegisterFinish,
    pub(crate) export_key: Vec<u8>,
}

impl Connection {
    pub(crate) async fn send(&mut self, frame: impl Into<Frame>) -> Result<Frame, Failure> {
        self.conversation.handle(frame.into(), self.now_ms).await
    }

    /// The first step, and the second as it is to be sent.
    pub(crate) async fn register_start(&mut self, email: &str, password: &str) -> Result<Registering, Failure> {
        let client = ClientRegistration::<Suite>::start(&mut OsRng, password.as_bytes()).unwrap();
        let start = RegisterStart { request: 1, email: email.to_owned(), message: client.message.serialize().to_vec().into() };
        let Frame::RegisterStarted(started) = self.send(start.clone()).await? else { panic!("another answer") };
        assert_eq!(started.request, 1);
        let response = RegistrationResponse::deserialize(&started.message).unwrap();
        let stretch = stretch();
        let parameters = ClientRegistrationFinishParameters::new(Identifiers::default(), Some(&stretch));
        let finished = client.state.finish(&mut OsRng, password.as_bytes(), response, parameters).unwrap();
        let finish = RegisterFinish {
            request: 2,
            email: email.to_owned(),
            record: finished.message.serialize().to_vec().into(),
            user: USER,
            keyring: Bytes::from_static(KEYRING),
            recovery: code(1).1,
        };
        Ok(Registering { start, finish, export_key: finished.export_key.to_vec() })
    }

    pub(crate) async fn authorized(&mut self, frame: impl Into<Frame>) -> Result<Authorized, Failure> {
        let Frame::Authorized(authorized) = self.send(frame).await? else { panic!("another answer") };
        Ok(authorized)
    }

    pub(crate) async fn register(&mut self, email: &str, password: &str) -> Result<Authorized, Failure> {
        let registering = self.register_start(email, password).await?;
        self.authorized(registering.finish).await
    }

    /// KE1 and what KE2 makes of it: KE3 and the export key, or `None` when the client can't open the answer.
    pub(crate) async fn log_in_start(&mut self, email: &str, password: &str) -> Result<Option<(LoginFinish, Vec<u8>)>, Failure> {
        let client = ClientLogin::<Suite>::start(&mut OsRng, password.as_bytes()).unwrap();
        let start = LoginStart { request: 3, email: email.to_owned(), message: client.message.serialize().to_vec().into() };
        let Frame::LoginStarted(started) = self.send(start).await? else { panic!("another answer") };
        assert_eq!((started.request, started.message.len()), (3, 320));
        let response = CredentialResponse::deserialize(&started.message).unwrap();
        let stretch = stretch();
        let parameters = ClientLoginFinishParameters::new(None, Identifiers::default(), Some(&stretch));
        let Ok(finished) = client.state.finish(&mut OsRng, password.as_bytes(), response, parameters) else { return Ok(None) };
        Ok(Some((LoginFinish { request: 4, message: finished.message.serialize().to_vec().into() }, finished.export_key.to_vec())))
    }

    pub(crate) async fn log_in(&mut self, email: &str, password: &str) -> Result<Authorized, Failure> {
        let (finish, _) = self.log_in_start(email, password).await?.expect("the client opens the answer");
        self.authorized(finish).await
    }

    /// OPAQUE's first step to another password: the record and the export key.
    pub(crate) async fn secret_start(&mut self, ticket: &Bytes, password: &str) -> Result<(Bytes, Vec<u8>), Failure> {
        let client = ClientRegistration::<Suite>::start(&mut OsRng, password.as_bytes()).unwrap();
        let message = client.message.serialize().to_vec().into();
        let start = SecretStart { request: 8, ticket: ticket.clone(), message };
        let Frame::RegisterStarted(started) = self.send(start).await? else { panic!("another answer") };
        let response = RegistrationResponse::deserialize(&started.message).unwrap();
        let stretch = stretch();
        let parameters = ClientRegistrationFinishParameters::new(Identifiers::default(), Some(&stretch));
        let finished = client.state.finish(&mut OsRng, password.as_bytes(), response, parameters).unwrap();
        Ok((finished.message.serialize().to_vec().into(), finished.export_key.to_vec()))
    }

    async fn tokens(&mut self, frame: impl Into<Frame>) -> Result<Tokens, Failure> {
        let Frame::Tokens(tokens) = self.send(frame).await? else { panic!("another answer") };
        Ok(tokens)
    }

    pub(crate) async fn enrol(&mut self, to: &Authorized, device: &Device, changes: Vec<RosterChange>) -> Result<Tokens, Failure> {
        let ticket: String = to.ticket.iter().map(|byte| format!("{byte:02x}")).collect();
        let proof = device.prove(&self.nonce, &ticket);
        self.tokens(Enrol { request: 5, ticket: to.ticket.clone(), device: device.id, changes, proof }).await
    }

    pub(crate) async fn refresh(&mut self, device: &Device, token: &str) -> Result<Tokens, Failure> {
        let proof = device.prove(&self.nonce, token);
        self.tokens(Refresh { request: 6, refresh_token: token.to_owned(), proof }).await
    }

    pub(crate) async fn log_out(&mut self, device: &Device, token: &str) -> Result<(), Failure> {
        let proof = device.prove(&self.nonce, token);
        let logout = Logout { request: 7, refresh_token: token.to_owned(), proof };
        let Frame::Done(done) = self.send(logout).await? else { panic!("another answer") };
        assert_eq!(done.request, 7);
        Ok(())
    }
}

/// A recovery code's key pair.
pub(crate) fn code(number: u8) -> (SigningKey, PublicKey) {
    let key = SigningKey::from_bytes(&[100 + number; 32]);
    let public = PublicKey(key.verifying_key().to_bytes());
    (key, public)
}

/// A device with its keys.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    key: SigningKey,
}

impl Device {
    pub(crate) fn new(number: u8) -> Self {
        Self { id: DeviceId([number; 16]), key: SigningKey::from_bytes(&[number; 32]) }
    }

    pub(crate) fn prove(&self, nonce: &Nonce, token: &str) -> Signature {
        Signature(self.key.sign(&refresh_message(nonce, token)).to_bytes())
    }

    /// Its enrolment; the ledger looks at no signature.
    pub(crate) fn enrolment(&self, user: UserId) -> RosterChange {
        let statement = EnrolStatement {
            format: FORMAT,
            log: user.into(),
            identity_epoch: 1,
            device: self.id,
            signing: PublicKey(self.key.verifying_key().to_bytes()),
            agreement: PublicKey([3; 32]),
            name: Bytes::from_static(b"a sealed name"),
            client_ts: NOW_MS,
        };
        RosterChange::Enrol(EnrolChange { signed: unsigned(codec::encode(&statement)) })
    }

    pub(crate) fn revocation(&self, user: UserId) -> RosterChange {
        let (device, by, last) = (self.id, self.id, DeviceSeq(0));
        let statement = RevokeStatement { format: FORMAT, log: user.into(), identity_epoch: 1, device, last, by, client_ts: NOW_MS };
        RosterChange::Revoke(RevokeChange { signed: unsigned(codec::encode(&statement)) })
    }
}

pub(crate) fn unsigned(statement: Vec<u8>) -> Signed {
    Signed { statement: statement.into(), signature: Signature([0; 64]) }
}
