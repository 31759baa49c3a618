//! How much of a core a process has had.
//!
//! Never: another process's time. What waits for a core counts nothing.

use std::time::Duration;

use anyhow::Context as _;

/// Clock ticks a second in `/proc`: fixed by the kernel's interface on every machine that this runs on (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process, all its threads together, ended ones too; in steps of 10 ms.
pub fn of(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> { Ok(fields.get(at).context("too few fields")?.parse()?) };
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_that_computes_uses_time() {
        let own = std::process::id();
        let before = super::of(own).unwrap();
        while super::of(own).unwrap() == before {
            std::hint::spin_loop();
        }
    }
}
