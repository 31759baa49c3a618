//! One connection to a server: challenge, account calls, hello, and then a session.
//!
//! Never: a task that outlives its connection's handles, or a queue without a bound.

mod answer;
mod error;
mod events;
mod pages;
mod route;
mod session;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod vigil;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cloudsync_protocol::frame::{Challenge, Hello};
use cloudsync_protocol::limits::PROTOCOL_VERSION;
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{Frame, codec};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::carrier::{self, Address, CONNECT_TIMEOUT, ConnectError, Link, Reader, Trust, Writer, quic, sleep_awake};
use crate::keys::DeviceKeys;
use crate::statement::hello_proof;

pub(crate) use answer::answer;
pub use error::Error;
pub use pages::{Pages, SnapshotPages};
pub use route::SessionEvent;
pub use session::{Events, HistoryRequest, Session};
pub(crate) use session::{Heard, Line};

use shared::{OUTGOING_FRAMES_MAX, Shared};

/// What *hello* says about this client, for the operator's logs.
const CLIENT: &str = concat!("cloudsync-rust/", env!("CARGO_PKG_VERSION"));

/// Where to connect, and whom to trust there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub address: Address,
    /// What its certificate is judged by.
    pub trust: Trust,
}

/// Whether a server that is being connected to has said anything yet.
#[derive(Debug, Default)]
pub(crate) struct Spoken(AtomicBool);

impl Spoken {
    fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection that has been challenged and has not said hello: account calls go here.
#[derive(Debug)]
pub struct Connection {
    pub(crate) inner: Inner,
    challenge: Challenge,
}

/// The tasks end with the last handle.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) carrier: Carrier,
    pub(crate) quic: Option<quic::Quic>,
    tasks: JoinSet<()>,
}

impl Connection {
    /// Connects and waits for the challenge, within [`CONNECT_TIMEOUT`].
    pub async fn open(server: &Server) -> Result<Self, Error> {
        Self::open_noting(server, &Spoken::default()).await
    }

    /// The same, and notes once the server has said something.
    pub(crate) async fn open_noting(server: &Server, spoken: &Spoken) -> Result<Self, Error> {
        let begun = Instant::now();
        let opened = Self::opened(server, spoken).await;
        let ms = begun.elapsed().as_millis();
        match &opened {
            Ok(connection) => tracing::debug!(address = %server.address, ms, server_ts = connection.challenge.server_ts, "connected"),
            Err(error) => tracing::warn!(address = %server.address, ms, %error, "not connected"),
        }
        opened
    }

    async fn opened(server: &Server, spoken: &Spoken) -> Result<Self, Error> {
        tokio::select! {
            biased;
            opened = Box::pin(Self::challenged(server, spoken)) => opened,
            () = sleep_awake(CONNECT_TIMEOUT) => {
                let why = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
                Err(Error::Unreachable(ConnectError::Unreachable { address: server.address.to_string(), why }))
            }
        }
    }

    async fn challenged(server: &Server, spoken: &Spoken) -> Result<Self, Error> {
        let mut link = carrier::connect(&server.address, server.trust).await?;
        spoken.note();
        let first = link.reader.next().await?.ok_or_else(|| Error::Closed("before it was challenged".to_owned()))?;
        let frame: Frame = codec::decode(&first).map_err(|error| Error::Protocol(error.to_string()))?;
        let frame = shared::refusal(frame)?;
        let name = frame.name();
        let Frame::Challenge(challenge) = frame else { return Err(Error::Protocol(format!("{name} where a challenge was due"))) };
        if challenge.version_min > PROTOCOL_VERSION || challenge.version_max < PROTOCOL_VERSION {
            let (min, max) = (challenge.version_min, challenge.version_max);
            return Err(Error::Protocol(format!("the server speaks versions {min} to {max}, this client {PROTOCOL_VERSION}")));
        }
        Ok(Self { inner: Inner::start(link), challenge })
    }

