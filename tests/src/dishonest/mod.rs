//! [`DishonestServer`]: what a client sees of a server that has gone bad. It stands before a real node, holds the node's
//! certificate, reads every frame and does with it what a test says.
//!
//! A client connects to [`url`](DishonestServer::url) or [`server`](DishonestServer::server), by `ws://` or by `wss://` with the
//! node's own certificate, so that a pinned client sees no difference; behind it every connection is one to the node. As long as
//! nothing else is said it is honest, and passes every frame on as it is. A trick counts from then on, for connections that are
//! open as for new ones, until [`behave`](DishonestServer::behave):
//!
//! ```no_run
//! # use cloudsync_protocol::Frame;
//! # use cloudsync_tests::{TestNode, Wire};
//! # use cloudsync_tests::dishonest::{DishonestServer, Way, pages};
//! # async fn example() -> anyhow::Result<()> {
//! let node = TestNode::start_in_memory().await?;
//! let server = DishonestServer::before(&node, Wire::Wss).await?;
//! // It changes what it says: here every page of the log, every event and every snapshot.
//! server.tells(|frame| pages(frame, |entries| entries.reverse()));
//! // It leaves something out.
//! server.withholds(|frame| matches!(frame, Frame::Event(_) | Frame::HeadAt(_)));
//! // Anything: each frame on its way becomes any number of them, either way. To hold one back, keep it in the closure.
//! let mut held = None;
//! server.does(move |way, frame| match (way, frame) {
//!     (Way::ToClient, Frame::Event(event)) if held.is_none() => {
//!         held = Some(Frame::from(event));
//!         Vec::new()
//!     }
//!     (way, frame) => std::iter::once((way, frame)).chain(held.take().map(|late| (Way::ToClient, late))).collect(),
//! });
//! // It says something of its own accord, to everybody who has a session.
//! # let frame: Frame = todo!();
//! server.says(frame);
//! // What went by, with what the node said before it was changed.
//! let heard = server.heard();
//! # Ok(())
//! # }
//! ```
//!
//! A server has no key of the account's or of a device's. A test in which somebody helps it, such as a device that was revoked,
//! takes that one's keys ([`Person::keys`](crate::Person) or the profile's `keys.json`) and makes statements and envelopes by
//! [`forge`]; what a foreign hand would sign is made by keys of its own. The node's token key is
//! [`Mint`](crate::minted::Mint)'s.
//!
//! Never: a rule of the real node. QUIC, whose streams would be one more thing to pass on, and nothing that is judged.

pub mod forge;
mod frames;
mod passing;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use cloudsync_client::carrier::{Address, Trust};
use cloudsync_client::connection::Server;
use cloudsync_protocol::Frame;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::node::{TestNode, Wire};

pub use frames::{batches, pages, rows};

/// For what takes milliseconds, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The client sent it.
    ToNode,
    /// The node sent it.
    ToClient,
}

/// What becomes of a frame on its way: what is sent in its place, in that order.
type Trick = Box<dyn FnMut(Way, Frame) -> Vec<(Way, Frame)> + Send>;

/// What all of its connections share.
struct Shared {
    trick: Mutex<Trick>,
    heard: watch::Sender<Vec<(Way, Frame)>>,
    /// Where each open session takes what is said of the server's own accord.
    sessions: Mutex<Vec<mpsc::UnboundedSender<(Way, Frame)>>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// To that side of every connection that is open; how many these are.
    fn say(&self, way: Way, frame: &Frame) -> usize {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|session| session.send((way, frame.clone())).is_ok());
        sessions.len()
    }

    fn pass(&self, way: Way, frame: Frame) -> Vec<(Way, Frame)> {
        let instead = lock(&self.trick)(way, frame.clone());
        self.heard.send_modify(|heard| heard.push((way, frame)));
        instead
    }
}

/// A server that lies. It ends when it is dropped.
pub struct DishonestServer {
    server: Server,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

impl std::fmt::Debug for DishonestServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DishonestServer({})", self.server.address)
    }
}

