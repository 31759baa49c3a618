//! What the server tells of our own pushes, taken in: the cursor follows them, and nobody reads those rows again.
//!
//! Never: a push held up by it, or taken for undone because its echo is missing.

use std::time::Duration;

use cloudsync_engine::replica::{Applied, Outcome, Stretch};
use tokio::time::Instant;

use super::{Error, Online};
use crate::connection::SessionEvent;
use crate::replica::Access;

/// How long the last echo is waited for: on QUIC it may come after its push's answer.
pub(super) const ECHO_WITHIN: Duration = Duration::from_secs(1);

impl Online {
    /// Takes in what has come, and what comes within a time, up to our last push. Where something is missing in between, the
    /// next one who reads the log gets it.
    pub(super) async fn take_echoes(&mut self, within: Duration) -> Result<(), Error> {
        let ends = Instant::now() + within;
        while self.attached && self.client.replica(Access::Read, |replica, _| replica.cursor()).await?.seq < self.pushed_to {
            // A connection that has ended tells nothing any more.
            let Ok(Ok(event)) = tokio::time::timeout_at(ends, self.events.next()).await else { return Ok(()) };
            let outcome = match event {
                SessionEvent::Committed(committed) => {
                    self.client.replica(Access::Write, move |replica, _| replica.committed(&committed)).await?
                }
                SessionEvent::Event(event) => {
                    let taken_in = self.client.replica(Access::Write, move |replica, seal| {
                        let stretch = Stretch { timeline: event.timeline, from: event.from, to: event.to, entries: &event.entries };
                        replica.apply(stretch, &seal)
                    });
                    taken_in.await?
                }
                SessionEvent::HeadAt(_) => continue,
                // From here on events are missing, or the session is over.
                SessionEvent::Lagging(_) | SessionEvent::GoingAway(_) => {
                    self.attached = false;
                    return Ok(());
                }
            };
            match outcome {
                Outcome::Applied(Applied { stopped: Some(untrusted), .. }) => return Err(Box::new(untrusted).into()),
                // Whoever reads next has the keys.
                Outcome::Applied(Applied { needs_keys: Some(epoch), .. }) => {
                    self.ensure_keys(epoch).await?;
                    self.attached = false;
                }
                Outcome::Applied(_) | Outcome::Old => {}
                Outcome::Gap { .. } => self.attached = false,
            }
        }
        Ok(())
    }
}
