//! What a `watch` says while the server is away: that it is, and less and less often that it still is.
//!
//! Never: a say in when it is tried again.

use std::time::{Duration, Instant};

/// The first gap between two lines; each is twice as long as the one before.
const GAP_FIRST: Duration = Duration::from_secs(4);
const GAP_MAX: Duration = Duration::from_secs(30);

/// When it was said last, and how long not to say it again.
#[derive(Debug, Default)]
pub(crate) struct Away {
    said: Option<(Instant, Duration)>,
}

impl Away {
    /// Whether to say now that the server is away.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let gap = match self.said {
            None => GAP_FIRST,
            Some((at, gap)) if now.saturating_duration_since(at) >= gap => (gap * 2).min(GAP_MAX),
            Some(_) => return false,
        };
        self.said = Some((now, gap));
        true
    }

    /// It is back; says whether it was away.
    pub(crate) fn ends(&mut self) -> bool {
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stays_away_is_mentioned_at_once_and_then_less_and_less_often_up_to_a_bound() {
        let begun = Instant::now();
        let mut away = Away::default();
        let said: Vec<u64> = (0..150).filter(|second| away.is_due(begun + Duration::from_secs(*second))).collect();
        assert_eq!(said, [0, 4, 12, 28, 58, 88, 118, 148]);
        assert!(away.ends() && !away.ends());
        assert!(away.is_due(begun + Duration::from_secs(150)), "one that leaves again is mentioned again");
    }
}
