//! Where a test stops a process: between two steps of something that must survive it.
//!
//! Never: a step that does something because somebody looks.

use std::fmt;
use std::sync::Arc;

/// A moment between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A rotation was made, and is nowhere but in memory.
    RotationMade,
    /// It is in the profile, and was not sent.
    RotationStored,
    /// The server has taken it, and the profile has the keys before.
    RotationAnswered,
    /// The profile has the new keys, and the code was not shown.
    RotationInstalled,
    /// Keys are in their file, and the tables don't know.
    KeysWritten,
    /// Another password is made, and was not sent.
    PasswordMade,
    /// The server has taken it, and the profile has seen no newer keyring.
    PasswordAnswered,
    /// A recovery has stored the device's keys, and the password is the old one.
    RecoveryStored,
    /// The password is the new one, and the device is not enrolled.
    RecoveryChanged,
}

/// Who is told of each step; nobody, unless a test asks.
#[derive(Clone, Default)]
pub struct Probe(Option<Arc<dyn Fn(Step) + Send + Sync>>);

impl Probe {
    /// Calls that.
    pub fn new(told: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(super) fn at(&self, step: Step) {
        if let Some(told) = &self.0 {
            told(step);
        }
    }
}

impl PartialEq for Probe {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_some() == other.0.is_some()
    }
}
impl Eq for Probe {}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.0.is_some()).finish()
    }
}
