//! Drives the bare loop: every user keeps some pushes under way, and so the loop is never without work.
//!
//! Never: a rate that is set. It is the most that the loop can do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::bare::{ARGUMENT, Shape};
use crate::bench::cores::Cores;

/// Pushes that each user has under way.
const UNDER_WAY: usize = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(3);

async fn push(mut stream: TcpStream, shape: Shape, answered: Arc<AtomicU64>) -> std::io::Result<()> {
    let frame = vec![3; shape.push_bytes];
    let mut answers = vec![0; shape.answer_bytes * UNDER_WAY];
    for _ in 0..UNDER_WAY {
        stream.write_all(&frame).await?;
    }
    let mut bytes = 0;
    loop {
        bytes += stream.read(&mut answers).await?;
        while bytes >= shape.answer_bytes {
            bytes -= shape.answer_bytes;
            answered.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&frame).await?;
        }
    }
}

async fn receive(mut stream: TcpStream) -> std::io::Result<()> {
    let mut events = vec![0; 16 * 1024];
    while stream.read(&mut events).await? > 0 {}
    Ok(())
}

/// Pushes a second.
pub(super) async fn measure(folder: &Path, cores: Cores, shape: Shape) -> anyhow::Result<f64> {
    let folder = tempfile::TempDir::new_in(folder)?;
    let mut words = cores.before_node().into_iter();
    let mut command = Command::new(words.next().context("a command")?);
    command.args(words).arg(std::env::current_exe()?).arg(ARGUMENT).arg(folder.path()).arg(serde_json::to_string(&shape)?);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let line = BufReader::new(stdout).lines().next_line().await?.context("the bare loop did not start")?;
    let address: SocketAddr = serde_json::from_str(&line)?;
    let mut streams = Vec::new();
    for _ in 0..2 * shape.users {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let (receivers, answered, mut tasks) = (streams.split_off(shape.users), Arc::new(AtomicU64::new(0)), JoinSet::new());
    streams.into_iter().for_each(|stream| drop(tasks.spawn(push(stream, shape, Arc::clone(&answered)))));
    receivers.into_iter().for_each(|stream| drop(tasks.spawn(receive(stream))));
    tokio::time::sleep(WARM_UP).await;
    let (before, began) = (answered.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(RUN).await;
    let done = answered.load(Ordering::Relaxed) - before;
    let rate = done as f64 / began.elapsed().as_secs_f64();
    child.kill().await?;
    Ok(rate)
}
