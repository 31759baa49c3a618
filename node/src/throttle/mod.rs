//! How much may come in a short time: from an account, from an address, from everybody.
//!
//! Never: a wait for a peer whose bucket is empty, but for the next read of its own connection; and never an address charged
//! that its peer has not proven: a forger could empty another's bucket.

mod bucket;
mod handshakes;
mod options;
mod table;

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cloudsync_protocol::{ErrorCode, Failure, Frame, UserId};
use tokio::time::Instant;

pub use bucket::Rate;
use bucket::{Bucket, nanos};
pub(crate) use handshakes::{Handshake, Handshakes};
use options::{FRAME_BYTES_MIN, READ_WAIT_MAX, What, Whose};
pub use options::{Loopback, Options, Rates};
use table::Table;

use crate::metrics::THROTTLED;

/// The buckets of one thing.
#[derive(Debug)]
struct Buckets {
    what: What,
    rates: Rates,
    accounts: Table,
    addresses: Table,
    node: Bucket,
}

/// Too much in a short time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttled {
    what: What,
    whose: Whose,
    wait: Duration,
}

impl Throttled {
    pub(crate) fn failure(self, request: u32) -> Failure {
        let of = match self.whose {
            Whose::Account => "for this account",
            Whose::Address => "from this address",
            Whose::Node => "for this node",
        };
        let wait_ms = u32::try_from(self.wait.as_millis()).unwrap_or(u32::MAX).max(1);
        let message = format!("too many {} {of}: try again in {} s", self.what.told(), wait_ms.div_ceil(1000));
        Failure::new(request, ErrorCode::Throttled, message).retry_after(wait_ms)
    }
}

impl Buckets {
    fn new(what: What, rates: Rates) -> Self {
        Self { what, rates, accounts: Table::default(), addresses: Table::default(), node: Bucket::default() }
    }

    fn throttled(&self, whose: Whose, wait: Duration) -> Throttled {
        metrics::counter!(THROTTLED, "what" => self.what.name(), "whose" => whose.name()).increment(1);
        Throttled { what: self.what, whose, wait }
    }

    /// One out of each bucket. The address's first: who has none left there can't empty an account's.
    fn take(&self, address: Option<Address>, account: Option<&Account<'_>>, now: u64) -> Result<(), Throttled> {
        let buckets = [
            address.map(|address| (self.addresses.bucket(&address), self.rates.address, Whose::Address)),
            account.map(|account| (self.accounts.bucket(account), self.rates.account, Whose::Account)),
            Some((&self.node, self.rates.node, Whose::Node)),
        ];
        buckets
            .into_iter()
            .flatten()
            .try_for_each(|(bucket, rate, whose)| bucket.take(rate, 1, now).map_err(|wait| self.throttled(whose, wait)))
    }

    /// So many out of each, and the longest wait for what is owed then.
    fn charge(&self, address: Option<Address>, account: &Account<'_>, (count, now): (u64, u64)) -> (Whose, Duration) {
        let address = address.map(|address| (self.addresses.bucket(&address).charge(self.rates.address, count, now), Whose::Address));
        let account = (self.accounts.bucket(account).charge(self.rates.account, count, now), Whose::Account);
        let node = (self.node.charge(self.rates.node, count, now), Whose::Node);
        let (wait, whose) = [Some(node), Some(account), address].into_iter().flatten().max_by_key(|(wait, _)| *wait).unwrap_or(node);
        (whose, wait)
    }
}

/// Who is counted as one account.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account<'a> {
    User(UserId),
    /// As it was given: an address that nobody has counts like one that somebody has.
    Email(&'a str),
}

impl Hash for Account<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::User(user) => user.as_bytes().hash(state),
            Self::Email(email) => email.trim().to_lowercase().hash(state),
        }
    }
}

/// Who is counted as one address: an IPv4 address, or the network of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Address {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6(u64::try_from(ip.to_bits() >> 64).unwrap_or_default()),
        }
    }
}

/// Every bucket of a node.
#[derive(Debug)]
pub(crate) struct Throttles {
    pub(crate) options: Options,
    began: Instant,
    connections: Buckets,
    log_ins: Buckets,
    registrations: Buckets,
    pushes: Buckets,
    bytes: Buckets,
}

