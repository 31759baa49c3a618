//! What a profile's `rotation.json` holds: a rotation whose end is not known, or whose code was not shown, as bytes and back.
//!
//! Never: a key. The keyring in it opens by the device's own half.

use cloudsync_protocol::id::{decode_hex_into, hex};
use cloudsync_protocol::{Hash, UserId, codec};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Rotation;
use crate::keys::RecoveryCode;

/// The file's format.
const FORMAT: u32 = 1;

/// Why bytes are not a rotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationFileError {
    /// Not of the expected shape. Where, never what.
    #[error("not a rotation: line {line}, column {column}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Of a newer release.
    #[error("it has format {format}, this release knows {FORMAT}")]
    FormatUnknown {
        /// As it says.
        format: u32,
    },
    /// A field that is not what it must be, or does not fit another.
    #[error("its field {field} is damaged")]
    Damaged {
        /// Which.
        field: &'static str,
    },
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct File {
    format: u32,
    user: String,
    version: u64,
    keyring: String,
    keyring_hash: String,
    change: String,
    record: Option<String>,
    leaving: Vec<String>,
    recovery_code: String,
    created_ts: u64,
}

fn unhex(text: &str, field: &'static str) -> Result<Vec<u8>, RotationFileError> {
    let mut bytes = vec![0; text.len() / 2];
    if decode_hex_into(text, &mut bytes) { Ok(bytes) } else { Err(RotationFileError::Damaged { field }) }
}

impl Rotation {
    /// JSON; wiped when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let statement = self.statement();
        let file = File {
            format: FORMAT,
            user: self.user.to_string(),
            version: statement.as_ref().map_or(0, |statement| statement.version),
            keyring: hex(&self.keyring),
            keyring_hash: hex(Hash::of(&[&self.keyring]).as_bytes()),
            change: hex(&codec::encode(&self.change)),
            record: self.record.as_ref().map(|record| hex(record)),
            leaving: statement
                .map_or_else(|_| Vec::new(), |statement| statement.revoked.iter().map(|leaver| leaver.device.to_string()).collect()),
            recovery_code: self.code.to_text(),
            created_ts: self.created_ts,
        };
        let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON"));
        bytes.push(b'\n');
        bytes
    }

    /// Reads and checks what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RotationFileError> {
        let malformed = |error: serde_json::Error| RotationFileError::Malformed { line: error.line(), column: error.column() };
        let Format { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format != FORMAT {
            return Err(RotationFileError::FormatUnknown { format });
        }
        let file: File = serde_json::from_slice(bytes).map_err(malformed)?;
        let damaged = |field| RotationFileError::Damaged { field };
        let rotation = Self {
            user: UserId::from_hex(&file.user).ok_or(damaged("user"))?,
            keyring: unhex(&file.keyring, "keyring")?.into(),
            change: codec::decode(&unhex(&file.change, "change")?).map_err(|_| damaged("change"))?,
            record: file.record.as_ref().map(|record| unhex(record, "record").map(Into::into)).transpose()?,
            code: RecoveryCode::from_text(&file.recovery_code).map_err(|_| damaged("recovery_code"))?,
            created_ts: file.created_ts,
        };
        let statement = rotation.statement().map_err(|_| damaged("change"))?;
        let hash = Hash::of(&[&rotation.keyring]);
        if statement.version != file.version || statement.keyring != hash || hex(hash.as_bytes()) != file.keyring_hash {
            return Err(damaged("keyring_hash"));
        }
        if statement.recovery == rotation.code.signing().public() { Ok(rotation) } else { Err(damaged("recovery_code")) }
    }
}
