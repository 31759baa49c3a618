//! MessagePack as this protocol speaks it: positional arrays, unknown trailing fields drained, depth bounded, length
//! checked to the last byte.
//!
//! Never: a self-describing map, or a field by name. `rmp-serde`'s derived `Deserialize` refuses unknown trailing
//! elements, so [`wire_struct!`](crate::wire_struct) writes both halves by hand.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::DEPTH_MAX;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not MessagePack of the expected shape: truncated, a wrong type, a wrong length, too deep.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A whole value, then more bytes.
    #[error("{0} bytes follow the value")]
    TrailingBytes(usize),
}

/// Encodes one value as a positional array.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("writing our own types to memory can't fail")
}

/// Decodes one value that fills `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    // It refuses the array that uses its count up.
    deserializer.set_max_depth(DEPTH_MAX + 1);
    let value = T::deserialize(&mut deserializer).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::TrailingBytes(rest.len())) }
}

/// A type that is written as some elements of an enclosing positional array. For [`wire_struct!`](crate::wire_struct),
/// which other crates use as well.
pub trait Fields: Sized {
    /// How many elements.
    const COUNT: usize;
    /// Writes the elements.
    fn write<S: serde::ser::SerializeTuple>(&self, tuple: &mut S) -> Result<(), S::Error>;
    /// Reads the elements; `at` is the index of the first, for the error message.
    fn read<'de, A: serde::de::SeqAccess<'de>>(elements: &mut A, at: usize) -> Result<Self, A::Error>;
}

/// Reads what a newer peer appended.
pub fn drain<'de, A: serde::de::SeqAccess<'de>>(elements: &mut A) -> Result<(), A::Error> {
    while elements.next_element::<serde::de::IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Declares a struct that travels as a positional array in the order of its fields.
///
/// Fields may be appended, never inserted, removed or reordered; an older reader drains what it does not know.
/// With `secret` before it, `Debug` shows the name only: what holds a token or an address must not get into a log.
#[macro_export]
macro_rules! wire_struct {
    (secret $(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        $crate::wire_struct! { @travels $name { $($field,)* } }
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        $crate::wire_struct! { @travels $name { $($field,)* } }
    };
    (@travels $name:ident { $($field:ident,)* }) => {
        impl $crate::codec::Fields for $name {
            const COUNT: usize = [$(stringify!($field)),*].len();

            fn write<S: serde::ser::SerializeTuple>(&self, tuple: &mut S) -> Result<(), S::Error> {
                $(tuple.serialize_element(&self.$field)?;)*
                Ok(())
            }

            fn read<'de, A: serde::de::SeqAccess<'de>>(elements: &mut A, at: usize) -> Result<Self, A::Error> {
                let mut index = at;
                $(
                    let $field = elements
                        .next_element()?
                        .ok_or_else(|| serde::de::Error::invalid_length(index, &concat!(stringify!($name), " with ", stringify!($field))))?;
                    index += 1;
                )*
                let _ = index;
                Ok(Self { $($field,)* })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple as _;
                let mut tuple = serializer.serialize_tuple(<Self as $crate::codec::Fields>::COUNT)?;
                $crate::codec::Fields::write(self, &mut tuple)?;
                tuple.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the array of a ", stringify!($name)))
                    }
                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut elements: A) -> Result<$name, A::Error> {
                        let value = <$name as $crate::codec::Fields>::read(&mut elements, 0)?;
                        $crate::codec::drain(&mut elements)?;
                        Ok(value)
                    }
                }
                deserializer.deserialize_seq(Visitor)
            }
        }
    };
}

/// Declares an enum of [`wire_struct!`]s that travels as `[tag, fields…]`.
#[macro_export]
macro_rules! wire_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident($type:ty) = $tag:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant($type),)* }

        impl $name {
            /// The tag that stands first in the array.
            #[must_use]
            pub const fn tag(&self) -> u8 {
                match self { $(Self::$variant(_) => $tag,)* }
            }
            /// The variant's name, for logs and metrics.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant),)* }
            }
        }

        $(impl From<$type> for $name { fn from(value: $type) -> Self { Self::$variant(value) } })*

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple as _;
                match self {
                    $(Self::$variant(value) => {
                        let mut tuple = serializer.serialize_tuple(1 + <$type as $crate::codec::Fields>::COUNT)?;
                        tuple.serialize_element(&$tag)?;
                        $crate::codec::Fields::write(value, &mut tuple)?;
                        tuple.end()
                    })*
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the tagged array of a ", stringify!($name)))
                    }
                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut elements: A) -> Result<$name, A::Error> {
                        let tag: u8 = elements.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(0, &"a tag"))?;
                        let value = match tag {
                            $($tag => $name::$variant(<$type as $crate::codec::Fields>::read(&mut elements, 1)?),)*
                            unknown => return Err(serde::de::Error::custom(format_args!(concat!("unknown ", stringify!($name), " tag {}"), unknown))),
                        };
                        $crate::codec::drain(&mut elements)?;
                        Ok(value)
                    }
                }
                deserializer.deserialize_seq(Visitor)
            }
        }
    };
}
