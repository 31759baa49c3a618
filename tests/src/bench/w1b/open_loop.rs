//! Pushes at scheduled times, whatever has become of those before: a push that is late because the node is busy counts from when it
//! was due.
//!
//! Never: more unanswered requests of a session than are allowed. What is due beyond waits here, and its time runs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bytes::Bytes;
use cloudsync_protocol::limits::UNANSWERED_REQUESTS_MAX;
use cloudsync_protocol::{Frame, codec};
use tokio::task::JoinSet;

use crate::bench::fixture::{Member, now_ms};
use crate::bench::line::{Framing, Reader, Writer, framed};
use crate::bench::pushes::{BODY_BYTES, Pusher};
use crate::bench::seat::Dialler;
use crate::minted::Mint;

/// As fine as the runtime's timers are.
const TICK: Duration = Duration::from_millis(1);
/// Above those of attaching and claiming.
const FIRST_REQUEST: u32 = 1000;
/// After the last push was due.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(20);

/// What the tasks of one user share.
#[derive(Debug, Default)]
struct Duo {
    /// Sent and not answered: request and when it was due.
    unanswered: VecDeque<(u32, Instant)>,
    /// Not yet with the other device.
    unheard: VecDeque<Instant>,
    acknowledged: Vec<Duration>,
    received: Vec<Duration>,
    failed: Option<String>,
}

type Shared = Arc<Mutex<Duo>>;

fn lock(duo: &Shared) -> MutexGuard<'_, Duo> {
    duo.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A user of whom one device pushes and the other listens.
#[derive(Debug)]
struct Pair {
    duo: Shared,
    writer: Writer,
    pusher: Pusher,
    requests: u32,
    /// Due and not sent.
    due: VecDeque<(Instant, u32, Bytes)>,
    /// It says nothing more, but its half of the connection must stay.
    _far: Writer,
}

/// All of them, over plain WebSockets.
#[derive(Debug)]
pub(super) struct OpenLoop {
    pairs: Vec<Pair>,
    _tasks: JoinSet<()>,
}

/// What one rate came to.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) acknowledged: Vec<Duration>,
    pub(super) received: Vec<Duration>,
    /// From the first that was due to the last that was settled.
    pub(super) took: Duration,
}

async fn acknowledgements(mut reader: Reader, duo: Shared) -> anyhow::Result<()> {
    loop {
        match codec::decode(&reader.bytes().await?)? {
            Frame::Pushed(pushed) => {
                let (now, mut duo) = (Instant::now(), lock(&duo));
                let Some((request, due)) = duo.unanswered.pop_front() else { bail!("an answer to nothing") };
                ensure!(request == pushed.request, "answers out of order");
                duo.acknowledged.push(now - due);
            }
            Frame::Committed(_) | Frame::HeadAt(_) => {}
            other => bail!("a push was answered by {other:?}"),
        }
    }
}

async fn events(mut reader: Reader, duo: Shared) -> anyhow::Result<()> {
    loop {
        match codec::decode(&reader.bytes().await?)? {
            Frame::Event(event) => {
                let (now, mut duo) = (Instant::now(), lock(&duo));
                for _ in event.entries {
                    let Some(due) = duo.unheard.pop_front() else { bail!("an event of nothing") };
                    duo.received.push(now - due);
                }
            }
            Frame::HeadAt(_) => {}
            other => bail!("an event was due, there came {other:?}"),
        }
    }
}

impl OpenLoop {
    /// Opens two sessions of each member's: the first pushes.
    pub(super) async fn open(dialler: &Dialler, members: &[Member], mint: &Mint) -> anyhow::Result<Self> {
        let (mut pairs, mut tasks) = (Vec::new(), JoinSet::new());
        for member in members {
            let [pushing, listening, ..] = &*member.devices else { bail!("two devices each") };
            let token = |device| mint.token((member.user, device), now_ms()?, 1);
            let mut near = dialler.open(pushing, &token(pushing.id)?).await?;
            near.attach().await?;
            near.claim().await?;
            let mut far = dialler.open(listening, &token(listening.id)?).await?;
            far.attach().await?;
            let duo = Shared::default();
            let watched = |what: &'static str, duo: Shared, work: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>| async move {
                if let Err(error) = work.await {
                    lock(&duo).failed.get_or_insert(format!("{what}: {error:#}"));
                }
            };
            tasks.spawn(watched("the one that pushes", Arc::clone(&duo), Box::pin(acknowledgements(near.control, Arc::clone(&duo)))));
            tasks.spawn(watched("the one that listens", Arc::clone(&duo), Box::pin(events(far.control, Arc::clone(&duo)))));
            let pusher = Pusher::new(member.user.into(), pushing.id, BODY_BYTES)?;
            pairs.push(Pair { duo, writer: near.writer, pusher, requests: FIRST_REQUEST, due: VecDeque::new(), _far: far.writer });
        }
        Ok(Self { pairs, _tasks: tasks })
    }

    /// Pushes so often, evenly within `run`, and waits for every answer and event.
    pub(super) async fn step(&mut self, count: u32, run: Duration) -> anyhow::Result<Step> {
        let (frames, gap) = (self.made(count)?, run / count);
        let began = Instant::now() + 10 * TICK;
        let due = |number: u32| began + gap * number;
        let mut next = (0..).zip(frames).peekable();
        loop {
            let now = Instant::now();
            while let Some((number, (user, request, frame))) = next.next_if(|(number, _)| due(*number) <= now) {
                if let Some(pair) = self.pairs.get_mut(user) {
                    pair.due.push_back((due(number), request, frame));
                }
            }
            let mut left = usize::from(next.peek().is_some());
            for pair in &mut self.pairs {
                left += pair.send().await?;
            }
            if left == 0 {
                break;
            }
            ensure!(now < began + run + ANSWERS_TIMEOUT, "{left} pushes have no answer");
            tokio::time::sleep(TICK).await;
        }
        let mut step = Step { acknowledged: Vec::new(), received: Vec::new(), took: began.elapsed() };
        for pair in &self.pairs {
            let mut duo = lock(&pair.duo);
            step.acknowledged.append(&mut duo.acknowledged);
            step.received.append(&mut duo.received);
        }
        Ok(step)
    }

    /// Made before the clock starts, one user after the other.
    fn made(&mut self, count: u32) -> anyhow::Result<Vec<(usize, u32, Bytes)>> {
        let (now_ms, users) = (now_ms()?, self.pairs.len());
        let make = |number: u32| {
            let user = number as usize % users;
            let Some(pair) = self.pairs.get_mut(user) else { bail!("no user {user}") };
            pair.requests += 1;
            let frame = pair.pusher.create(pair.requests, now_ms)?.frame();
            Ok((user, pair.requests, framed(Framing::WebSocket, &frame)?))
        };
        (0..count).map(make).collect()
    }
}

impl Pair {
    /// Sends what is due and allowed; how many are not settled.
    async fn send(&mut self) -> anyhow::Result<usize> {
        loop {
            let frame = {
                let mut duo = lock(&self.duo);
                if let Some(why) = &duo.failed {
                    bail!("{why}");
                }
                let allowed = duo.unanswered.len() < UNANSWERED_REQUESTS_MAX;
                let Some((due, request, frame)) = self.due.pop_front_if(|_| allowed) else {
                    return Ok(self.due.len() + duo.unanswered.len() + duo.unheard.len());
                };
                duo.unanswered.push_back((request, due));
                duo.unheard.push_back(due);
                frame
            };
            self.writer.send_framed(&frame).await?;
        }
    }
}
