//! The issue's terminal session, from registering to logging out, over each carrier.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::json;

async fn session(wire: Wire) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, wire)?;
    let code = cli.account("ada@example.com", &["laptop", "phone"])?;
    assert_eq!(code.split('-').count(), 9, "the recovery code is shown");

    // Server and pin are remembered from here on.
    let watch = cli.watch("phone")?;
    let put = cli.run("laptop", &["put", "timer_session", "s1", r#"{"task":"write","minutes":25}"#, "--json"])?.ended(0)?;
    let record =
        json!({"collection": "timer_session", "id": "s1", "version": 1, "deleted": false, "value": {"task": "write", "minutes": 25}});
    let mut put_shown = record.clone();
    put_shown["acknowledged"] = json!(true);
    assert_eq!(put.last()?, put_shown);
    let change = watch.change()?;
    assert_eq!(change["device"], json!("laptop"));
    assert_eq!(change["device_id"], cli.status("laptop")?["device_id"]);
    let mut shown = record.clone();
    for name in ["seq", "device", "device_id"] {
        shown[name] = change[name].clone();
    }
    assert_eq!(change, shown);

    assert_eq!(cli.status("phone")?["records"], json!(1));
    assert_eq!(cli.run("phone", &["get", "timer_session", "s1", "--json"])?.ended(0)?.last()?, record);
    assert_eq!(cli.run("phone", &["list", "timer_session", "--json"])?.ended(0)?.json()?, [record]);
    // Another process of the watching profile is shown as well.
    let deleted = cli.run("phone", &["delete", "timer_session", "s1", "--json"])?.ended(0)?.last()?;
    assert_eq!((&deleted["acknowledged"], &deleted["version"], &deleted["deleted"]), (&json!(true), &json!(2), &json!(true)));
    let change = watch.change()?;
    assert_eq!((&change["device"], &change["deleted"], &change["value"]), (&json!("phone"), &json!(true), &json!(null)));
    assert_eq!(cli.run("laptop", &["list", "--json"])?.ended(0)?.json()?, Vec::<serde_json::Value>::new());

    let devices = cli.run("laptop", &["devices", "list", "--json"])?.ended(0)?.json()?;
    let names: Vec<_> = devices.iter().map(|device| (device["device"].clone(), device["own"].clone())).collect();
    assert_eq!(names, [(json!("laptop"), json!(true)), (json!("phone"), json!(false))]);
    let sync = cli.run("laptop", &["sync", "--json"])?.ended(0)?.last()?;
    assert_eq!((&sync["pending"], &sync["conflicts"], &sync["seq"]), (&json!(0), &json!(0), &change["seq"]));
    let status = cli.run("laptop", &["status", "--json"])?.ended(0)?.last()?;
    assert_eq!((&status["online"], &status["email"]), (&json!(true), &json!("ada@example.com")));
    assert_eq!(status["records"], json!(0), "what is deleted does not count");
    assert_eq!(watch.end("INT")?, (Some(0), vec![]));

    cli.run("phone", &["logout"])?.ended(0)?;
    cli.run("phone", &["list"])?.ended(7)?;
    let devices = cli.run("laptop", &["devices", "list", "--json"])?.ended(0)?.json()?;
    assert_eq!(devices.last().map(|device| device["revoked"].clone()), Some(json!(true)), "who logs out leaves the list");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_session_works_over_quic() -> anyhow::Result<()> {
    session(Wire::Quic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_session_works_over_wss() -> anyhow::Result<()> {
    session(Wire::Wss).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_session_works_over_ws_on_loopback() -> anyhow::Result<()> {
    session(Wire::Ws).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_may_use_two_carriers() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let (quic, wss) = (CommandLine::new(&node, Wire::Quic)?, CommandLine::new(&node, Wire::Wss)?);
    quic.account("ada@example.com", &["laptop"])?;
    wss.sign_in("phone", ("login", "ada@example.com", PASSWORD), &[])?.ended(0)?;
    let watch = wss.watch("phone")?;
    for n in 0..5 {
        quic.run("laptop", &["put", "goal", &format!("g{n}"), &n.to_string()])?.ended(0)?;
        assert_eq!(watch.change()?["value"], json!(n));
    }
    assert_eq!(watch.end("TERM")?, (Some(0), vec![]));
    node.terminate().await?;
    Ok(())
}
