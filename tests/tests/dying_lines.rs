//! A line that dies in whatever part of a command's way, on each carrier: the command says within 2 s that it is offline, its
//! edit stays queued, and goes once the line is back.
//!
//! Never: a connection ended by either side; neither learns anything.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloudsync_tests::{CommandLine, Ran, Relay, SlowStore, TestNode, Way, Wire};
use serde_json::{Value, json};
use tokio::task::JoinSet;

type Tested = anyhow::Result<()>;

/// The 2 s, a start, an end, and what a busy machine may add.
const DECIDED_WITHIN: Duration = Duration::from_millis(3500);
/// A session that is owed nothing has a second more.
const WATCH_DECIDED_WITHIN: Duration = Duration::from_millis(4200);
/// The line dies at so many places of one command.
const PARTS: u64 = 8;

/// One profile that is signed in over a line.
struct Desk {
    relay: Relay,
    cli: CommandLine,
    wire: Wire,
    store: Arc<SlowStore>,
    _node: TestNode,
}

impl Desk {
    async fn signed_in(wire: Wire) -> anyhow::Result<Self> {
        let store = Arc::new(SlowStore::default());
        let node = TestNode::start_on(store.clone()).await?;
        let relay = Relay::before(&node, wire).await?;
        let cli = CommandLine::at(format!("{}://{}", wire.scheme(), relay.address()), node.pin().to_string())?;
        tokio::task::block_in_place(|| cli.account("ada@example.com", &["a"]))?;
        Ok(Self { relay, cli, wire, store, _node: node })
    }

    /// Runs a command; says how long it took from then on, or from when the line died in it.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<(Ran, Duration)> {
        let begun = Instant::now();
        let child = self.cli.command("a", arguments).spawn()?;
        let mut waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
        let (silent, ran) = tokio::select! {
            silent = self.relay.silent() => (silent, waiting.await??),
            ran = &mut waiting => (begun, ran??),
        };
        Ok((Ran::try_from(ran)?, silent.max(begun).elapsed()))
    }

    async fn caught_up(&self) -> anyhow::Result<()> {
        self.relay.carry();
        let (synced, _) = self.run(&["sync", "--json"]).await?;
        let pending = synced.ended(0)?.last()?;
        ensure!(pending.get("pending") == Some(&json!(0)), "{pending}");
        Ok(())
    }
}

/// On every carrier at once.
async fn on_each<F: Future<Output = anyhow::Result<()>> + Send + 'static>(test: fn(Wire) -> F) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for wire in Wire::ALL {
        running.spawn(test(wire));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

