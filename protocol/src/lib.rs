//! The vocabulary that client and server share: ids, positions, envelopes, statements, frames, limits and error codes,
//! with one codec for all of them.
//!
//! Never: tokio, clocks, randomness, secrets. What stands here is fit for `wasm32-unknown-unknown`.

pub mod codec;
pub mod entry;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod hash;
pub mod id;
pub mod limits;
pub mod name;
pub mod position;
pub mod statement;

pub use entry::{Batch, Entry, Operation, Row};
pub use envelope::{Envelope, Header};
pub use error::{ErrorCode, Failure};
pub use frame::Frame;
pub use hash::{Hash, ShortHash};
pub use id::{CommitId, DeviceId, FamilyId, LogId, Nonce, OwnerId, TimelineId, UserId};
pub use name::{CollectionName, RecordId, RecordKey};
pub use position::{Cursor, DeviceSeq, Epoch, Generation, Seq, Version, View};
pub use statement::Signature;
