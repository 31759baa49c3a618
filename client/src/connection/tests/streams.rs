//! Catching up: on a stream of its own where there are streams, and only pages that follow.
//!
//! Never: a page's content judged; that is the replica's.

use std::ops::RangeInclusive;

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{Page, Pull, SnapshotPage, SnapshotToken};
use cloudsync_protocol::statement::{RevokeChange, Signed};
use cloudsync_protocol::{Cursor, Entry};

use super::*;
use crate::carrier::quic::{read, write};
use crate::connection::Session;

fn entry(seq: u64) -> Entry {
    let signed = Signed { statement: Bytes::from(vec![u8::try_from(seq).unwrap()]), signature: Signature([0; 64]) };
    RosterRow { seq: Seq(seq), server_ts: 1, change: RevokeChange { signed }.into() }.into()
}

fn page(pull: &Pull, seqs: RangeInclusive<u64>) -> Frame {
    let to = Seq(*seqs.end());
    let entries = seqs.map(entry).collect();
    Page { request: pull.request, log: OWN_LOG, timeline: TimelineId([3; 16]), from: pull.from.seq, to, head: Seq(9), entries }.into()
}

async fn session(scheme: Scheme) -> (Session, Events, Peer) {
    let (connection, mut peer) = connected(scheme).await;
    let device = DeviceKeys::random();
    let (opened, ()) = tokio::join!(connection.hello(&device, "token"), peer.welcome());
    let (session, events) = opened.unwrap();
    (session, events, peer)
}

fn pull_of(frame: Frame) -> Pull {
    let Frame::Pull(pull) = frame else { panic!("{frame:?} is no pull") };
    pull
}

#[tokio::test]
async fn pages_follow_each_other_on_a_stream_of_their_own() {
    let (session, _events, peer) = session(Scheme::Quic).await;
    let mut pages = session.pages(Cursor::default(), Seq(5));
    let (mut send, mut receive) = peer.connection().accept_bi().await.unwrap();
    let first = pull_of(codec::decode(&read(&mut receive).await.unwrap().unwrap()).unwrap());
    assert_eq!((first.from.seq, first.to), (Seq(0), Seq(5)));
    write(&mut send, &codec::encode(&page(&first, 1..=3)).into()).await.unwrap();
    let given = pages.next().await.unwrap().unwrap();
    assert_eq!((given.from, given.to), (Seq(0), Seq(3)));
    // The second is asked for before anyone wants it.
    let second = pull_of(codec::decode(&read(&mut receive).await.unwrap().unwrap()).unwrap());
    assert_eq!(second.from, Cursor { timeline: TimelineId([3; 16]), seq: Seq(3), row: entry(3).last_hash().short() });
    // A batch may reach beyond what was asked for.
    write(&mut send, &codec::encode(&page(&second, 4..=6)).into()).await.unwrap();
    assert_eq!(pages.next().await.unwrap().unwrap().to, Seq(6));
    assert!(pages.next().await.is_none());
}

#[tokio::test]
async fn pages_come_over_a_web_socket_too() {
    let (session, _events, mut peer) = session(Scheme::Ws).await;
    let mut pages = session.pages(Cursor::default(), Seq(2));
    let pull = pull_of(peer.receive().await.unwrap());
    peer.send(&page(&pull, 1..=2)).await;
    assert_eq!(pages.next().await.unwrap().unwrap().entries.len(), 2);
    assert!(pages.next().await.is_none());
}

#[tokio::test]
async fn a_page_that_is_not_whole_is_refused_and_ends_the_catch_up() {
    let empty = RangeInclusive::new(1, 0);
    for broken in [empty, 2..=3] {
        let (session, _events, mut peer) = session(Scheme::Ws).await;
        let mut pages = session.pages(Cursor::default(), Seq(5));
        let pull = pull_of(peer.receive().await.unwrap());
        peer.send(&page(&pull, broken)).await;
        assert!(matches!(pages.next().await, Some(Err(Error::Protocol(_)))));
        assert!(pages.next().await.is_none());
    }
}

#[tokio::test]
async fn a_refused_pull_ends_the_catch_up_and_leaves_the_session_open() {
    let (session, _events, peer) = session(Scheme::Quic).await;
    let mut pages = session.pages(Cursor::default(), Seq(5));
    let (mut send, mut receive) = peer.connection().accept_bi().await.unwrap();
    let pull = pull_of(codec::decode(&read(&mut receive).await.unwrap().unwrap()).unwrap());
    let refusal = Frame::from(Failure::new(pull.request, ErrorCode::BelowFloor, "cut"));
    write(&mut send, &codec::encode(&refusal).into()).await.unwrap();
    assert_eq!(pages.next().await.unwrap().unwrap_err().code(), Some(ErrorCode::BelowFloor));
    assert!(pages.next().await.is_none());
    assert!(session.closed().now_or_never().is_none());
}

#[tokio::test]
async fn a_snapshot_goes_on_from_each_resume_token_to_the_last_page() {
    let (session, _events, mut peer) = session(Scheme::Ws).await;
    let mut pages = session.snapshot_pages(None);
    let token = SnapshotToken { timeline: TimelineId([3; 16]), start: Seq(4), roster_after: None, last: None };
    for (expected, resume) in [(None, Some(token.clone())), (Some(token), None)] {
        let Some(Frame::Snapshot(asked)) = peer.receive().await else { panic!("no snapshot was asked for") };
        assert_eq!(asked.resume, expected);
        let start = Cursor::default();
        let frame = SnapshotPage { request: asked.request, log: OWN_LOG, start, roster: vec![], rows: vec![], resume: resume.clone() };
        peer.send(&frame.into()).await;
        assert_eq!(pages.next().await.unwrap().unwrap().resume, resume);
    }
    assert!(pages.next().await.is_none());
}

#[tokio::test]
async fn a_catch_up_that_is_dropped_leaves_the_session_usable() {
    let (session, _events, mut peer) = session(Scheme::Ws).await;
    let pages = session.pages(Cursor::default(), Seq(5));
    let pull = pull_of(peer.receive().await.unwrap());
    drop(pages);
    peer.send(&page(&pull, 1..=3)).await;
    let answering = async {
        let Some(Frame::Pull(pull)) = peer.receive().await else { panic!("no pull") };
        peer.send(&page(&pull, 1..=1)).await;
    };
    let (pulled, ()) = tokio::join!(session.pull(Cursor::default(), Seq(1)), answering);
    assert_eq!(pulled.unwrap().to, Seq(1));
}
