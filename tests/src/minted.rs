//! The account and the device of the frozen vectors, written through the store, with tokens minted by a node's own key.
//!
//! Never: a password; nobody logs in here.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use cloudsync_engine::log::{Acquire, Commit};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::{EnrolChange, IdentityChange, PublicKey, RosterChange, Signature, Signed};
use cloudsync_protocol::{CommitId, DeviceId, Entry, OwnerId, TimelineId, UserId};
use cloudsync_storage::Store;
use cloudsync_storage::store::{Account, Credentials};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// What the vectors of `client` froze of statements.
const STATEMENTS: &str = include_str!("../../client/vectors/statement.json");
/// What its keyring is; nothing here opens it.
pub const KEYRING: &[u8] = b"the frozen account's keyring";
const CREATED_TS: u64 = 1_700_000_000_000;

/// The frozen account, on a store.
#[derive(Debug, Clone)]
pub struct FrozenAccount {
    /// Whose log it is.
    pub user: UserId,
    /// Its one device.
    pub device: DeviceId,
    vectors: Value,
}

impl FrozenAccount {
    /// Writes the account, the identity and the device into an empty store, as a node would have.
    pub async fn write(store: &Arc<dyn Store>) -> anyhow::Result<Self> {
        let vectors: Value = serde_json::from_str(STATEMENTS)?;
        let user = UserId::from_hex(text(&vectors, "/log")?).context("the user")?;
        let device = DeviceId::from_hex(text(&vectors, "/device/id")?).context("the device")?;
        let account = Account { email: "frozen@example.com".to_owned(), user, created_ts: CREATED_TS };
        let [opaque_record, keyring] = [&b"nobody logs in"[..], KEYRING].map(Bytes::from_static);
        let credentials = Credentials { version: 1, opaque_record, recovery: PublicKey([1; 32]), keyring };
        store.create_account(account, credentials).await?;
        let acquire = Acquire {
            log: user.into(),
            view: cloudsync_actors::Options::default().view,
            owner: OwnerId(rand::random()),
            timeline: TimelineId(rand::random()),
        };
        let mut head = store.acquire(acquire).await?;
        let after = head.seq;
        let identity = RosterChange::Identity(IdentityChange { signed: signed(&vectors, "/identity_change")? });
        let enrolment = RosterChange::Enrol(EnrolChange { signed: signed(&vectors, "/enrol_change/signed")? });
        let mut entries = Vec::new();
        for change in [identity, enrolment] {
            let entry = Entry::Roster(RosterRow { seq: head.seq.next(), server_ts: CREATED_TS, change });
            head.follow(&entry, |_, _| None)?;
            entries.push(entry);
        }
        head.commit = CommitId(rand::random());
        store.commit(Commit { log: user.into(), after, entries, head, credentials: None, wraps: Vec::new() }).await?;
        Ok(Self { user, device, vectors })
    }

    /// A field of the vectors, such as `/device/signing_seed`.
    pub fn vector(&self, pointer: &str) -> anyhow::Result<&str> {
        text(&self.vectors, pointer)
    }

    /// An access token, signed by the key that the node with this data folder has. `number` makes it another one.
    pub fn mint(&self, data: &Path, now_ms: u64, number: u32) -> anyhow::Result<String> {
        Mint::open(data)?.token((self.user, self.device), now_ms, number)
    }
}

/// Makes access tokens as the node with that data folder does: by its key.
pub struct Mint {
    key: EncodingKey,
    header: Header,
}

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mint")
    }
}

impl Mint {
    /// Reads the key.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        let secrets: Value = serde_json::from_slice(&std::fs::read(data.join(cloudsync_accounts::SECRETS_FILE))?)?;
        let key = EncodingKey::from_rsa_pem(text(&secrets, "/signing_keys/0/private_key_pem")?.as_bytes())?;
        let header = Header { typ: Some("at+jwt".to_owned()), kid: Some(kid(&key)?), ..Header::new(Algorithm::RS256) };
        Ok(Self { key, header })
    }

    /// A token of that user's device. `number` makes it another one.
    pub fn token(&self, (user, device): (UserId, DeviceId), now_ms: u64, number: u32) -> anyhow::Result<String> {
        let (seconds, life) = (now_ms / 1000, cloudsync_accounts::ACCESS_TOKEN_LIFETIME.as_secs());
        let options = cloudsync_accounts::Options::default();
        let claims = json!({
            "iss": options.issuer, "aud": options.audience, "sub": user.to_string(), "device": device.to_string(),
            "iat": seconds, "exp": seconds + life, "jti": format!("minted {number}"),
        });
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }
}

fn kid(key: &EncodingKey) -> anyhow::Result<String> {
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(key, Algorithm::RS256)?;
    Ok(jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)?)
}

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no text at {pointer}"))
}

fn signed(vectors: &Value, pointer: &str) -> anyhow::Result<Signed> {
    let of = |field: &str| hexadecimal(text(vectors, &format!("{pointer}/{field}"))?);
    let signature = of("signature")?.try_into().ok().map(Signature).context("the signature's length")?;
    Ok(Signed { statement: of("statement")?.into(), signature })
}

fn hexadecimal(text: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).context("half a byte"));
    pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?)).collect()
}
