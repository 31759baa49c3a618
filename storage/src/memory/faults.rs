//! Faults for the store in memory: which write goes wrong, and how. Seeded or scripted; the same seed, the same faults.
//!
//! Never: a fault that a real store could not have.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is applied or refused, and answered.
    None,
    /// `Unknown`, and its compare-and-set is never applied.
    Lost,
    /// `Unknown`, and its compare-and-set is parked: applied later, after later reads or in a later activation, if its
    /// condition still holds then.
    Late,
    /// `Unknown`, yet applied.
    Applied,
    /// Refused for want of room.
    Full,
    /// Refused, nothing written.
    Unavailable,
}

/// How often writes go wrong, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// [`Fault::Lost`].
    pub lost: u16,
    /// [`Fault::Late`].
    pub late: u16,
    /// [`Fault::Applied`].
    pub applied: u16,
    /// [`Fault::Full`].
    pub full: u16,
    /// [`Fault::Unavailable`], reads too.
    pub unavailable: u16,
    /// How often one parked compare-and-set is applied before a call.
    pub unpark: u16,
}

/// Which kind of write a scripted fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// [`Store::acquire`](crate::Store::acquire).
    Acquire,
    /// [`Store::commit`](crate::Store::commit).
    Commit,
    /// Every other write.
    Write,
}

/// Whether the store can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// It answers.
    #[default]
    Up,
    /// Every call is refused as unavailable.
    Down,
}

/// The handle: shared by the store and whoever directs it.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    random: u64,
    rates: Rates,
    acquires: VecDeque<Fault>,
    commits: VecDeque<Fault>,
    writes: VecDeque<Fault>,
    reach: Reach,
}

impl Faults {
    /// None, until told.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Faults at these rates, the same for the same seed and the same order of calls.
    #[must_use]
    pub fn seeded(seed: u64, rates: Rates) -> Self {
        let sum = [rates.lost, rates.late, rates.applied, rates.full, rates.unavailable].into_iter().map(u32::from).sum::<u32>();
        assert!(sum <= 1000, "rates are thousandths of one whole");
        let faults = Self::default();
        faults.state().random = seed;
        faults.state().rates = rates;
        faults
    }

    /// The next write of this kind for which nothing is scripted yet goes like this.
    pub fn script(&self, target: Target, fault: Fault) {
        self.state().queue(target).push_back(fault);
    }

    /// From now on, other rates.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// From now on, the store answers or not.
    pub fn set_reach(&self, reach: Reach) {
        self.state().reach = reach;
    }

    /// What happens to this write.
    pub(crate) fn draw(&self, target: Target) -> Fault {
        let mut state = self.state();
        if state.reach == Reach::Down {
            return Fault::Unavailable;
        }
        if let Some(fault) = state.queue(target).pop_front() {
            return fault;
        }
        let rates = state.rates;
        let mut draw = state.thousandth();
        for (rate, fault) in [
            (rates.lost, Fault::Lost),
            (rates.late, Fault::Late),
            (rates.applied, Fault::Applied),
            (rates.full, Fault::Full),
            (rates.unavailable, Fault::Unavailable),
        ] {
            match draw.checked_sub(rate) {
                Some(rest) => draw = rest,
                None => return fault,
            }
        }
        Fault::None
    }

    /// Whether this read is answered.
    pub(crate) fn draw_read(&self) -> Reach {
        let mut state = self.state();
        let unavailable = state.rates.unavailable;
        if state.reach == Reach::Down || state.thousandth() < unavailable { Reach::Down } else { Reach::Up }
    }

    /// Which of `parked` compare-and-sets is applied now, if any.
    pub(crate) fn draw_unpark(&self, parked: usize) -> Option<usize> {
        if parked == 0 {
            return None;
        }
        let mut state = self.state();
        let unpark = state.rates.unpark;
        (state.thousandth() < unpark).then(|| usize::try_from(state.next() % parked as u64).expect("less than a usize"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn queue(&mut self, target: Target) -> &mut VecDeque<Fault> {
        match target {
            Target::Acquire => &mut self.acquires,
            Target::Commit => &mut self.commits,
            Target::Write => &mut self.writes,
        }
    }

    fn thousandth(&mut self) -> u16 {
        u16::try_from(self.next() % 1000).expect("less than 1000")
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    const fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
