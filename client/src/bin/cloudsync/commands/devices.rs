//! `devices list` and `devices revoke`.
//!
//! Never: a device revoked on a guess; a name that several have is refused.

use crate::context::{Context, Reached};
use crate::failure::{Exit, Failure};
use crate::output::{Style, to_json};
use crate::record::DeviceJson;

/// Which devices a person is shown; scripts get all of them, with what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Those that the server lets in.
    Enrolled,
    /// Revoked ones as well.
    All,
}

pub(crate) async fn list(context: &Context, which: Shown) -> Result<(), Failure> {
    let Reached { client, online } = context.reach().await?;
    if let Some(online) = online {
        online.close().await;
    }
    let devices: Vec<DeviceJson> = client.devices().await?.iter().map(DeviceJson::new).collect();
    let output = context.output;
    match output.style {
        Style::Json => output.lines(&devices.iter().map(to_json).collect::<Vec<_>>()),
        Style::Terminal | Style::Plain => {
            let (shown, hidden): (Vec<_>, Vec<_>) = devices.iter().partition(|device| which == Shown::All || !device.revoked);
            output.table(&DeviceJson::NAMES, &shown.into_iter().map(DeviceJson::row).collect::<Vec<_>>())?;
            if !hidden.is_empty() {
                output.aside(&context.hint(&format!("{} revoked: `cloudsync devices list --all`", hidden.len())));
            }
            Ok(())
        }
    }
}

pub(crate) async fn revoke(context: &Context, device: &str) -> Result<(), Failure> {
    if context.offline {
        return Err(Failure::usage("revoking needs the server: leave --offline out"));
    }
    let client = context.client()?;
    let mut online = client.connect().await?;
    online.catch_up().await?;
    let revoked = online.revoke(device).await;
    online.close().await;
    let revoked = revoked?;
    let now = client.devices().await?.into_iter().find(|device| device.id == revoked.id);
    let Some(now) = now else {
        return Err(Failure::new(Exit::Unexpected, "unexpected", "the device is not in the list any more", "see `cloudsync devices list`"));
    };
    let output = context.output;
    if output.is_json() {
        return output.json(&DeviceJson::new(&now));
    }
    // As it was before.
    if revoked.revoked.is_some() {
        output.say(&format!("{} was revoked already, nothing was changed", revoked.name));
        return Ok(());
    }
    output.say(&format!("{} is revoked: the server lets it in no longer", revoked.name));
    output.aside("what it has read it may keep; keys are not rotated yet");
    Ok(())
}
