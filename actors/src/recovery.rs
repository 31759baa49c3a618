//! When a user whose actor ended in trouble gets its next one, while sessions wait for its events: at once, then after
//! waits that double up to a bound.
//!
//! Never: giving up. A session that is attached relies on being told, and nobody else may come to ask.

use std::time::Duration;

use tokio::time::Instant;

/// Before the third activation in a row; doubles with each that follows.
pub(crate) const WAIT_MIN: Duration = Duration::from_millis(100);
/// Between activations at most: how late a user is noticed whose store is there again.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);
/// An actor that lived for that long was well: trouble after it is the first again. Longer than an actor takes to find
/// that the store does not answer.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// What one user's actors went through.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// Troubled endings in a row.
    troubles: u32,
    activated: Option<Instant>,
    /// When the next activation is due, if one is waited for.
    due: Option<Instant>,
}

impl Recovery {
    /// An actor starts now, whoever asked for it.
    pub(crate) fn activated(&mut self, now: Instant) {
        self.activated = Some(now);
    }

    /// The actor ended in trouble, or did not start.
    pub(crate) fn troubled(&mut self, now: Instant) {
        let was_well = self.activated.take().is_none_or(|activated| now.saturating_duration_since(activated) >= WELL_AFTER);
        self.troubles = if was_well { 1 } else { self.troubles.saturating_add(1) };
    }

    /// How long to wait before the next activation; nothing if one is waited for already.
    pub(crate) fn plan(&mut self, now: Instant) -> Option<Duration> {
        if self.due.is_some() {
            return None;
        }
        let wait = match self.troubles {
            0 | 1 => Duration::ZERO,
            troubles => WAIT_MAX.min(WAIT_MIN * 2_u32.pow((troubles - 2).min(16))),
        };
        self.due = Some(now + wait);
        Some(wait)
    }

    /// What was waited for has come.
    pub(crate) fn came_due(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_begin_at_nothing_and_double_up_to_their_bound() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            recovery.activated(now);
            recovery.troubled(now);
            waits.push(recovery.plan(now).unwrap());
            assert_eq!(recovery.plan(now), None, "one at a time");
            recovery.came_due();
        }
        assert_eq!(waits[..4], [Duration::ZERO, WAIT_MIN, WAIT_MIN * 2, WAIT_MIN * 4]);
        assert_eq!(waits[11], WAIT_MAX);
        recovery.activated(now);
        recovery.troubled(now + WELL_AFTER);
        assert_eq!(recovery.plan(now), Some(Duration::ZERO), "it was well in between");
    }
}
