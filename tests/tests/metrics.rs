//! What a node counts, seen at `/metrics`.
//!
//! Never: two tests; the counts are this process's.

use cloudsync_client::account::refresh;
use cloudsync_client::connection::Connection;
use cloudsync_tests::{Person, RawClient, TestNode, Wire};

const FAILURES: &str = "cloudsync_handshake_failures_total{";

/// The metrics once every connection has ended.
async fn at_rest(node: &TestNode) -> anyhow::Result<String> {
    loop {
        let metrics = node.metrics().await?;
        let mut open = metrics.lines().filter(|line| line.starts_with("cloudsync_connections{"));
        if open.all(|line| line.ends_with(" 0")) {
            return Ok(metrics);
        }
        tokio::task::yield_now().await;
    }
}

fn failures(metrics: &str) -> Vec<&str> {
    metrics.lines().filter(|line| line.starts_with(FAILURES)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_signs_in_is_no_failed_handshake_and_who_says_nothing_is_one() -> anyhow::Result<()> {
    let node = TestNode::start_in_memory().await?;
    for wire in Wire::ALL {
        let ada = Person::register(&node, wire, &format!("ada@{}.example", wire.scheme())).await?;
        ada.log_in_again(&node, wire).await?;
        let connection = Connection::open(&node.server(wire)?).await?;
        refresh(&connection, &ada.keys.device, &ada.tokens.refresh_token).await?;
        // Gone without a word.
        drop(connection);
    }
    assert_eq!(failures(&at_rest(&node).await?), Vec::<&str>::new());

    let mut silent = RawClient::connect(&node, Wire::Quic).await?;
    silent.challenge().await?;
    silent.finish()?;
    silent.next().await?;
    let metrics = at_rest(&node).await?;
    assert_eq!(failures(&metrics), [r#"cloudsync_handshake_failures_total{carrier="quic",code="closed"} 1"#]);
    Ok(())
}
