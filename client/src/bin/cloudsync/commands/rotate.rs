//! `rotate` and `devices revoke`: other keys for the account, and who stays.
//!
//! Never: a password asked for before somebody was told who stays, or a recovery code forgotten before it was shown.

use std::time::Duration;

use cloudsync_client::account::{Password, Rotation};
use cloudsync_client::sdk::{self, Begun, Client, Plan, RevokeError};
use serde::Serialize;
use zeroize::Zeroizing;

use super::account::password;
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::to_json;
use crate::password::{Repeat, answered, from_stdin, from_terminal, long_enough};
use crate::record::DeviceJson;

const CODE: &str = "\
Your new recovery code is shown this one time; the one before opens nothing any
more. Write it down and keep it where you keep papers, not on this device.";
/// Wrapping anew goes on as long as it gets on; this only bounds it.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Serialize)]
struct RotatedJson<'a> {
    email: &'a str,
    keyring_version: u64,
    recovery_code: &'a str,
}

/// What is typed: asked for once.
struct Typed {
    password: Password,
    new: Option<Password>,
}

pub(crate) async fn rotate(context: &Context, asked: args::Rotate) -> Result<(), Failure> {
    rotate_away(context, &[], &asked).await
}

pub(crate) async fn revoke(context: &Context, devices: &[String], asked: args::Rotate) -> Result<(), Failure> {
    rotate_away(context, devices, &asked).await
}

/// Rotates with these devices leaving; what was begun before comes first.
async fn rotate_away(context: &Context, devices: &[String], asked: &args::Rotate) -> Result<(), Failure> {
    if context.offline {
        return Err(Failure::usage("rotating needs the server: leave --offline out"));
    }
    if asked.password_stdin && !asked.yes {
        return Err(Failure::usage("nobody can be asked who stays: give --yes with --password-stdin"));
    }
    let client = context.client()?;
    let mut typed = None;
    loop {
        let mut plan = client.plan_rotation(devices).await?;
        let begun = std::mem::replace(&mut plan.begun, Begun::Nothing);
        let finished = match begun {
            Begun::Nothing => None,
            Begun::Lost(lost) => {
                let still = lost.len();
                context.output.say(&format!("a rotation that was begun here can't count any more; {still} devices did not leave by it"));
                None
            }
            Begun::NotShown(rotation) => Some(*rotation),
            Begun::Undecided(rotation) => {
                context.output.say("a rotation that was begun here is not decided: it comes first");
                let typed = typed_once(&mut typed, context, asked)?;
                Some(client.rotate_on(*rotation, &typed.password).await?)
            }
        };
        if let Some(rotation) = finished {
            drop(plan);
            end(context, &client, &rotation).await?;
            if devices.is_empty() {
                return Ok(());
            }
            continue;
        }
        if !devices.is_empty() && plan.leaving.is_empty() {
            return already(context, &plan);
        }
        confirm(context, &plan, asked.yes)?;
        let typed = typed_once(&mut typed, context, asked)?;
        match client.rotate(&plan, &typed.password, typed.new.as_ref()).await {
            Ok(rotation) => {
                let leaving: Vec<_> = plan.leaving.iter().map(|device| device.id).collect();
                drop(plan);
                revoked(context, &client, &leaving).await?;
                end(context, &client, &rotation).await?;
                return Ok(());
            }
            // Whoever is there is asked again, with the new list.
            Err(RevokeError::NotDone { code: cloudsync_protocol::ErrorCode::RosterMoved, .. }) if !asked.yes => {
                context.output.say("a device came or went meanwhile");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Those that were asked for have left.
fn already(context: &Context, plan: &Plan) -> Result<(), Failure> {
    for device in &plan.left {
        if context.output.is_json() {
            context.output.json(&DeviceJson::new(device))?;
        } else {
            context.output.say(&format!("{} was revoked already, nothing was changed", device.name));
        }
    }
    Ok(())
}

/// Says who stays, and asks.
fn confirm(context: &Context, plan: &Plan, yes: bool) -> Result<(), Failure> {
    let output = context.output;
    output.say(if plan.leaving.is_empty() { "New keys for the account. These devices stay:" } else { "These devices stay:" });
    for staying in &plan.staying {
        let own = if staying.device.own { ", this device" } else { "" };
        let mark = if staying.after_leaver { "  ! enrolled after one that leaves: is it yours?" } else { "" };
        output.say(&format!("  {} ({}{own}, enrolled at {}){mark}", staying.device.name, staying.device.id, staying.device.enrolled));
    }
    for device in &plan.leaving {
        output.say(&format!("and {} ({}) leaves.", device.name, device.id));
    }
    if yes {
        return Ok(());
    }
    match answered("Go on? [y/N] ")?.as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(
            Exit::Refused,
            "not_confirmed",
            "nothing was changed",
            "revoke whom you don't know: `cloudsync devices revoke …`",
        )),
    }
}

fn typed_once<'a>(typed: &'a mut Option<Typed>, context: &Context, asked: &args::Rotate) -> Result<&'a Typed, Failure> {
    if typed.is_none() {
        let read = |repeat| if asked.password_stdin { from_stdin() } else { from_terminal(repeat) };
        let current = password(&read(Repeat::Once)?)?;
        let new = asked.new_password.then(|| read(Repeat::Twice)).transpose()?;
        let new = new.map(|new: Zeroizing<String>| long_enough(&new).and_then(|()| password(&new))).transpose()?;
        if new.is_none() && !asked.password_stdin {
            context.output.aside("with --new-password a server can't show your next device the keys of before");
        }
        *typed = Some(Typed { password: current, new });
    }
    typed.as_ref().ok_or_else(|| Failure::usage("no password"))
}

