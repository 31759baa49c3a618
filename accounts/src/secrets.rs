//! The cluster's secrets: OPAQUE set-up, token signing keys, refresh and ticket keys, the QUIC reset key.
//!
//! Never: in the database, in `Debug`, in an error. Whoever has them and the database can guess passwords; whoever loses
//! them has locked out every password.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::passwords::Passwords;
use crate::tokens::TokenKey;

/// The format that this code writes and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// Secrets as they are used. Made once per cluster, shared by its nodes.
pub struct Secrets {
    pub(crate) passwords: Passwords,
    pub(crate) signing: Vec<TokenKey>,
    pub(crate) refresh: Zeroizing<[u8; 32]>,
    pub(crate) ticket: Zeroizing<[u8; 32]>,
    quic_reset: Zeroizing<[u8; 64]>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kids: Vec<&str> = self.signing.iter().map(TokenKey::kid).collect();
        f.debug_struct("Secrets").field("kids", &kids).finish_non_exhaustive()
    }
}

/// One RSA key in the file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SigningFields {
    /// Signs from then on, in milliseconds since the epoch; published before.
    use_from_ts: u64,
    /// PKCS#8 as PEM, RSA-3072.
    private_key_pem: String,
}

/// Secrets as they stand in the file; byte strings in base64.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Fields {
    /// [`FORMAT`]; stands first, and is read before the rest.
    format: u32,
    /// `opaque-ke`'s `ServerSetup`: seed, key pair, public key for unknown addresses.
    opaque_server_setup: String,
    signing_keys: Vec<SigningFields>,
    refresh_key: String,
    ticket_key: String,
    quic_reset_key: String,
}

fn random<const N: usize>() -> Result<String, &'static str> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| "the operating system gives no randomness")?;
    Ok(STANDARD.encode(bytes.as_slice()))
}

fn bytes<const N: usize>(text: &str, what: &'static str) -> Result<Zeroizing<[u8; N]>, &'static str> {
    let decoded = Zeroizing::new(STANDARD.decode(text).map_err(|_| what)?);
    decoded.as_slice().try_into().map(Zeroizing::new).map_err(|_| what)
}

/// PKCS#8 in PEM (RFC 7468).
fn pem(der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + text.len() / 64 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for (at, letter) in text.chars().enumerate() {
        pem.push(letter);
        if at % 64 == 63 {
            pem.push('\n');
        }
    }
    pem.push_str("\n-----END PRIVATE KEY-----\n");
    pem
}

impl Fields {
    /// Fresh ones. Finding the RSA key's primes takes up to a second or two.
    pub(crate) fn generate() -> Result<Self, &'static str> {
        let key = KeyPair::generate(KeySize::Rsa3072).map_err(|_| "no RSA key could be made")?;
        let der = key.as_der().map_err(|_| "the RSA key can't be written as PKCS#8")?;
        Ok(Self {
            format: FORMAT,
            opaque_server_setup: STANDARD.encode(Zeroizing::new(Passwords::generate().to_bytes())),
            signing_keys: vec![SigningFields { use_from_ts: 0, private_key_pem: pem(der.as_ref()).to_string() }],
            refresh_key: random::<32>()?,
            ticket_key: random::<32>()?,
            quic_reset_key: random::<64>()?,
        })
    }
}

impl Secrets {
    /// Fresh secrets that are kept nowhere: for tests and nodes without a data folder. Takes up to a second or two.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, &'static str> {
        Self::from_fields(&Fields::generate()?)
    }

    pub(crate) fn from_fields(fields: &Fields) -> Result<Self, &'static str> {
        let setup = Zeroizing::new(STANDARD.decode(&fields.opaque_server_setup).map_err(|_| "opaque_server_setup")?);
        let mut signing = Vec::with_capacity(fields.signing_keys.len());
        for key in &fields.signing_keys {
            signing.push(TokenKey::from_pem(&key.private_key_pem, key.use_from_ts).map_err(|_| "signing_keys")?);
        }
        if signing.is_empty() {
            return Err("signing_keys");
        }
        Ok(Self {
            passwords: Passwords::from_bytes(&setup).ok_or("opaque_server_setup")?,
            signing,
            refresh: bytes(&fields.refresh_key, "refresh_key")?,
            ticket: bytes(&fields.ticket_key, "ticket_key")?,
            quic_reset: bytes(&fields.quic_reset_key, "quic_reset_key")?,
        })
    }

    /// The key of QUIC's stateless resets: stable, so that a client notices a restarted node at once.
    #[must_use]
    pub fn quic_reset_key(&self) -> &[u8; 64] {
        &self.quic_reset
    }
}