impl DishonestServer {
    /// In front of a node, on a free port; honest until it is told otherwise.
    pub async fn before(node: &TestNode, wire: Wire) -> anyhow::Result<Self> {
        let tls = match wire {
            Wire::Quic => bail!("a dishonest server speaks WebSocket"),
            Wire::Wss => Some(TlsAcceptor::from(passing::certificate(&node.data())?)),
            Wire::Ws => None,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address: Address = format!("{}://{}", wire.scheme(), listener.local_addr()?).parse()?;
        let shared = Arc::new(Shared {
            trick: Mutex::new(Box::new(|way, frame| vec![(way, frame)])),
            heard: watch::Sender::default(),
            sessions: Mutex::default(),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept((listener, tls), node.address(Wire::Ws)?, Arc::clone(&shared)));
        Ok(Self { server: Server { address, trust: Trust::Pinned(node.pin()) }, shared, _accepting: accepting })
    }

    /// `ws://…` or `wss://…`, as the command line takes it.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.address.to_string()
    }

    /// What the SDK connects to.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// From now on every frame, either way, becomes what this gives.
    pub fn does(&self, trick: impl FnMut(Way, Frame) -> Vec<(Way, Frame)> + Send + 'static) {
        *lock(&self.shared.trick) = Box::new(trick);
    }

    /// From now on what the node says is changed so.
    pub fn tells(&self, mut change: impl FnMut(&mut Frame) + Send + 'static) {
        self.does(move |way, mut frame| {
            if way == Way::ToClient {
                change(&mut frame);
            }
            vec![(way, frame)]
        });
    }

    /// From now on what the node says is left out where this holds.
    pub fn withholds(&self, which: impl Fn(&Frame) -> bool + Send + 'static) {
        self.does(move |way, frame| if way == Way::ToClient && which(&frame) { Vec::new() } else { vec![(way, frame)] });
    }

    /// From now on the client's frames that this answers never reach the node.
    pub fn answers(&self, mut answer: impl FnMut(&Frame) -> Option<Frame> + Send + 'static) {
        self.does(move |way, frame| match if way == Way::ToNode { answer(&frame) } else { None } {
            Some(answer) => vec![(Way::ToClient, answer)],
            None => vec![(way, frame)],
        });
    }

    /// Keeps the first frame to the node that this holds for until `work` is done, while all else goes on. Of one connection at a time.
    pub fn delays(&self, which: impl Fn(&Frame) -> bool + Send + 'static, work: impl FnOnce() + Send + 'static) {
        let (mut work, shared) = (Some(work), Arc::downgrade(&self.shared));
        self.does(move |way, frame| {
            if way == Way::ToClient || !which(&frame) {
                return vec![(way, frame)];
            }
            let (Some(work), Some(shared)) = (work.take(), shared.upgrade()) else { return vec![(way, frame)] };
            std::thread::spawn(move || {
                work();
                shared.say(Way::ToNode, &frame);
            });
            Vec::new()
        });
    }

    /// From now on it is honest.
    pub fn behave(&self) {
        self.does(|way, frame| vec![(way, frame)]);
    }

    /// Says this to everybody who is connected, as it is; gives how many that are.
    pub fn says(&self, frame: impl Into<Frame>) -> usize {
        self.shared.say(Way::ToClient, &frame.into())
    }

    /// Everything that came in since it began or was last [forgotten](Self::forget), as it was before a trick.
    #[must_use]
    pub fn heard(&self) -> Vec<(Way, Frame)> {
        self.shared.heard.borrow().clone()
    }

    /// Waits until it has heard, and dealt with, what the node says that this holds for.
    pub async fn hears(&self, which: impl Fn(&Frame) -> bool) -> anyhow::Result<()> {
        let mut heard = self.shared.heard.subscribe();
        let any = |heard: &Vec<(Way, Frame)>| heard.iter().any(|(way, frame)| *way == Way::ToClient && which(frame));
        tokio::time::timeout(PATIENCE, heard.wait_for(any)).await.context("it was not said")??;
        Ok(())
    }

    /// Forgets what it heard.
    pub fn forget(&self) {
        self.shared.heard.send_modify(Vec::clear);
    }
}

async fn accept((listener, tls): (TcpListener, Option<TlsAcceptor>), node: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (says, said) = mpsc::unbounded_channel();
        lock(&shared.sessions).push(says);
        connections.spawn(passing::connection((client, tls.clone()), node, (Arc::clone(&shared), said)));
    }
}
