//! Lines that carry nothing any more, or little, in a session that is open: a device is offline within 2 s of silence, and only then.
//!
//! Never: a connection ended by either side; neither learns anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudsync_client::connection::Server;
use cloudsync_client::profile::Profile;
use cloudsync_client::sdk::{Client, Deadline, Offline, Online, Target, log_in, register};
use cloudsync_engine::replica::{Content, Fate, Onto};
use cloudsync_protocol::{CollectionName, RecordId, RecordKey};
use cloudsync_tests::person::log_in_as;
use cloudsync_tests::{CommandLine, Relay, SlowStore, TestNode, Wire};
use serde_json::json;

type Tested = anyhow::Result<()>;

/// 2 s of silence, and what a busy machine may add.
const DECIDED_WITHIN: Duration = Duration::from_millis(3500);
const PATIENCE: Deadline = Deadline(Duration::from_secs(60));
/// Longer than the silence that decides.
const SLOW_COMMIT: Duration = Duration::from_millis(3500);
/// One push of these takes 3 s on a line of `SLOW_LINE`.
const RECORDS: usize = 16;
const RECORD_BYTES: usize = 48 * 1024;
const SLOW_LINE: u64 = 256 * 1024;

/// A device that reaches a node over a line.
struct Device {
    relay: Relay,
    store: Arc<SlowStore>,
    client: Client,
    server: Server,
    _node: TestNode,
    _folder: tempfile::TempDir,
}

fn key(id: &str) -> anyhow::Result<RecordKey> {
    Ok(RecordKey { collection: CollectionName::new("goal")?, record: RecordId::new(id)? })
}

impl Device {
    async fn signed_in(wire: Wire) -> anyhow::Result<Self> {
        let (store, folder) = (Arc::new(SlowStore::default()), tempfile::tempdir()?);
        let node = TestNode::start_on(store.clone()).await?;
        let relay = Relay::before(&node, wire).await?;
        let address = format!("{}://{}", wire.scheme(), relay.address()).parse()?;
        let server = Server { address, trust: node.server(wire)?.trust };
        let profile = Profile::at(folder.path().join("profile"));
        register(&profile, &log_in_as(&server, "ada@example.com", "laptop")?).await?.shown()?;
        let client = Client::open(profile, Target { server: server.clone() })?;
        Ok(Self { relay, store, client, server, _node: node, _folder: folder })
    }

    async fn session(&self) -> anyhow::Result<Online> {
        let mut online = self.client.connect().await?;
        online.catch_up().await?;
        Ok(online)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_in_a_session_whose_line_goes_silent_is_queued_within_seconds_and_goes_later() -> Tested {
    for wire in Wire::ALL {
        let device = Device::signed_in(wire).await?;
        let mut online = device.session().await?;
        device.relay.silence();
        let id = device.client.edit(key("g1")?, Content::Value("1".into()), Onto::Replica).await?;
        let begun = Instant::now();
        let lost = online.settle(key("g1")?, id, PATIENCE).await.map_err(|error| error.offline());
        let took = begun.elapsed();
        assert_eq!(lost, Err(Offline::Yes), "{wire:?}");
        assert!(took >= Duration::from_secs(2) && took < DECIDED_WITHIN, "{wire:?}: {took:?}");
        assert_ne!(device.client.fate(key("g1")?, id).await?, Fate::Gone);
        device.relay.carry();
        let mut online = device.session().await?;
        assert_eq!(online.settle(key("g1")?, id, PATIENCE).await?, Fate::Gone, "{wire:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_connection_alone_went_silent_goes_over_a_new_one() -> Tested {
    for wire in Wire::ALL {
        let device = Device::signed_in(wire).await?;
        let mut online = device.session().await?;
        device.relay.forget();
        let id = device.client.edit(key("g1")?, Content::Value("1".into()), Onto::Replica).await?;
        let begun = Instant::now();
        assert_eq!(online.settle(key("g1")?, id, PATIENCE).await?, Fate::Gone, "{wire:?}");
        assert!(begun.elapsed() < DECIDED_WITHIN, "{wire:?}: {:?}", begun.elapsed());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_longer_than_the_silence_that_decides_is_waited_for_in_the_same_session() -> Tested {
    for wire in Wire::ALL {
        let device = Device::signed_in(wire).await?;
        let mut online = device.session().await?;
        let (connections, begun) = (device.relay.connections(), Instant::now());
        device.store.observer.take(SLOW_COMMIT);
        let id = device.client.edit(key("g1")?, Content::Value("1".into()), Onto::Replica).await?;
        assert_eq!(online.settle(key("g1")?, id, PATIENCE).await?, Fate::Gone, "{wire:?}");
        assert!(begun.elapsed() >= SLOW_COMMIT);
        assert_eq!(device.relay.connections(), connections, "{wire:?}: it did not connect again");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_whose_commit_takes_longer_than_the_silence_that_decides_is_waited_for_before_any_session() -> Tested {
    for wire in Wire::ALL {
        let device = Device::signed_in(wire).await?;
        device.store.observer.take(SLOW_COMMIT);
        let (folder, begun) = (tempfile::tempdir()?, Instant::now());
        log_in(&Profile::at(folder.path().join("profile")), &log_in_as(&device.server, "ada@example.com", "phone")?).await?;
        assert!(begun.elapsed() >= SLOW_COMMIT, "{wire:?}: nothing was slow");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_push_over_a_slow_line_is_waited_for_in_the_same_session() -> Tested {
    for wire in Wire::ALL {
        let device = Device::signed_in(wire).await?;
        let mut online = device.session().await?;
        let connections = device.relay.connections();
        let noise = || (0..RECORD_BYTES).map(|_| char::from(rand::random_range(b'#'..=b'['))).collect::<String>();
        let edits = (0..RECORDS).map(|n| Ok((key(&n.to_string())?, Content::Value(format!("\"{}\"", noise()).into()))));
        device.client.edit_all(edits.collect::<anyhow::Result<_>>()?, Onto::Replica).await?;
        device.relay.slow(SLOW_LINE);
        let begun = Instant::now();
        online.push_all(PATIENCE.0).await?;
        assert!(begun.elapsed() > Duration::from_secs(2), "{wire:?}: the line is not slow");
        assert!(device.client.status().await?.edits.is_idle(), "{wire:?}");
        assert_eq!(device.relay.connections(), connections, "{wire:?}: it did not connect again");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_queued_within_seconds_of_silence() -> Tested {
    for wire in [Wire::Quic, Wire::Wss] {
        let store = Arc::new(SlowStore::default());
        let node = TestNode::start_on(store.clone()).await?;
        let relay = Relay::before(&node, wire).await?;
        let cli = CommandLine::at(format!("{}://{}", wire.scheme(), relay.address()), node.pin().to_string())?;
        cli.account("ada@example.com", &["a"])?;
        store.observer.take(Duration::from_secs(3600));
        let (mut begun, before) = (store.observer.begun(), *store.observer.begun().borrow());
        let put = cli.command("a", &["put", "goal", "g1", "1", "--json"]).spawn()?;
        begun.wait_for(|begun| *begun > before).await?;
        relay.silence();
        let silent = Instant::now();
        let put = tokio::task::spawn_blocking(move || put.wait_with_output()).await??;
        assert!(silent.elapsed() < DECIDED_WITHIN, "{wire:?}: {:?}", silent.elapsed());
        let put = cloudsync_tests::Ran::try_from(put)?.ended(0)?.last()?;
        assert_eq!((put.get("acknowledged"), put.get("pending")), (Some(&json!(false)), Some(&json!(true))), "{wire:?}");
    }
    Ok(())
}