/// Says who left, as the list has it now.
async fn revoked(context: &Context, client: &Client, leaving: &[cloudsync_protocol::DeviceId]) -> Result<(), Failure> {
    if leaving.is_empty() {
        return Ok(());
    }
    let mut online = client.connect().await?;
    let read = online.catch_up().await;
    online.close().await;
    read?;
    for device in client.devices().await?.into_iter().filter(|device| leaving.contains(&device.id)) {
        if context.output.is_json() {
            context.output.line(&to_json(&DeviceJson::new(&device)))?;
        } else {
            context.output.say(&format!("{} is revoked: it reads nothing that is written from here on", device.name));
        }
    }
    Ok(())
}

/// Shows the code, and wraps anew what is held. That the server can't be reached for the latter is no failure.
async fn end(context: &Context, client: &Client, rotation: &Rotation) -> Result<(), Failure> {
    let (output, code) = (context.output, Client::code_of(rotation));
    if output.is_json() {
        let pin = rotation.pin().map_err(sdk::Error::from)?;
        output.json(&RotatedJson { email: &client.card().email, keyring_version: pin.version, recovery_code: &code.0 })?;
    } else {
        output.say("the account has new keys; other devices fetch them by themselves");
        output.say(CODE);
        output.line(&code.0)?;
    }
    client.rotation_shown()?;
    let wrapped = async {
        let mut online = client.connect().await?;
        online.catch_up().await?;
        let sent = online.push_all(PATIENCE).await;
        online.close().await;
        sent
    };
    context.or_offline(wrapped.await).map(drop)
}

/// A device left to make room, in its own name: it knows every key. With the password at hand they are rotated at once.
pub(super) async fn after_instead_of(context: &Context, password: &Password) -> Result<(), Failure> {
    let client = context.client()?;
    let mut plan = client.plan_rotation(&[]).await?;
    plan.begun = Begun::Nothing;
    let rotation = client.rotate(&plan, password, None).await?;
    drop(plan);
    end(context, &client, &rotation).await
}

/// Says where a code waits to be shown, what was lost, and once a day that a rotation is due.
pub(super) async fn mention(context: &Context) {
    let Ok(client) = context.client() else { return };
    let note = match client.rotation().await {
        Ok(Begun::NotShown(_)) => "a new recovery code waits to be shown: `cloudsync rotate` shows it",
        Ok(Begun::Undecided(_)) => "a rotation that was begun here is not decided: `cloudsync rotate` goes on with it",
        Ok(Begun::Lost(_)) => "a rotation that was begun here can't count any more (rotation_lost): see `cloudsync devices list`",
        Ok(Begun::Nothing) if client.tells_rotation_due().await.unwrap_or_default() => {
            "a device left that knows the account's keys: `cloudsync rotate` makes new ones"
        }
        Ok(Begun::Nothing) | Err(_) => return,
    };
    context.output.say(&context.hint(note));
}