fn is_true(object: &Value, field: &str) -> bool {
    object.get(field) == Some(&json!(true))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_put_whose_line_dies_at_whatever_byte_of_the_nodes_is_queued_within_2_s_and_goes_later() -> Tested {
    on_each(|wire| async move {
        let desk = Desk::signed_in(wire).await?;
        let before = desk.relay.carried(Way::Down);
        desk.run(&["put", "goal", "g", "0", "--json"]).await?.0.ended(0)?;
        let all = desk.relay.carried(Way::Down) - before;
        for part in 0..PARTS {
            desk.relay.silence_after(Way::Down, all * part / PARTS);
            let (put, took) = desk.run(&["put", "goal", "g", &part.to_string(), "--json"]).await?;
            eprintln!("{:?} put, {part}/{PARTS}: {took:?} {}", desk.wire, put.stderr.trim());
            let said = put.ended(0)?.last()?;
            ensure!(is_true(&said, "pending") != is_true(&said, "acknowledged"), "{wire:?} {part}: {said}");
            ensure!(took < DECIDED_WITHIN, "{wire:?} {part}: {took:?}");
            desk.caught_up().await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn reading_importing_and_syncing_over_a_line_that_dies_are_decided_within_2_s_too() -> Tested {
    on_each(|wire| async move {
        let desk = Desk::signed_in(wire).await?;
        let csv = desk.cli.home().join("rows.csv");
        std::fs::write(&csv, rows(20, 10)?)?;
        let file = csv.to_string_lossy().into_owned();
        desk.run(&["put", "goal", "g", "0", "--json"]).await?.0.ended(0)?;
        for (arguments, code) in [
            (vec!["list", "--json"], 0),
            (vec!["get", "goal", "g", "--json"], 0),
            (vec!["sync", "--json"], 3),
            (vec!["import", "--format", "pomodoro", &file, "--json"], 0),
        ] {
            for part in 0..4 {
                desk.relay.silence_after(Way::Down, part * 900);
                let (ran, took) = desk.run(&arguments).await?;
                eprintln!("{wire:?} {}, {part}: {took:?}", arguments.concat());
                ensure!(took < DECIDED_WITHIN, "{wire:?} {arguments:?} {part}: {took:?}");
                ensure!(ran.code == Some(code) || ran.code == Some(0), "{wire:?} {arguments:?} {part}: {ran:?}");
                desk.relay.carry();
            }
        }
        desk.caught_up().await
    })
    .await
}

fn rows(count: usize, bytes: usize) -> anyhow::Result<String> {
    let mut text = "\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n".to_owned();
    for row in 0..count {
        let words: String = (0..bytes).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
        writeln!(text, "\"@t{row}{words}\",\"1\",1,1,2009-04-09,NA,2")?;
    }
    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn an_import_with_much_under_way_on_a_line_that_dies_is_queued_within_2_s() -> Tested {
    on_each(|wire| async move {
        let desk = Desk::signed_in(wire).await?;
        let csv = desk.cli.home().join("rows.csv");
        std::fs::write(&csv, rows(2000, 1000)?)?;
        // A line that is slow first, so that there is much under way when it dies.
        desk.relay.slow(128 * 1024);
        desk.relay.silence_after(Way::Up, 300 * 1024);
        let file = csv.to_string_lossy().into_owned();
        let (import, took) = desk.run(&["import", "--format", "pomodoro", &file, "--json"]).await?;
        eprintln!("{wire:?} import: {took:?} {}", import.stderr.trim());
        let said = import.ended(0)?.last()?;
        ensure!(said.get("imported") == Some(&json!(2000)) && !is_true(&said, "acknowledged"), "{said}");
        ensure!(took < DECIDED_WITHIN, "{wire:?}: {took:?}");
        desk.caught_up().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_put_whose_every_connection_falls_silent_once_it_is_open_is_queued_2_s_after_the_last_word() -> Tested {
    on_each(|wire| async move {
        let desk = Desk::signed_in(wire).await?;
        let before = desk.relay.carried(Way::Down);
        desk.run(&["list"]).await?.0.ended(0)?;
        let opened = desk.relay.carried(Way::Down) - before;
        let store = Arc::clone(&desk.store);
        store.observer.take(Duration::from_secs(3600));
        let (mut begun, before) = (store.observer.begun(), *store.observer.begun().borrow());
        let put = desk.cli.command("a", &["put", "goal", "g", "1", "--json"]).spawn()?;
        begun.wait_for(|begun| *begun > before).await?;
        // The session that there is says nothing more; new ones are let in, and little else.
        desk.relay.forget();
        desk.relay.silence_each_after(opened * 3 / 4);
        let put = Ran::try_from(tokio::task::spawn_blocking(move || put.wait_with_output()).await??)?;
        let took = desk.relay.heard_at().context("nothing was carried")?.elapsed();
        eprintln!("{wire:?} put, every connection dies: {took:?} {}", put.stderr.trim());
        ensure!(is_true(&put.ended(0)?.last()?, "pending"));
        ensure!(took < DECIDED_WITHIN, "{wire:?}: {took:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_watch_on_a_line_that_dies_says_that_it_is_offline_within_3_s_and_catches_up() -> Tested {
    on_each(|wire| async move {
        let desk = Desk::signed_in(wire).await?;
        let watch = tokio::task::block_in_place(|| desk.cli.watch("a"))?;
        desk.relay.silence();
        let silent = Instant::now();
        tokio::task::block_in_place(|| watch.said("offline: "))?;
        let took = silent.elapsed();
        eprintln!("{wire:?} watch: {took:?}");
        ensure!(took < WATCH_DECIDED_WITHIN, "{wire:?}: {took:?}");
        desk.relay.carry();
        tokio::task::block_in_place(|| watch.said("live at seq "))?;
        desk.run(&["put", "goal", "g", "1", "--json"]).await?.0.ended(0)?;
        let change = tokio::task::block_in_place(|| watch.change())?;
        ensure!(change.get("id") == Some(&json!("g")), "{change}");
        Ok(())
    })
    .await
}
