//! What every connection of a node shares.
//!
//! Never: state of one connection, or a task that nobody tracks.

use std::sync::Arc;

use cloudsync_accounts::Accounts;
use cloudsync_actors::{Clock, Region};
use cloudsync_protocol::statement::Carrier;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::framing::Patience;
use crate::metrics::{CONNECTIONS_REFUSED, Counted, Meters};
use crate::throttle::{Handshakes, Throttles, Visitor};

/// The parts of a node that connections use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) accounts: Accounts,
    pub(crate) region: Region,
    pub(crate) clock: Arc<dyn Clock>,
    /// Public URLs, for *welcome*.
    pub(crate) nodes: Vec<String>,
    pub(crate) patience: Patience,
    pub(crate) meters_quic: Meters,
    pub(crate) meters_websocket: Meters,
    /// Every task of the node's.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the node begins to leave: nothing new is taken, sessions are told.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when whatever is left must end now.
    pub(crate) ended: CancellationToken,
    /// One permit per connection.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) handshakes: Handshakes,
}

impl Shared {
    pub(crate) const fn meters(&self, carrier: Carrier) -> &Meters {
        match carrier {
            Carrier::Quic => &self.meters_quic,
            Carrier::WebSocket => &self.meters_websocket,
        }
    }

    /// A place among the connections; `None` when all are taken.
    pub(crate) fn place(&self, visitor: Visitor) -> Option<Place> {
        Place::among(&self.places, visitor)
    }

    /// Runs a task until it ends by itself or everything must.
    pub(crate) fn spawn<F>(self: &Arc<Self>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// One of the connections that a node takes at a time, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) visitor: Visitor,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// One of the free ones.
    pub(crate) fn among(places: &Arc<Semaphore>, visitor: Visitor) -> Option<Self> {
        let Ok(permit) = Arc::clone(places).try_acquire_owned() else {
            metrics::counter!(CONNECTIONS_REFUSED).increment(1);
            return None;
        };
        Some(Self { visitor, _permit: permit })
    }
}

/// A connection that got as far as speaking our protocol.
#[derive(Debug)]
pub(crate) struct Connected {
    _place: Arc<Place>,
    _counted: Counted,
}

impl Connected {
    pub(crate) fn new(place: Arc<Place>, meters: &Meters) -> Self {
        Self { _place: place, _counted: Counted::new(meters) }
    }
}
