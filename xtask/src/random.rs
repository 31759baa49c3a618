//! A small generator of pseudo-random numbers: the same seed, the same numbers, on every machine and release.
//!
//! Never: for secrets.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..end`; 0 for an empty range. The bias of the remainder is far below what anyone here could notice.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap_or(u64::MAX)).unwrap_or_default()
    }

    /// True `thousandths` times in a thousand.
    pub(crate) fn chance(&mut self, thousandths: usize) -> bool {
        self.below(1000) < thousandths
    }

    /// One of the values, as often as its weight says.
    pub(crate) fn weighted<T: Copy + Default>(&mut self, table: &[(T, usize)]) -> T {
        let mut left = self.below(table.iter().map(|(_, weight)| weight).sum());
        for (value, weight) in table {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *value,
            }
        }
        T::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_published_numbers() {
        // Vigna's splitmix64.c, seed 0.
        let mut random = Random::new(0);
        assert_eq!((random.next(), random.next()), (0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4));
    }

    #[test]
    fn weights_decide_how_often_a_value_comes() {
        let mut random = Random::new(7);
        let ones = (0..10_000).filter(|_| random.weighted(&[(1, 1), (2, 3)]) == 1).count();
        assert!((2_300..2_700).contains(&ones), "{ones}");
    }
}
