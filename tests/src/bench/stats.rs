//! Samples, their percentiles, and how those differ from round to round.
//!
//! Never: a mean. One slow checkpoint would be spread over all.

use std::time::Duration;

/// Two percentiles of one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// The median, in microseconds.
    pub p50_us: f64,
    /// In microseconds.
    pub p99_us: f64,
}

impl Percentiles {
    /// By nearest rank; nothing of nothing.
    #[must_use]
    pub fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort_unstable();
        let rank = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1);
            samples.get(rank - 1).map(|sample| sample.as_secs_f64() * 1e6)
        };
        Some(Self { p50_us: rank(50)?, p99_us: rank(99)? })
    }
}

/// One figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median of the rounds.
    pub median: f64,
    /// The lowest round.
    pub low: f64,
    /// The highest round.
    pub high: f64,
}

impl Spread {
    /// Of one value a round; nothing of nothing.
    #[must_use]
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let (low, high) = (*rounds.first()?, *rounds.last()?);
        let upper = *rounds.get(rounds.len() / 2)?;
        let lower = *rounds.get((rounds.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let samples = (1..=200).rev().map(Duration::from_micros).collect();
        assert_eq!(Percentiles::of(samples), Some(Percentiles { p50_us: 100.0, p99_us: 198.0 }));
        assert_eq!(Percentiles::of(vec![Duration::from_micros(7)]), Some(Percentiles { p50_us: 7.0, p99_us: 7.0 }));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }

    #[test]
    fn a_spread_is_median_lowest_and_highest_of_the_rounds() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