    /// What the server sent first: nonce and clock.
    #[must_use]
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// How far the server's clock is ahead of this machine's, in milliseconds.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        i128::try_from(now_ms).map_or(0, |now_ms| i64::try_from(i128::from(self.challenge.server_ts) - now_ms).unwrap_or_default())
    }

    /// How its bytes travel.
    #[must_use]
    pub const fn carrier(&self) -> Carrier {
        self.inner.carrier
    }

    /// One account call; the frame is given its request's number.
    pub(crate) async fn request(&self, frame: impl FnOnce(u32) -> Frame) -> Result<Frame, Error> {
        self.inner.shared.request(frame).await
    }

    /// Opens the session of an enrolled device. Events wait, bounded, until they are taken.
    pub async fn hello(self, device: &DeviceKeys, access_token: &str) -> Result<(Session, Events), Error> {
        let signature = hello_proof(device, &self.challenge.nonce, self.inner.carrier, access_token)?;
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            token: access_token.to_owned(),
            device: device.id,
            signature,
            client: CLIENT.to_owned(),
        };
        let welcome = self.inner.shared.hello(&hello.into()).await?;
        if welcome.version != PROTOCOL_VERSION {
            return Err(Error::Protocol(format!("version {} where only {PROTOCOL_VERSION} was offered", welcome.version)));
        }
        Ok(Session::new(self.inner, self.challenge.nonce, welcome))
    }

    /// Says goodbye and waits until that is on its way.
    pub async fn close(self) {
        self.inner.close().await;
    }
}

impl Inner {
    fn start(link: Link) -> Self {
        let (outgoing, waiting) = mpsc::channel(OUTGOING_FRAMES_MAX);
        let shared = Arc::new(Shared::new(outgoing));
        let mut tasks = JoinSet::new();
        tasks.spawn(write(Arc::clone(&shared), link.writer, waiting));
        tasks.spawn(read(Arc::clone(&shared), link.reader));
        tasks.spawn(vigil::keep(Arc::clone(&shared), link.ear));
        if let Some(quic) = &link.quic {
            tasks.spawn(read_events(Arc::clone(&shared), quic.connection.clone()));
        }
        Self { shared, carrier: link.carrier, quic: link.quic, tasks }
    }

    pub(crate) async fn close(mut self) {
        let is_silent = *self.shared.silence().borrow();
        self.shared.end(&Error::Closed("closed here".to_owned()));
        if is_silent {
            return;
        }
        // Closing takes a moment; a server that does not answer may not take more.
        let closing = async {
            if let Some(quic) = &self.quic {
                quic.close().await;
            }
            while self.tasks.join_next().await.is_some() {}
        };
        drop(tokio::time::timeout(CONNECT_TIMEOUT / 4, closing).await);
    }
}

async fn write(shared: Arc<Shared>, mut writer: Writer, mut waiting: mpsc::Receiver<Bytes>) {
    loop {
        let next = tokio::select! {
            frame = waiting.recv() => frame,
            () = shared.to_ask() => Some(Bytes::new()),
            _ = shared.ended() => None,
        };
        let written = match next {
            None => break,
            Some(frame) if frame.is_empty() => writer.ask().await,
            Some(frame) => writer.send(frame).await,
        };
        if let Err(error) = written {
            // The server's last words may still be on their way in: the reader ends the connection when it has read them.
            tracing::debug!(%error, "can't write");
            break;
        }
    }
    writer.close().await;
}

async fn read(shared: Arc<Shared>, mut reader: Reader) {
    let error = loop {
        let next = tokio::select! {
            next = reader.next() => next,
            ended = shared.ended() => break ended,
        };
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => break Error::Closed("by the server".to_owned()),
            Err(error) => break error.into(),
        };
        if let Err(error) = shared.receive(&frame).await {
            break error;
        }
    };
    shared.end(&error);
}

/// On QUIC the server opens one stream for events once it has welcomed.
async fn read_events(shared: Arc<Shared>, connection: quinn::Connection) {
    let Ok(mut stream) = connection.accept_uni().await else { return };
    let error = loop {
        match quic::read(&mut stream).await {
            Ok(Some(frame)) => {
                if let Err(error) = shared.receive(&frame).await {
                    break error;
                }
            }
            // The control stream says why, if anything is wrong.
            Ok(None) => return,
            Err(carrier::LinkError::Closed(_)) => return,
            Err(error) => break error.into(),
        }
    };
    shared.end(&error);
}
