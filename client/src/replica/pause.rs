//! Ctrl-Z, taken between transactions: a process that is stopped holds no lock that others wait for.
//!
//! Never: a signal handler that does anything but set the thread below free.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use signal_hook::consts::{SIGSTOP, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// Transactions read, the stop writes.
static GATE: RwLock<()> = RwLock::new(());

/// Held for the length of a transaction.
pub(super) fn enter() -> RwLockReadGuard<'static, ()> {
    GATE.read().unwrap_or_else(PoisonError::into_inner)
}

/// From now on Ctrl-Z stops this process once no transaction is under way. For programs that have a terminal, once.
pub fn stop_between_transactions() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTSTP])?;
    std::thread::Builder::new().name("ctrl-z".to_owned()).spawn(move || {
        for _ in signals.forever() {
            let gate = GATE.write().unwrap_or_else(PoisonError::into_inner);
            // Stops every thread here; goes on after SIGCONT.
            drop(low_level::raise(SIGSTOP));
            drop(gate);
        }
    })?;
    Ok(())
}
