//! `watch`: every commit from now on, until Ctrl-C.
//!
//! Never: a change shown twice or left out.

use std::collections::BTreeMap;
use std::time::Instant;

use cloudsync_client::sdk::{Client, Watch, WatchEvent};
use cloudsync_protocol::DeviceId;
use tokio::signal::unix::{SignalKind, signal};

use crate::away::Away;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::fields;
use crate::parked::just_now;
use crate::record::ChangeJson;
use crate::room;

pub(crate) async fn watch(context: &Context) -> Result<(), Failure> {
    if context.offline {
        return Err(Failure::usage("watch needs the server: leave --offline out"));
    }
    let client = context.client()?;
    let unexpected = |error: std::io::Error| Failure::new(Exit::Unexpected, "signals", error, "report it");
    let mut ended = signal(SignalKind::terminate()).map_err(unexpected)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(unexpected)?;
    let mut watch = Watch::new(client.clone());
    let mut names = Names { client, names: BTreeMap::new() };
    let (mut is_first, mut away) = (true, Away::default());
    loop {
        let event = tokio::select! {
            event = watch.next() => event?,
            _ = ended.recv() => break,
            _ = interrupted.recv() => break,
        };
        if !matches!(event, WatchEvent::Offline(..)) && away.ends() {
            context.output.end_updates();
        }
        match event {
            WatchEvent::Live(seq) => {
                context.output.say(&format!("live at seq {seq}"));
                // From then on each is told when it comes.
                if std::mem::replace(&mut is_first, false) {
                    context.mention_conflicts().await;
                }
            }
            WatchEvent::Rewound => context
                .output
                .say("the server went back to an older state: what was shown before may be gone; `cloudsync list` shows how things are"),
            WatchEvent::Parked(conflict) => context.output.say(&context.hint(&just_now(&conflict))),
            WatchEvent::Paused { edits, usage } => room::note(edits, usage).into_iter().for_each(|note| context.output.say(&note)),
            // On a terminal one line says how things are, elsewhere a line is one more in a log.
            WatchEvent::Offline(why, wait) => {
                if away.is_due(Instant::now()) || context.output.talk_is_terminal() {
                    context.output.update(&format!("offline: {why}; trying again in {:.1} s", wait.as_secs_f64()));
                }
            }
            WatchEvent::Change(change) => {
                let shown = ChangeJson::new(&change, names.of(change.device).await?);
                if context.output.is_json() {
                    context.output.json(&shown)?;
                } else {
                    context.output.line(&fields(&shown.row()))?;
                }
            }
        }
    }
    if away.ends() {
        context.output.end_updates();
    }
    watch.close().await;
    Ok(())
}

/// Devices by name, asked for again when one is not known.
struct Names {
    client: Client,
    names: BTreeMap<DeviceId, String>,
}

impl Names {
    async fn of(&mut self, device: DeviceId) -> Result<String, Failure> {
        if !self.names.contains_key(&device) {
            self.names = self.client.devices().await?.into_iter().map(|device| (device.id, device.name)).collect();
        }
        Ok(self.names.get(&device).cloned().unwrap_or_else(|| device.to_string()))
    }
}
