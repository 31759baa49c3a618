//! What a node writes to its log when it is asked for everything: never what somebody could use or be known by.
//!
//! Never: a log that says nothing; each test sees first that it is as talkative as it was asked to be.

use anyhow::{Context as _, anyhow, ensure};
use cloudsync_tests::device::{Access, key, value};
use cloudsync_tests::{NodeProcess, Person, Stop, SyncDevice, Wire, person, process};

const EMAIL: &str = "ada.of.the.log@example.com";
const RECORD: &str = "a record that nobody reads";

fn wrong(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lost(why) | Stop::Unreachable(why) => anyhow!(why),
        Stop::Wrong(error) => error,
    }
}

/// How bytes may be written: as text, in hexadecimal, as a list of numbers.
fn written(secret: &str) -> [String; 3] {
    let numbers: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    [secret.to_owned(), hexadecimal, numbers.join(", ")]
}

/// Signs up, logs in, refreshes and pushes; gives what none of it may leave in a log.
async fn live_a_little(node: &NodeProcess, wire: Wire) -> anyhow::Result<Vec<(&'static str, String)>> {
    let server = node.server(wire)?;
    let first = Person::register_at(&server, EMAIL).await?;
    let second = first.log_in_again_at(&server).await?;
    let mut secrets = vec![("e-mail address", EMAIL.to_owned()), ("password", person::PASSWORD.to_owned()), ("record", RECORD.to_owned())];
    let tokens = |person: &Person| {
        let tokens = person.tokens.clone();
        [("access token", tokens.access_token), ("refresh token", tokens.refresh_token)]
    };
    secrets.extend(tokens(&first));
    secrets.extend(tokens(&second));
    let mut device = SyncDevice::new(second);
    let online = device.connect(&server, Access::Renewed).await.map_err(wrong)?;
    secrets.extend(tokens(&device.person));
    device.catch_up(&online).await.map_err(wrong)?;
    device.claim(&online).await.map_err(wrong)?;
    device.edit(&key("notes", "n1")?, &value(RECORD, 0), 0)?;
    let batch = device.next_batch()?.context("a batch")?;
    device.push(&online, &batch).await.map_err(wrong)?;
    Ok(secrets)
}

async fn nothing_secret_is_logged(filter: &str, wire: Wire) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start_logging(folder.path(), filter).await?;
    let secrets = live_a_little(&node, wire).await?;
    node.terminate().await?;
    let log = process::log(folder.path()).to_lowercase();
    for line in ["serving", "account call", "session open"] {
        ensure!(log.contains(line), "`{line}` is not in the log of {filter}: it says too little to prove anything");
    }
    for (what, secret) in secrets {
        for form in written(&secret) {
            let leak = log.lines().find(|line| line.contains(&form.to_lowercase()));
            ensure!(leak.is_none(), "with {filter} over {wire:?} the log has the {what}: {leak:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_trace_the_log_holds_no_token_address_password_or_record() -> anyhow::Result<()> {
    for wire in Wire::ALL {
        nothing_secret_is_logged("trace", wire).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_names_a_library_gets_no_more_of_it() -> anyhow::Result<()> {
    nothing_secret_is_logged("cloudsync_node=debug,tungstenite=trace,tungstenite::protocol=trace,tokio_tungstenite=trace", Wire::Ws).await
}
