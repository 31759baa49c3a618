//! A node that leaves while something is asked of it: the client goes on at the next one.
//!
//! Never: a rule of a server; it sends what the test says.

use std::time::{Duration, Instant};

use cloudsync_engine::replica::Replica;
use cloudsync_protocol::frame::{Attach, Attached, GoingAway};
use cloudsync_protocol::{Cursor, ErrorCode, Frame, Generation, LogId, Seq, TimelineId, UserId};

use super::client::me;
use super::{Client, Error, Target, WatchEvent};
use crate::account::Tokens;
use crate::carrier::Scheme;
use crate::connection::tests::server::{FakeServer, Peer};
use crate::keys::{AccountSecrets, DeviceKeys, KeyFile, KeyringPin};
use crate::profile::{Card, Profile};
use crate::replica::{Access, Store};
use crate::sdk::Watch;

/// Whom the fake server welcomes.
const USER: UserId = UserId([1; 16]);
const TOLD: Duration = Duration::from_millis(400);

fn signed_in(folder: &tempfile::TempDir, server: &FakeServer) -> Client {
    let keys = KeyFile { secrets: AccountSecrets::first(USER), device: DeviceKeys::random(), keyring: KeyringPin::default() };
    let profile = Profile::at(folder.path().join("profile"));
    let _lock = profile.lock().unwrap();
    profile.write_keys(&keys).unwrap();
    let never = u64::MAX >> 1;
    let tokens = Tokens { access_token: "a".into(), access_expires_ts: never, refresh_token: "r".into(), refresh_expires_ts: never };
    let store = Store::open_or_create(&profile.replica()).unwrap();
    let sign_in = store.transact(Access::WriteSignedOut, |tables| {
        Replica::enrolled_anew(tables, &me(&keys))?;
        tables.sign_in(&tokens).map_err(Error::from)
    });
    sign_in.unwrap();
    let (email, device) = ("ada@example.com".into(), "laptop".into());
    let card = Card { server: server.address.to_string(), pin: Some(server.pin.to_string()), email, user: USER, device };
    profile.write_card(&card).unwrap();
    Client::open(profile, Target { server: server.server() }).unwrap()
}

async fn asked_to_attach(server: &FakeServer) -> (Peer, u32) {
    let mut peer = server.challenge().await;
    peer.welcome().await;
    let Some(Frame::Attach(Attach { request, .. })) = peer.receive().await else { panic!("it does not attach") };
    (peer, request)
}

/// Leaves in the middle of one connection, and answers on the next; gives how long that took to come.
async fn leave_once(server: &FakeServer) -> (Peer, Duration) {
    let (mut peer, _) = asked_to_attach(server).await;
    let retry_after_ms = u32::try_from(TOLD.as_millis()).unwrap();
    peer.send(&GoingAway { code: ErrorCode::GoingAway, message: "bye".to_owned(), retry_after_ms }.into()).await;
    drop(peer);
    let left = Instant::now();
    let (mut peer, request) = asked_to_attach(server).await;
    let took = left.elapsed();
    let (id, timeline) = (LogId::from(USER), TimelineId::default());
    let (head, floor, generation) = (Seq::ZERO, Seq::ZERO, Generation(1));
    let attached = Attached { request, log: 0, id, head, timeline, generation, floor, used_bytes: 0, quota_bytes: 0, lineage: Vec::new() };
    peer.send(&attached.into()).await;
    (peer, took)
}

#[tokio::test]
async fn a_command_goes_on_after_the_time_that_a_leaving_node_tells() {
    for scheme in [Scheme::Wss, Scheme::Ws] {
        let (server, folder) = (FakeServer::start(scheme).await, tempfile::tempdir().unwrap());
        let client = signed_in(&folder, &server);
        let command = async {
            let mut online = client.connect().await.unwrap();
            // Here, since the server waits for a client that has given up.
            let cursor = online.catch_up().await.unwrap();
            online.close().await;
            cursor
        };
        let (cursor, (_peer, took)) = tokio::join!(command, leave_once(&server));
        assert_eq!(cursor, Cursor::default(), "{scheme:?}");
        assert!(took >= TOLD / 2, "{scheme:?}: after {took:?}");
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_the_time_that_a_leaving_node_tells() {
    let (server, folder) = (FakeServer::start(Scheme::Wss).await, tempfile::tempdir().unwrap());
    let mut watch = Watch::new(signed_in(&folder, &server));
    let watching = async {
        loop {
            match watch.next().await.unwrap() {
                WatchEvent::Live(seq) => break seq,
                WatchEvent::Offline(..)
                | WatchEvent::Change(_)
                | WatchEvent::Rewound
                | WatchEvent::Parked(_)
                | WatchEvent::Paused { .. } => {}
            }
        }
    };
    let (seq, (_peer, took)) = tokio::join!(watching, leave_once(&server));
    assert_eq!(seq, Seq::ZERO);
    assert!(took >= TOLD / 2, "after {took:?}");
}
