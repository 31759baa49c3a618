//! The small files of a profile: who is signed in where, and a registration that is under way.
//!
//! Never: a key. The recovery code stands in [`Pending`] until it was shown.

use std::fmt;

use cloudsync_protocol::UserId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::account::RotationFileError;
use crate::keys::file::{FORMAT as KEYS_FORMAT, FileError as KeyFileError};

/// The format of both files.
const FORMAT: u32 = 1;

/// Who is signed in where: `profile.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The server's URL.
    pub server: String,
    /// The certificate to trust instead of the system's roots: `sha256:HEX`.
    pub pin: Option<String>,
    /// The account's address.
    pub email: String,
    /// The account.
    pub user: UserId,
    /// The device's name, in plain.
    pub device: String,
}

/// A registration that was begun: `pending.json`.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Pending {
    /// Whose.
    #[zeroize(skip)]
    pub email: String,
    /// The account, as its keys say.
    #[zeroize(skip)]
    pub user: UserId,
    /// The device's name, in plain.
    #[zeroize(skip)]
    pub device: String,
    /// To be shown once.
    pub recovery_code: String,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("email", &self.email).field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct CardFile {
    format: u32,
    server: String,
    #[serde(default)]
    pin: Option<String>,
    email: String,
    user: String,
    device: String,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct PendingFile {
    format: u32,
    email: String,
    user: String,
    device: String,
    recovery_code: String,
}

/// What is wrong with a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A newer release wrote them.
    Newer { found: u32, known: u32 },
    /// They are not as written. Where, never what.
    Damaged(String),
}

impl From<KeyFileError> for Wrong {
    fn from(error: KeyFileError) -> Self {
        match error {
            KeyFileError::FormatUnknown { format } if format > KEYS_FORMAT => Self::Newer { found: format, known: KEYS_FORMAT },
            KeyFileError::FormatUnknown { .. } | KeyFileError::Malformed { .. } | KeyFileError::Damaged { .. } => {
                Self::Damaged(error.to_string())
            }
        }
    }
}

impl From<RotationFileError> for Wrong {
    fn from(error: RotationFileError) -> Self {
        match error {
            RotationFileError::FormatUnknown { format } if format > FORMAT => Self::Newer { found: format, known: FORMAT },
            RotationFileError::FormatUnknown { .. } | RotationFileError::Malformed { .. } | RotationFileError::Damaged { .. } => {
                Self::Damaged(error.to_string())
            }
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Wrong> {
    let malformed = |error: serde_json::Error| {
        Wrong::Damaged(if bytes.is_empty() {
            "it is empty".to_owned()
        } else {
            format!("not as written, at line {}, column {}", error.line(), error.column())
        })
    };
    let Format { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format > FORMAT {
        return Err(Wrong::Newer { found: format, known: FORMAT });
    }
    if format != FORMAT {
        return Err(Wrong::Damaged(format!("there is no format {format}")));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

fn user_id(text: &str) -> Result<UserId, Wrong> {
    UserId::from_hex(text).ok_or_else(|| Wrong::Damaged("its user is not an id".to_owned()))
}

fn lines<T: Serialize>(file: &T) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(file).expect("strings and numbers are JSON"));
    bytes.push(b'\n');
    bytes
}

impl Card {
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let Self { server, pin, email, user, device } = self.clone();
        lines(&CardFile { format: FORMAT, server, pin, email, user: user.to_string(), device })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Wrong> {
        let CardFile { server, pin, email, user, device, .. } = parse(bytes)?;
        let user = user_id(&user)?;
        Ok(Self { server, pin, email, user, device })
    }
}

impl Pending {
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let Self { email, user, device, recovery_code } = self;
        lines(&PendingFile {
            format: FORMAT,
            email: email.clone(),
            user: user.to_string(),
            device: device.clone(),
            recovery_code: recovery_code.clone(),
        })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Wrong> {
        let file: PendingFile = parse(bytes)?;
        let user = user_id(&file.user)?;
        let (email, device, recovery_code) = (file.email.clone(), file.device.clone(), file.recovery_code.clone());
        Ok(Self { email, user, device, recovery_code })
    }
}
