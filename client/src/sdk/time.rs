//! The clock and the dice of this shell.
//!
//! Never: in a rule; they take time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This machine's clock, in milliseconds since the epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The server's clock by its offset, in milliseconds since the epoch.
pub(super) fn server_ms(offset_ms: i64) -> u64 {
    now_ms().saturating_add_signed(offset_ms)
}

/// Somewhere from half of `around` to one and a half of it.
pub(super) fn jittered(around: Duration) -> Duration {
    around / 2 + around.mul_f64(rand::random::<f64>())
}

/// Not before `wait`, and up to a quarter of it later: who was told to wait is told again when it comes earlier.
pub(super) fn after(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::random::<f64>() / 4.0)
}

/// Doubles from try to try, up to 1 to 3 s: a person watches.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_secs(2);

    pub(super) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// How long to wait now.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = jittered(self.next);
        self.next = (self.next * 2).min(Self::MAX);
        wait
    }

    /// It went well.
    pub(super) const fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_to_wait_comes_no_earlier_and_not_much_later() {
        let (told, late) = (Duration::from_secs(8), Duration::from_secs(10));
        assert!((0..100).map(|_| after(told)).all(|wait| wait >= told && wait <= late));
    }

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        assert!(waits[0] < Duration::from_millis(376) && waits[11] >= Duration::from_secs(1) && waits[11] <= Duration::from_secs(3));
        backoff.reset();
        assert!(backoff.wait() < Duration::from_millis(376));
    }
}
