//! A node that was killed and started again is noticed by its QUIC clients with their next packet, not by an idle time-out.

use std::time::Duration;

use cloudsync_protocol::frame::Ping;
use cloudsync_tests::raw::RawClient;
use cloudsync_tests::{NodeProcess, Wire};

/// A third of the idle time-out, by which alone the client would notice.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_resets_the_connections_of_the_one_before() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let mut client = RawClient::connect_to(&node.server(Wire::Quic)?).await?;
    client.challenge().await?;
    let connection = client.quic()?.clone();
    let node = NodeProcess::start_again(&node.kill().await?).await?;
    client.send(Ping { number: 1 }).await?;
    let ended = tokio::time::timeout(NOTICED_WITHIN, connection.closed()).await?;
    assert_eq!(ended, quinn::ConnectionError::Reset);
    node.terminate().await?;
    Ok(())
}
