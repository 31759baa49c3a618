//! The conformance suite on each backend of this crate.
//!
//! Never: a backend's own cases; `embedded.rs` and `memory.rs` have those.

mod support;

use support::{EmbeddedFactory, MemoryFactory};

cloudsync_storage::conformance!(memory, MemoryFactory::default());
cloudsync_storage::conformance!(embedded, EmbeddedFactory::default());
