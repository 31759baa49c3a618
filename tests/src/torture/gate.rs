//! [`Gate`]: a TCP proxy that counts what is said, either way, and stops at a given one, so that a client can be killed there.
//!
//! Never: a byte changed, or one dropped that its sender could have known to be received.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where the gate shuts, counted from the first thing said after [`Gate::shut_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// Before that one is passed on.
    Before(u32),
    /// After it was.
    After(u32),
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    said: u32,
    shut_at: Option<Shut>,
    is_shut: bool,
    /// Connections of an earlier round end.
    round: u64,
}

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    _accepting: JoinSet<()>,
}

impl Gate {
    /// In front of `server`, on a free port, open.
    pub async fn before(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, state) = (listener.local_addr()?, Arc::new(watch::channel(State::default()).0));
        let mut accepting = JoinSet::new();
        let told = Arc::clone(&state);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass_on(client, server, Arc::clone(&told)));
            }
        });
        Ok(Self { address, state, _accepting: accepting })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens it, counts anew and shuts there. What was open before ends.
    pub fn shut_at(&self, shut_at: Option<Shut>) {
        self.state.send_modify(|state| *state = State { said: 0, shut_at, is_shut: false, round: state.round + 1 });
    }

    /// Whether it has shut.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.state.borrow().is_shut
    }

    /// How much was said since it was opened.
    #[must_use]
    pub fn said(&self) -> u32 {
        self.state.borrow().said
    }
}

async fn pass_on(client: TcpStream, server: SocketAddr, state: Arc<watch::Sender<State>>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    // What is said is passed on at once: a step is a step.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let round = state.borrow().round;
    let mut rounds = state.subscribe();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let both = async { tokio::join!(copy(from_client, to_server, &state), copy(from_server, to_client, &state)) };
    tokio::select! {
        _ = both => {}
        _ = rounds.wait_for(|state| state.round != round) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, state: &watch::Sender<State>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let mut turn = Turn::Pass;
        state.send_modify(|state| turn = state.next());
        if turn == Turn::Hold {
            return std::future::pending().await;
        }
        if to.write_all(bytes.get(..read).unwrap_or_default()).await.is_err() {
            break;
        }
        if turn == Turn::PassAndShut {
            state.send_modify(|state| state.is_shut = true);
        }
    }
    // The peer that it would be said to may have gone.
    drop(to.shutdown().await);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Pass,
    PassAndShut,
    Hold,
}

impl State {
    /// Counts one more.
    fn next(&mut self) -> Turn {
        let number = self.said;
        if self.is_shut {
            return Turn::Hold;
        }
        self.said += 1;
        match self.shut_at {
            Some(Shut::Before(at)) if at == number => {
                self.is_shut = true;
                Turn::Hold
            }
            Some(Shut::After(at)) if at == number => Turn::PassAndShut,
            // Another direction may speak before the one that shuts has been passed on.
            Some(Shut::After(at)) if number > at => Turn::Hold,
            Some(_) | None => Turn::Pass,
        }
    }
}
