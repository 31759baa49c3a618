//! What becomes one group: everything that waits, and after a group of several whoever was just answered and asks again.
//!
//! Never: a lone writer kept waiting, or a group past its bounds.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::request::Request;

/// Requests of one group.
const GROUP_REQUESTS_MAX: usize = 512;
/// Row bytes of one group, passed by its last request at most.
const GROUP_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The part of a group's time that the next one may wait for more requests.
const PATIENCE_PART: u32 = 4;
/// Between two looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_micros(50);
/// However long the group before took: a disk that hung once must not hold the next one up.
const PATIENCE_MAX: Duration = Duration::from_millis(5);

/// Whom the next group waits for, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    requests: usize,
    until: Instant,
}

impl Expected {
    /// After a group of so many, begun then and answered now: that many may ask again, soon. Not after a lone writer, and
    /// not for one that comes later.
    pub(super) fn after(requests: usize, began: Instant, now: Instant) -> Self {
        let patience = PATIENCE_MAX.min(now.saturating_duration_since(began) / PATIENCE_PART);
        Self { requests, until: if requests < 2 { now } else { now + patience } }
    }
}

/// Takes what waits, and, while that is fewer than are expected, what still comes. Whoever was just answered asks
/// again soon: without a little patience the first of them would be a group of its own, and all others would wait for its sync.
pub(super) fn gather(queue: &mut mpsc::Receiver<Request>, first: Request, expected: Expected) -> Vec<Request> {
    let (mut bytes, mut group) = (first.bytes(), vec![first]);
    while group.len() < GROUP_REQUESTS_MAX && bytes < GROUP_BYTES_MAX {
        match queue.try_recv() {
            Ok(next) => {
                bytes += next.bytes();
                group.push(next);
            }
            Err(TryRecvError::Empty) if group.len() < expected.requests && Instant::now() < expected.until => {
                std::thread::sleep(LOOK_EVERY)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::conformance::data::{acquire, log};

    fn ask(number: u64) -> Request {
        Request::Acquire(acquire(log(number), 1, number), oneshot::channel().0)
    }

    #[test]
    fn a_group_waits_for_those_who_were_just_answered_and_for_no_more() {
        let (sender, mut queue) = mpsc::channel(8);
        sender.try_send(ask(2)).unwrap();
        let late = std::thread::spawn(move || {
            // Until the one that waits already was taken.
            while sender.capacity() < sender.max_capacity() {
                std::hint::spin_loop();
            }
            sender.try_send(ask(3)).unwrap();
            sender
        });
        let long = Instant::now() + Duration::from_secs(60);
        assert_eq!(gather(&mut queue, ask(1), Expected { requests: 3, until: long }).len(), 3, "it asked again in time");
        let _sender = late.join().unwrap();
        assert_eq!(gather(&mut queue, ask(4), Expected { requests: 1, until: long }).len(), 1, "nobody else is waited for");
        assert_eq!(gather(&mut queue, ask(5), Expected { requests: 3, until: Instant::now() }).len(), 1, "nor for ever");
    }

    #[test]
    fn patience_is_a_part_of_a_groups_time_bounded_and_none_after_a_lone_writer() {
        let began = Instant::now();
        let patience = |requests, took_ms| {
            let now = began + Duration::from_millis(took_ms);
            Expected::after(requests, began, now).until - now
        };
        assert_eq!(patience(1, 8), Duration::ZERO);
        assert_eq!(patience(2, 8), Duration::from_millis(2));
        assert_eq!(patience(256, 10_000), PATIENCE_MAX, "a disk that hung once holds nobody up twice");
    }
}
