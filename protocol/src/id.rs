//! The 16- and 32-byte ids, each a type of its own.
//!
//! Never: making one. Randomness belongs to the shells; here an id is only carried.

use std::fmt;

/// Declares a fixed-size byte id: MessagePack `bin`, hexadecimal as text.
macro_rules! bytes_id {
    ($($(#[$meta:meta])* $name:ident[$length:literal];)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Its length in bytes.
            pub const LENGTH: usize = $length;
            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] { &self.0 }
            /// From a slice of exactly the right length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> { bytes.try_into().ok().map(Self) }
            /// From its hexadecimal text.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> { $crate::id::decode_hex(text).and_then(|bytes| Self::from_slice(&bytes)) }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$crate::id::hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!(stringify!($name), "({})"), self) }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($length, " bytes of a ", stringify!($name))) }
                    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        $name::from_slice(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
                    }
                }
                deserializer.deserialize_bytes(Visitor)
            }
        }
    )*};
}
pub(crate) use bytes_id;

bytes_id! {
    /// A user. Chosen at random by the client that registers; never reused.
    UserId[16];
    /// An ordered history with one writer at a time. A user's own log has the user's id.
    LogId[16];
    /// A device. Chosen at random by the device; never reused, not even after it was revoked.
    DeviceId[16];
    /// A stretch of history that was never rewound.
    TimelineId[16];
    /// One attempt to commit: what tells "mine" from "somebody's" after an unknown outcome.
    CommitId[16];
    /// One attempt to acquire a log.
    OwnerId[16];
    /// A family of refresh tokens: one log-in of one device.
    FamilyId[16];
    /// What the server sends first on every connection, to be signed.
    Nonce[32];
}

impl From<UserId> for LogId {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}

/// Bytes as lower-case hexadecimal. The text has its room from the start: growing would leave parts of a secret behind.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    let digit = |digit: u8| char::from_digit(digit.into(), 16).expect("four bits are a digit");
    bytes.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 0xf)]));
    text
}

/// Lower- or upper-case hexadecimal to bytes.
#[must_use]
pub fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    decode_hex_into(text, &mut bytes).then_some(bytes)
}

/// The same into room of the caller's, which may be one that is wiped. False, with any bytes in it, when the text is not
/// hexadecimal, or not of as many bytes.
#[must_use]
pub fn decode_hex_into(text: &str, bytes: &mut [u8]) -> bool {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.len() == bytes.len() * 2
        && text.as_bytes().chunks(2).zip(bytes).all(|(pair, byte)| match pair {
            [high, low] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                (_, _) => false,
            },
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_two_lower_case_digits_a_byte_and_reads_back() {
        let bytes = [0, 9, 0x0a, 0x7f, 0xff];
        assert_eq!(hex(&bytes), "00090a7fff");
        assert_eq!(decode_hex(&hex(&bytes)).as_deref(), Some(bytes.as_slice()));
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn what_is_not_hexadecimal_or_not_as_long_is_none() {
        for text in ["0", "0g", "+f", " f", "ä", "00ä"] {
            assert_eq!(decode_hex(text), None, "{text}");
        }
        let mut bytes = [0; 2];
        assert!(decode_hex_into("0aFf", &mut bytes) && bytes == [10, 255]);
        assert!(!decode_hex_into("0a", &mut bytes) && !decode_hex_into("0a0a0a", &mut bytes));
    }
}