impl Throttles {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            options,
            began: Instant::now(),
            connections: Buckets::new(What::Connections, options.connections),
            log_ins: Buckets::new(What::LogIns, options.log_ins),
            registrations: Buckets::new(What::Registrations, options.registrations),
            pushes: Buckets::new(What::Pushes, options.pushes),
            bytes: Buckets::new(What::Bytes, options.bytes),
        })
    }

    /// Whoever is at the other end. Behind a proxy nobody's address is known, only the proxy's.
    pub(crate) fn visitor(self: &Arc<Self>, peer: IpAddr, way: Way) -> Visitor {
        let spared = peer.to_canonical().is_loopback() && self.options.loopback == Loopback::Spared;
        let address = (way == Way::Direct).then(|| peer.into());
        Visitor { throttles: (!spared).then(|| Arc::clone(self)), address }
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }
}

/// How a peer came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    /// Through a proxy on this machine.
    Proxy,
}

/// One connection's peer, as the throttles see it; without them it is spared.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    throttles: Option<Arc<Throttles>>,
    address: Option<Address>,
}

/// What becomes of a frame: taken or refused; and from when on the next one is read.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) refused: Option<Throttled>,
    pub(crate) read_at: Option<Instant>,
}

impl Visitor {
    /// Whether its address has connections left; nothing is taken.
    pub(crate) fn may_connect(&self) -> bool {
        let (Some(throttles), Some(address)) = (&self.throttles, self.address) else { return true };
        let Buckets { addresses, rates, .. } = &throttles.connections;
        addresses.bucket(&address).wait(rates.address, throttles.now()).is_zero()
    }

    /// One connection more, from an address that is proven.
    pub(crate) fn connected(&self) -> Result<(), Throttled> {
        let Some(throttles) = &self.throttles else { return Ok(()) };
        throttles.connections.take(self.address, None, throttles.now())
    }

    /// One session more of that user.
    pub(crate) fn says_hello(&self, user: UserId) -> Result<(), Throttled> {
        let Some(Throttles { connections, .. }) = self.throttles.as_deref() else { return Ok(()) };
        let now = self.throttles.as_ref().map_or(0, |throttles| throttles.now());
        let bucket = connections.accounts.bucket(&Account::User(user));
        bucket.take(connections.rates.account, 1, now).map_err(|wait| connections.throttled(Whose::Account, wait))
    }

    /// What an account call begins with.
    pub(crate) fn calls(&self, frame: &Frame) -> Result<(), Failure> {
        let Some(throttles) = &self.throttles else { return Ok(()) };
        let log_in = |email: &str| throttles.log_ins.take(self.address, Some(&Account::Email(email)), throttles.now());
        let (request, taken) = if let Frame::LoginStart(start) = frame {
            (start.request, log_in(&start.email))
        } else if let Frame::Recover(recover) = frame {
            (recover.request, log_in(&recover.email))
        } else if let Frame::RegisterStart(start) = frame {
            (start.request, throttles.registrations.take(self.address, Some(&Account::Email(&start.email)), throttles.now()))
        } else {
            return Ok(());
        };
        taken.map_err(|throttled| throttled.failure(request))
    }

    /// A frame of a session that came in with so many bytes.
    pub(crate) fn sends(&self, user: UserId, frame: &Frame, bytes: usize) -> Verdict {
        let Some(throttles) = &self.throttles else { return Verdict { refused: None, read_at: None } };
        let now = throttles.now();
        let account = Account::User(user);
        let (whose, wait) = throttles.bytes.charge(self.address, &account, ((bytes as u64).max(FRAME_BYTES_MIN), now));
        let mut refused = (wait > READ_WAIT_MAX).then(|| throttles.bytes.throttled(whose, wait));
        if refused.is_none() && matches!(frame, Frame::Push(_) | Frame::ChangeRoster(_)) {
            refused = throttles.pushes.take(self.address, Some(&account), now).err();
        }
        // Whoever does not wait when told to is read slowly.
        let wait = refused.map_or(wait, |throttled| throttled.wait).min(READ_WAIT_MAX);
        Verdict { refused, read_at: (!wait.is_zero()).then(|| Instant::now() + wait) }
    }

    /// The answer to one of its requests.
    pub(crate) fn is_answered(&self, user: UserId, bytes: usize) {
        let Some(throttles) = &self.throttles else { return };
        throttles.bytes.charge(self.address, &Account::User(user), (bytes as u64, throttles.now()));
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
