//! Names that an app gives: collections and record ids, with their bounds.
//!
//! Never: a name that was not checked; the only ways in are `new` and decoding, and both check.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{COLLECTION_NAME_BYTES_MAX, RECORD_ID_BYTES_MAX};

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {bytes} bytes, allowed are 1 to {bytes_max}")]
pub struct NameError {
    /// What was named.
    pub what: &'static str,
    /// How long the name is.
    pub bytes: usize,
    /// How long it may be.
    pub bytes_max: usize,
}

macro_rules! name {
    ($($(#[$meta:meta])* $name:ident, $what:literal, $bytes_max:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the length, in bytes of UTF-8.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if text.is_empty() || text.len() > $bytes_max {
                    return Err(NameError { what: $what, bytes: text.len(), bytes_max: $bytes_max });
                }
                Ok(Self(text))
            }
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}

name! {
    /// A collection's name, 1 to 64 bytes of UTF-8; an app may use opaque tokens.
    CollectionName, "a collection name", COLLECTION_NAME_BYTES_MAX;
    /// A record's id within its collection, 1 to 128 bytes of UTF-8.
    RecordId, "a record id", RECORD_ID_BYTES_MAX;
}

crate::wire_struct! {
    /// What names a record within a log.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct RecordKey {
        /// The collection.
        pub collection: CollectionName,
        /// The id within it.
        pub record: RecordId,
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.record)
    }
}
