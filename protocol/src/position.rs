//! Counters and positions: versions, sequence numbers, epochs, cursors.
//!
//! Never: arithmetic that wraps; a counter that could overflow says so by `checked_*` or can't in the life of a log.

use std::fmt;

use crate::hash::ShortHash;
use crate::id::TimelineId;

macro_rules! counter {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one.
            #[must_use]
            pub const fn next(self) -> Self { self.plus(1) }
            /// `count` further on.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                match self.0.checked_add(count) { Some(sum) => Self(sum), None => panic!("a 64-bit counter has run out") }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.0) }
        }
    )*};
}

counter! {
    /// Position in a log: counts operations without gaps, from 1.
    Seq;
    /// A record's version: 1, 2, 3 …, on across deletion. 0 means "never existed".
    Version;
    /// The right to write a log: view version × 2^24 + counter. Higher wins; each value is won at most once.
    Epoch;
    /// A numbered list of live nodes.
    View;
    /// Counts a device's pushes; names bytes, never reused for others, gaps allowed. 0 means "none yet".
    DeviceSeq;
    /// How many times a log's history was rewound.
    Generation;
}

impl Version {
    /// What a record that never existed is at.
    pub const NONE: Self = Self(0);
}

impl Seq {
    /// Before the first operation.
    pub const ZERO: Self = Self(0);
}

crate::wire_struct! {
    /// How far a device has read a log. `seq` 0 is the beginning, of any timeline.
    #[derive(Copy, Default)]
    pub struct Cursor {
        /// The timeline that was read.
        pub timeline: TimelineId,
        /// The last row read.
        pub seq: Seq,
        /// The first 8 bytes of that row's hash: another row there means that the store was rewound.
        pub row: ShortHash,
    }
}
