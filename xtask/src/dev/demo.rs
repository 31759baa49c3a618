//! The main job, shown: one account on two devices, a session written on the one and seen on the other.
//!
//! Never: a claim that was not watched happening; the line that is shown came out of the other device's `watch`.

use std::io::{BufRead as _, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

use super::device::{Device, EMAIL, First, PASSWORD, SignedIn};
use crate::process::terminate;
use crate::workspace::near;

const COLLECTION: &str = "timer_session";
const LIVE_TIMEOUT: Duration = Duration::from_secs(15);
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(15);

/// A `watch` that is ended with the demonstration, whatever becomes of it.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = terminate(self.0.id());
            let _ = self.0.wait();
        }
    }
}

/// Lines as they come, each with its moment.
fn lines(from: impl Read + Send + 'static) -> Receiver<(Instant, String)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The first line that fits, within a time.
fn find(lines: &Receiver<(Instant, String)>, within: Duration, fits: impl Fn(&str) -> bool) -> anyhow::Result<(Instant, String)> {
    let deadline = Instant::now() + within;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((at, line)) if fits(&line) => return Ok((at, line)),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => bail!("nothing came within {within:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("it ended"),
        }
    }
}

/// Signs both in and shows one write travelling from the first to the second.
pub(crate) fn show(laptop: &Device, phone: &Device) -> anyhow::Result<()> {
    println!("\nthe demo account: {EMAIL}, password: {PASSWORD}");
    for (device, first) in [(laptop, First::Registers), (phone, First::LogsIn)] {
        let (how, printed) = device.ensure_signed_in(first)?;
        let how = match how {
            SignedIn::Already => "is signed in since an earlier start",
            SignedIn::Registered => "registered the account",
            SignedIn::LoggedIn => "logged in",
        };
        println!("  {:<7}{how} over {}", device.name, device.server.url);
        printed.lines().for_each(|code| println!("    the demo account's recovery code: {code}"));
    }

    print_environment(laptop);
    let mut child = phone.start(&["watch"])?;
    let (stdout, stderr) = (child.stdout.take().context("no standard output")?, child.stderr.take().context("no standard error")?);
    let _watch = Watch(child);
    let (records, remarks) = (lines(stdout), lines(stderr));
    println!("$ {}", phone.typed(&["watch"]));
    let (_, live) = find(&remarks, LIVE_TIMEOUT, |line| line.contains("live at seq")).context("the phone's watch does not get live")?;
    println!("    {live}");

    let id = format!("demo-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let put = ["put", COLLECTION, &id, r#"{"task":"write","minutes":25}"#];
    println!("$ {}", laptop.typed(&put));
    let started = Instant::now();
    let printed = laptop.run(&put)?;
    let acknowledged = started.elapsed();
    printed.lines().for_each(|line| println!("    {line}"));

    let is_it = |line: &str| line.split('\t').any(|field| field == id);
    let (arrived, line) = find(&records, ARRIVAL_TIMEOUT, is_it).context("the laptop's write does not arrive on the phone")?;
    println!("{} sees it:\n    {}", phone.name, line.split('\t').filter(|field| !field.is_empty()).collect::<Vec<_>>().join("  "));
    let (took, acknowledged) = (arrived.duration_since(started).as_millis(), acknowledged.as_millis());
    println!("it took {took} ms from starting `put` to the line on the other device (`put` itself: {acknowledged} ms)");
    Ok(())
}

/// What the commands that follow take from the environment, so that each of them is a short line.
fn print_environment(device: &Device) {
    println!("\nwhat follows, as one would type it:");
    println!("$ export CLOUDSYNC_HOME={}", near(&device.home));
    println!("$ export CLOUDSYNC_PIN={}", device.server.pin);
}

/// What to try next: the README's session, with this run's addresses.
pub(crate) fn print_commands(laptop: &Device) {
    let binaries = laptop.binary.parent().map(near).unwrap_or_default();
    println!("\ntry next, in two other terminals, from the project's folder:");
    println!("  export PATH=\"{binaries}:$PATH\"");
    println!("  export CLOUDSYNC_SERVER={}", laptop.server.url);
    println!("  export CLOUDSYNC_PIN={}", laptop.server.pin);
    for command in [
        "cloudsync --profile a register --email ada@example.com --device laptop",
        "cloudsync --profile b login    --email ada@example.com --device phone",
        "cloudsync --profile b watch",
        "cloudsync --profile a put timer_session s1 '{\"task\":\"write\",\"minutes\":25}'",
        "cargo xtask sample",
        "cloudsync --profile a import --format pomodoro sessions.csv",
        "cloudsync --profile b list timer_session | tail -3",
        "cloudsync --profile b status",
    ] {
        println!("  {command}");
    }
    println!("\nor as another device of the demo account (password: {PASSWORD}):");
    println!("  cloudsync --profile tablet login --email {EMAIL} --device tablet");
}
