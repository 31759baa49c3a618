//! One bucket: so many at once, refilled evenly. The generic cell rate algorithm (ITU-T I.371, annex A): all that is kept is
//! the moment at which the bucket will be full again.
//!
//! Never: a clock. Time is an argument, in nanoseconds since whoever asks began.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How far a bucket may be overdrawn by what came in before it could be refused.
const DEBT_MAX: Duration = Duration::from_secs(60);

/// At most `count` at once, and as many again within `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u64,
    /// How long an empty bucket takes to be full.
    pub within: Duration,
}

impl Rate {
    /// So many in so many seconds.
    #[must_use]
    pub const fn new(count: u64, seconds: u64) -> Self {
        Self { count, within: Duration::from_secs(seconds) }
    }

    /// What `count` take to be refilled.
    fn refill(self, count: u64) -> u64 {
        let nanos = u128::from(count) * self.within.as_nanos() / u128::from(self.count.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    fn depth(self) -> u64 {
        nanos(self.within)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// When the bucket will be full.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes `count` out of it, or says how long until it holds as many.
    pub(super) fn take(&self, rate: Rate, count: u64, now: u64) -> Result<(), Duration> {
        let after = |full: u64| full.max(now).saturating_add(rate.refill(count));
        let limit = now.saturating_add(rate.depth());
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full| Some(after(full)).filter(|full| *full <= limit));
        taken.map(|_| ()).map_err(|full| Duration::from_nanos(after(full) - limit))
    }

    /// How long until it holds one; nothing when it does.
    pub(super) fn wait(&self, rate: Rate, now: u64) -> Duration {
        let after = self.0.load(Ordering::Acquire).max(now).saturating_add(rate.refill(1));
        Duration::from_nanos(after.saturating_sub(now.saturating_add(rate.depth())))
    }

    /// Takes `count` out of it whether it holds them or not, and says how long to wait until that is made good.
    pub(super) fn charge(&self, rate: Rate, count: u64, now: u64) -> Duration {
        let limit = now.saturating_add(rate.depth());
        let after = |full: u64| full.max(now).saturating_add(rate.refill(count)).min(limit.saturating_add(nanos(DEBT_MAX)));
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full| Some(after(full)));
        let (Ok(full) | Err(full)) = before;
        Duration::from_nanos(after(full).saturating_sub(limit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_full_bucket_gives_its_count_at_once_and_then_one_after_the_other() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 100));
        for _ in 0..10 {
            assert_eq!(bucket.take(rate, 1, 0), Ok(()));
        }
        assert_eq!(bucket.take(rate, 1, 0), Err(Duration::from_secs(10)));
        assert_eq!(bucket.take(rate, 1, 10 * SECOND - 1), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.wait(rate, 10 * SECOND), Duration::ZERO);
        assert_eq!(bucket.take(rate, 1, 10 * SECOND), Ok(()));
        assert_eq!(bucket.wait(rate, 10 * SECOND), Duration::from_secs(10));
    }

    #[test]
    fn what_is_refused_takes_nothing_and_what_is_charged_is_owed_up_to_a_bound() {
        let (bucket, rate) = (Bucket::default(), Rate::new(100, 10));
        assert_eq!(bucket.take(rate, 60, 0), Ok(()));
        assert_eq!(bucket.take(rate, 60, 0), Err(Duration::from_secs(2)));
        assert_eq!(bucket.charge(rate, 40, 0), Duration::ZERO);
        assert_eq!(bucket.charge(rate, 20, 0), Duration::from_secs(2));
        assert_eq!(bucket.charge(rate, 1_000_000, 0), DEBT_MAX);
        assert_eq!(bucket.take(rate, 1, nanos(DEBT_MAX)), Err(Duration::from_millis(100)));
    }

    proptest! {
        #[test]
        fn in_no_stretch_of_time_is_more_given_than_the_bucket_and_its_refill(
            (count, seconds) in (1_u64..50, 1_u64..50),
            steps in proptest::collection::vec((0..3 * SECOND, 1_u64..4), 1..200),
        ) {
            let (bucket, rate) = (Bucket::default(), Rate::new(count, seconds));
            let (mut now, mut given) = (0, Vec::new());
            for (pause, wanted) in steps {
                now += pause;
                if bucket.take(rate, wanted, now).is_ok() {
                    given.push((now, wanted));
                }
            }
            for (from, (begin, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (end, taken) in &given[from..] {
                    sum += taken;
                    let refilled = u128::from(end - begin) * u128::from(count) / u128::from(seconds * SECOND);
                    prop_assert!(u128::from(sum) <= u128::from(count) + refilled + 1);
                }
            }
        }
    }
}
