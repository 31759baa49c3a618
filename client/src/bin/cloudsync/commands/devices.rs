//! `devices list`.
//!
//! Never: a name from the server; it is opened here.

use crate::context::{Context, Reached};
use crate::failure::Failure;
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
