//! Pushes one after the other of one device, beside whatever else goes on: what each waited. Where a quiet user's pushes are to be
//! measured while others attack, this is what measures them.
//!
//! Never: two at a time. What others do meanwhile is what is measured.

use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use cloudsync_protocol::Frame;

use super::seat::Seat;

/// Sends a push and waits for its answer.
pub async fn push(seat: &mut Seat, frame: &Bytes) -> anyhow::Result<Duration> {
    let began = Instant::now();
    seat.send(frame).await?;
    loop {
        match seat.frame().await? {
            Frame::Pushed(_) => return Ok(began.elapsed()),
            Frame::Committed(_) | Frame::HeadAt(_) | Frame::Event(_) => {}
            other => bail!("a push was answered by {other:?}"),
        }
    }
}
