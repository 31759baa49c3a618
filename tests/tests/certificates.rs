//! `SIGHUP` to a real node: new connections are shown the certificate that is there then, open ones go on.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloudsync_client::carrier::{ConnectError, Pin, Trust};
use cloudsync_client::connection::{Connection, Error, Server};
use cloudsync_tests::command_line::{CommandLine, send};
use cloudsync_tests::{NodeProcess, Wire};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the node has logged a line of that beginning so often.
async fn logged(folder: &Path, message: &str, times: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    while cloudsync_tests::process::log(folder).matches(message).count() < times {
        ensure!(began.elapsed() < PATIENCE, "{message:?} was not logged: {}", cloudsync_tests::process::last_words(folder));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The certificate that a new connection is shown, which is not the one that is pinned.
async fn shown(pinned: &Server) -> anyhow::Result<Pin> {
    match Connection::open(pinned).await {
        Err(Error::Unreachable(ConnectError::CertificateNotPinned { presented, .. })) => Ok(presented),
        other => anyhow::bail!("another certificate was due: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_new_connections_shown_the_new_certificate_and_leaves_open_ones_and_a_broken_file_changes_nothing()
-> anyhow::Result<()> {
    let (folder, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let node = NodeProcess::start(folder.path()).await?;
    // What another node has made itself.
    NodeProcess::start(other.path()).await?.terminate().await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    let watching = cli.watch("b")?;
    let file = folder.path().join("data/certificate.pem");
    std::fs::copy(other.path().join("data/certificate.pem"), &file)?;
    // Nothing has changed yet.
    for wire in [Wire::Quic, Wire::Wss] {
        Connection::open(&node.server(wire)?).await?.close().await;
    }
    let (quic, wss) = (node.server(Wire::Quic)?, node.server(Wire::Wss)?);
    send(node.pid(), "HUP")?;
    logged(folder.path(), "certificate read anew", 1).await?;
    let new = shown(&quic).await?;
    ensure!(shown(&wss).await? == new, "both carriers show the same");
    let trusted = |server: &Server| Server { trust: Trust::Pinned(new), ..server.clone() };
    for server in [&quic, &wss] {
        Connection::open(&trusted(server)).await?.close().await;
    }
    let ready: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.path().join("ready.json"))?)?;
    let told = ready["certificate_sha256"].as_str().context("a hash")?.to_owned();
    ensure!(new.to_string() == format!("sha256:{}", told.trim_start_matches("sha256:")), "the ready file tells it: {told}");

    // The session that was open before goes on.
    cli.run("a", &["put", "goal", "g1", "1", "--pin", &new.to_string()])?.ended(0)?;
    ensure!(watching.change()?["id"] == "g1");

    for (times, broken) in [(1, Some("no PEM")), (2, None)] {
        match broken {
            Some(text) => std::fs::write(&file, text)?,
            None => std::fs::remove_file(&file)?,
        }
        send(node.pid(), "HUP")?;
        logged(folder.path(), "certificate not read anew: the one from before is served on", times).await?;
        for server in [&quic, &wss] {
            Connection::open(&trusted(server)).await?.close().await;
        }
    }
    ensure!(!file.exists(), "none is made where clients have pinned another");
    node.terminate().await?;
    Ok(())
}
