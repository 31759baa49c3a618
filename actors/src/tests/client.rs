//! One session, driven as a client would: requests out, answers and events in.
//!
//! Never: waiting for ever. What does not come fails the test.

use cloudsync_protocol::entry::{Operation, Put};
use cloudsync_protocol::envelope::{self, Envelope, Header, Hlc};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::{Attach, Claim, OWN_LOG, Pull, Push};
use cloudsync_protocol::statement::{self, BatchStatement};
use cloudsync_protocol::{CollectionName, Cursor, ErrorCode, Frame, Hash, LogId, RecordId, Seq, Version, codec};

use super::world::{Phone, START_MS, signed, within};
use crate::{Lane, Outbound, Outgoing, SessionHandle};

/// One session as a client has it.
pub(crate) struct Client {
    pub(crate) session: SessionHandle,
    pub(crate) outbound: Outbound,
    pub(crate) phone: Phone,
    pub(crate) last: LastPush,
    pub(crate) aside: Vec<Frame>,
    pub(super) log: LogId,
    pub(super) last_request: u32,
}

pub(crate) fn decode(outgoing: &Outgoing) -> Frame {
    codec::decode(&outgoing.frame).unwrap()
}

impl Client {
    pub(crate) fn request(&mut self) -> u32 {
        self.last_request += 1;
        self.last_request
    }

    pub(crate) fn send(&self, frame: impl Into<Frame>) {
        let frame = frame.into();
        let bytes = codec::encode(&frame).len();
        self.session.submit(frame, bytes, Lane::Control);
    }

    /// The next frame; nothing when the session is over.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within(self.outbound.next()).await.map(|outgoing| decode(&outgoing))
    }

    /// The answer to a request; events go aside.
    pub(crate) async fn answer(&mut self, request: u32) -> Frame {
        if let Some(at) = self.aside.iter().position(|frame| request_of(frame) == Some(request)) {
            return self.aside.remove(at);
        }
        loop {
            let frame = self.next().await.expect("the session goes on");
            if request_of(&frame) == Some(request) {
                return frame;
            }
            self.aside.push(frame);
        }
    }

    /// The next event, from aside first; answers go aside.
    pub(crate) async fn event(&mut self) -> Frame {
        if let Some(at) = self.aside.iter().position(|frame| request_of(frame).is_none()) {
            return self.aside.remove(at);
        }
        loop {
            let frame = self.next().await.expect("the session goes on");
            if request_of(&frame).is_none() {
                return frame;
            }
            self.aside.push(frame);
        }
    }

    pub(crate) async fn attach(&mut self) -> Seq {
        let request = self.request();
        self.send(Attach { request, log: OWN_LOG, cursor: Cursor::default() });
        match self.answer(request).await {
            Frame::Attached(attached) => attached.head,
            other => panic!("not attached: {other:?}"),
        }
    }

    pub(crate) async fn claim(&mut self) -> LastPush {
        let request = self.request();
        self.send(Claim { request, log: OWN_LOG });
        match self.answer(request).await {
            Frame::Claimed(claimed) => {
                self.last = claimed.last;
                claimed.last
            }
            other => panic!("not claimed: {other:?}"),
        }
    }

    /// A push of one record, first version, `body_bytes` long, that follows the last one known.
    pub(crate) fn batch(&mut self, record: &str, body_bytes: usize) -> Push {
        self.batch_of(&[record], body_bytes)
    }

    /// The same of several records.
    pub(crate) fn batch_of(&mut self, records: &[&str], body_bytes: usize) -> Push {
        let first = |record: &&str| (Version::NONE, self.envelope(record, body_bytes, (Version(1), Hash::default())));
        self.push_of(records.iter().map(first).collect())
    }

    /// A push of a record's first `count` versions.
    pub(crate) fn batch_of_versions(&mut self, record: &str, count: u32) -> Push {
        let mut parent = Hash::default();
        let mut next = |version: u64| {
            let envelope = self.envelope(record, cloudsync_protocol::limits::BODY_BYTES_MIN, (Version(version), parent));
            parent = envelope.hash();
            (Version(version - 1), envelope)
        };
        let versions = (1..=u64::from(count)).map(&mut next).collect();
        self.push_of(versions)
    }

    /// Envelopes, each with its base.
    fn push_of(&mut self, made: Vec<(Version, Envelope)>) -> Push {
        let device_seq = self.last.device_seq.next();
        let statement = BatchStatement {
            format: statement::FORMAT,
            log: self.log,
            device: self.phone.id,
            device_seq,
            prev_hash: self.last.hash,
            envelopes: made.iter().map(|(_, envelope)| envelope.hash()).collect(),
            seen: Vec::new(),
        };
        let signed = signed(&self.phone.key, statement::CONTEXT_BATCH, &statement);
        let operations = made.into_iter().map(|(base, envelope)| Operation::Put(Put { base, envelope })).collect();
        Push { request: self.request(), log: OWN_LOG, signed, operations }
    }

    fn envelope(&self, record: &str, body_bytes: usize, (version, parent): (Version, Hash)) -> Envelope {
        let header = Header {
            format: envelope::FORMAT,
            suite: envelope::SUITE_AES_256_GCM,
            log: self.log,
            collection: CollectionName::new("timer_session").unwrap(),
            record: RecordId::new(record).unwrap(),
            version,
            parent,
            device: self.phone.id,
            device_seq: self.last.device_seq.next(),
            hlc: Hlc::from_ms(START_MS),
            flags: 0,
            commitment: Hash::default(),
        };
        Envelope {
            header: codec::encode(&header).into(),
            body: vec![5; body_bytes].into(),
            wrap: [&1_u64.to_be_bytes()[..], &[6; 60]].concat().into(),
        }
    }

    /// Pushes one small record and waits until it is committed.
    pub(crate) async fn push(&mut self, record: &str) -> Seq {
        let push = self.batch(record, cloudsync_protocol::limits::BODY_BYTES_MIN);
        let request = push.request;
        self.send(push);
        let frame = self.answer(request).await;
        self.pushed(&frame)
    }

    /// Notes a committed push.
    pub(crate) fn pushed(&mut self, frame: &Frame) -> Seq {
        match frame {
            Frame::Pushed(pushed) => {
                self.last = LastPush { device_seq: pushed.device_seq, hash: pushed.hash, seq: pushed.to };
                pushed.to
            }
            other => panic!("not pushed: {other:?}"),
        }
    }

    pub(crate) fn pull(&mut self) -> u32 {
        let request = self.request();
        self.send(Pull { request, log: OWN_LOG, from: Cursor::default(), to: Seq(u64::MAX) });
        request
    }

    /// The code of a refusal.
    pub(crate) async fn refusal(&mut self, request: u32) -> ErrorCode {
        match self.answer(request).await {
            Frame::Failure(failure) => failure.code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn request_of(frame: &Frame) -> Option<u32> {
    match frame {
        Frame::Failure(frame) => Some(frame.request),
        Frame::Authenticated(frame) => Some(frame.request),
        Frame::Attached(frame) => Some(frame.request),
        Frame::Page(frame) => Some(frame.request),
        Frame::SnapshotPage(frame) => Some(frame.request),
        Frame::Claimed(frame) => Some(frame.request),
        Frame::Pushed(frame) => Some(frame.request),
        Frame::RosterChanged(frame) => Some(frame.request),
        Frame::Keyring(frame) => Some(frame.request),
        Frame::Versions(frame) => Some(frame.request),
        _ => None,
    }
}
