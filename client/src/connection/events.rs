//! Events on their way to whoever watches, bounded.
//!
//! Never: a connection held up by a slow watcher. The log is the truth, an event a hint: what does not fit is dropped
//! and the watcher told that it lags.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloudsync_protocol::Seq;
use cloudsync_protocol::frame::{Lagging, OWN_LOG};
use cloudsync_protocol::limits::{DEVICE_QUEUE_BYTES_MAX, DEVICE_QUEUE_FRAMES_MAX};
use tokio::sync::Notify;

use super::route::SessionEvent;

#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(SessionEvent, usize)>,
    bytes: usize,
    /// The highest head that a dropped event spoke of.
    dropped: Option<Seq>,
}

impl EventQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event that took `frame_bytes`, or drops it, and all that wait, and notes that the watcher lags.
    pub(crate) fn put(&self, event: SessionEvent, frame_bytes: usize) {
        let mut state = self.state();
        let full = state.waiting.len() >= DEVICE_QUEUE_FRAMES_MAX || state.bytes + frame_bytes > DEVICE_QUEUE_BYTES_MAX;
        if full || state.dropped.is_some() {
            let waiting = std::mem::take(&mut state.waiting);
            state.bytes = 0;
            let farewells = waiting.into_iter().map(|(event, _)| event).chain([event]);
            for event in farewells {
                match head_of(&event) {
                    Some(head) => state.dropped = state.dropped.max(Some(head)),
                    None => state.waiting.push_back((event, 0)),
                }
            }
        } else {
            state.waiting.push_back((event, frame_bytes));
            state.bytes += frame_bytes;
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// The next event, if one waits.
    fn take(&self) -> Option<SessionEvent> {
        let mut state = self.state();
        if let Some(head) = state.dropped.take() {
            return Some(SessionEvent::Lagging(Lagging { log: OWN_LOG, head }));
        }
        let (event, bytes) = state.waiting.pop_front()?;
        state.bytes = state.bytes.saturating_sub(bytes);
        Some(event)
    }

    /// The next event.
    pub(crate) async fn next(&self) -> SessionEvent {
        loop {
            let arrived = self.arrived.notified();
            if let Some(event) = self.take() {
                return event;
            }
            arrived.await;
        }
    }
}

/// The head that an event of the log speaks of; nothing for what is said only once.
fn head_of(event: &SessionEvent) -> Option<Seq> {
    match event {
        SessionEvent::Event(event) => Some(event.to),
        SessionEvent::Committed(committed) => Some(committed.to),
        SessionEvent::HeadAt(head) => Some(head.head),
        SessionEvent::Lagging(lagging) => Some(lagging.head),
        SessionEvent::GoingAway(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use cloudsync_protocol::frame::{GoingAway, HeadAt};
    use cloudsync_protocol::{ErrorCode, TimelineId};
    use futures_util::FutureExt as _;

    use super::*;

    fn head(seq: u64) -> SessionEvent {
        SessionEvent::HeadAt(HeadAt { log: OWN_LOG, timeline: TimelineId::default(), head: Seq(seq) })
    }

    fn lagging(seq: u64) -> SessionEvent {
        SessionEvent::Lagging(Lagging { log: OWN_LOG, head: Seq(seq) })
    }

    #[test]
    fn events_come_out_in_order() {
        let queue = EventQueue::default();
        queue.put(head(1), 10);
        queue.put(head(2), 10);
        assert_eq!(queue.next().now_or_never(), Some(head(1)));
        assert_eq!(queue.next().now_or_never(), Some(head(2)));
        assert_eq!(queue.next().now_or_never(), None);
    }

    #[test]
    fn a_queue_full_of_frames_becomes_one_lagging_with_the_highest_head() {
        let queue = EventQueue::default();
        for seq in 1..=DEVICE_QUEUE_FRAMES_MAX as u64 {
            queue.put(head(seq), 1);
        }
        queue.put(head(9_999), 1);
        queue.put(head(9_998), 1);
        assert_eq!(queue.next().now_or_never(), Some(lagging(9_999)));
        assert_eq!(queue.next().now_or_never(), None);
        queue.put(head(10_000), 1);
        assert_eq!(queue.next().now_or_never(), Some(head(10_000)));
    }

    #[test]
    fn a_queue_is_bounded_by_bytes_too_at_the_limit_and_one_past_it() {
        let queue = EventQueue::default();
        queue.put(head(1), DEVICE_QUEUE_BYTES_MAX - 1);
        queue.put(head(2), 1);
        assert_eq!(queue.next().now_or_never(), Some(head(1)));
        queue.put(head(3), DEVICE_QUEUE_BYTES_MAX);
        assert_eq!(queue.next().now_or_never(), Some(lagging(3)));
    }

    #[test]
    fn a_going_away_survives_an_overflow() {
        let queue = EventQueue::default();
        let going = SessionEvent::GoingAway(GoingAway { code: ErrorCode::GoingAway, message: String::new(), retry_after_ms: 5 });
        queue.put(going.clone(), 10);
        queue.put(head(2), DEVICE_QUEUE_BYTES_MAX);
        assert_eq!(queue.next().now_or_never(), Some(lagging(2)));
        assert_eq!(queue.next().now_or_never(), Some(going));
    }

    #[tokio::test]
    async fn a_waiting_watcher_is_woken() {
        let queue = std::sync::Arc::new(EventQueue::default());
        let watcher = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.put(head(1), 1);
        assert_eq!(watcher.await.unwrap(), head(1));
    }
}
