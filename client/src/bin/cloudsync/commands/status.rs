//! `status`.
//!
//! Never: a failure because the server is not reached; that is one of the facts.

use cloudsync_client::carrier::ConnectError;
use cloudsync_client::connection;
use cloudsync_client::sdk::{self, Checked, Client};
use cloudsync_engine::replica::Status;
use cloudsync_protocol::ErrorCode;
use serde::Serialize;

use crate::args;
use crate::check::{CheckJson, differs};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{SentBy, queued};
use crate::room;

#[derive(Serialize)]
struct StatusJson<'a> {
    email: &'a str,
    user: String,
    device: &'a str,
    device_id: String,
    server: &'a str,
    /// Whether the server answers; nothing when it was not asked.
    online: Option<bool>,
    /// Why the server is not reached or lets this device in no longer: a stable code.
    problem: Option<&'a str>,
    /// How far the log was read.
    seq: u64,
    /// Committed records that are held and not deleted.
    records: u64,
    /// Edits that are not committed yet.
    pending: u64,
    /// Why some of them wait and are not sent: `quota`; else nothing.
    paused: Option<&'static str>,
    /// How many these are.
    paused_edits: u64,
    /// How full the quota is, as last told; nothing before.
    used_bytes: Option<u64>,
    quota_bytes: Option<u64>,
    /// Why the server took none of the others when they were sent last: `store_full`; else nothing.
    held: Option<&'static str>,
    conflicts: u64,
    /// Versions that the server lost and that this device is to bring back; they are counted in `pending` too.
    lost: u64,
    /// Records whose version does not open.
    damaged: u64,
    /// A rotation that was begun here: `pending` or `code_not_shown`; else nothing.
    rotation: Option<&'static str>,
    /// Whether a device left that knows the account's keys.
    rotation_due: bool,
    /// Devices that were revoked in what the server lost and that it refuses to let go again; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revokes_given_up: Vec<GivenUpJson>,
    /// With --check, what the comparison with the server found.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CheckJson>,
}

/// A revoke that the server refuses for good.
#[derive(Serialize)]
struct GivenUpJson {
    device_id: String,
    code: &'static str,
}

pub(crate) async fn status(context: &Context, asked: &args::Status) -> Result<(), Failure> {
    if asked.check && context.offline {
        return Err(Failure::usage("--check compares with the server: leave --offline out"));
    }
    let client = context.client()?;
    let checked = if asked.check { Some(check(&client).await?) } else { None };
    show(context, &client, checked.as_ref()).await?;
    checked.as_ref().and_then(differs).map_or(Ok(()), Err)
}

async fn check(client: &Client) -> Result<Checked, Failure> {
    let mut online = client.connect().await?;
    let checked = online.check().await;
    online.close().await;
    Ok(checked?)
}

async fn show(context: &Context, client: &Client, checked: Option<&Checked>) -> Result<(), Failure> {
    let error = if context.offline { None } else { problem(client).await };
    let is_untrusted = error.as_ref().is_some_and(is_untrusted);
    let problem = error.map(Failure::from);
    // Whoever refuses answers.
    let online = (!context.offline).then(|| problem.as_ref().is_none_or(|failure| failure.exit != Exit::Unreachable));
    let (status, records) = (client.status().await?, client.records_count().await?);
    let (card, output) = (client.card(), context.output);
    let (pending, paused, conflicts) = (status.edits.pending(), status.edits.paused, status.edits.parked + status.edits.lost_refused);
    let lost = status.edits.lost + status.edits.lost_paused;
    let held = held(client, &status).await?;
    let device_id = client.keys().device.id.to_string();
    let (rotation, rotation_due) = (client.rotation().await?.name(), client.is_rotation_due().await?);
    let given_up = given_up(client).await?;
    if output.is_json() {
        return output.json(&StatusJson {
            email: &card.email,
            user: card.user.to_string(),
            device: &card.device,
            device_id,
            server: context.address(card),
            online,
            problem: problem.as_ref().map(|failure| failure.code),
            seq: status.cursor.seq.0,
            records,
            pending,
            paused: (paused > 0).then_some("quota"),
            paused_edits: paused,
            used_bytes: status.usage.map(|usage| usage.used),
            quota_bytes: status.usage.map(|usage| usage.limit),
            held: held.map(ErrorCode::name),
            conflicts,
            lost,
            damaged: status.damaged,
            rotation,
            rotation_due,
            revokes_given_up: given_up,
            check: checked.map(CheckJson::new),
        });
    }
    let online = reached(online, is_untrusted);
    let mut facts = vec![
        ("account", card.email.clone()),
        ("device", format!("{} ({device_id})", card.device)),
        ("server", format!("{} ({online})", context.address(card))),
        ("read to", status.cursor.seq.to_string()),
        ("records", records.to_string()),
        ("pending", pending.to_string()),
        ("conflicts", conflicts.to_string()),
        ("damaged", status.damaged.to_string()),
    ];
    let problem = problem.map(|failure| context.failure(failure));
    facts.extend((lost > 0).then(|| ("lost", format!("{lost}, to be brought back"))));
    facts.extend(status.usage.map(|usage| ("used", room::used(usage))));
    facts.extend(problem.as_ref().map(|problem| ("problem", problem.code.to_owned())));
    facts.extend(rotation.map(|rotation| ("rotation", rotation.to_owned())));
    facts.extend(rotation_due.then(|| ("rotation due", "yes".to_owned())));
    facts.extend(checked.map(|checked| ("check", CheckJson::new(checked).said())));
    output.facts(&facts)?;
    if let Some(problem) = &problem {
        output.say(&format!("{}\n{}", problem.message, problem.help));
    }
    say_given_up(context, &given_up);
    say_queued(context, pending - paused, problem.as_ref());
    say_held(context, held);
    say_paused(context, &status);
    context.mention_conflicts().await;
    Ok(())
}

/// That edits wait to be sent, if any do, and what sends them.
fn say_queued(context: &Context, edits: u64, problem: Option<&Failure>) {
    let is_out = problem.is_some_and(|problem| problem.exit == Exit::NotSignedIn);
    let sent_by = if is_out { SentBy::LogIn } else { SentBy::Sync };
    if edits > 0 {
        context.output.say(&context.hint(&queued(edits, sent_by)));
    }
}

async fn given_up(client: &Client) -> Result<Vec<GivenUpJson>, Failure> {
    let given_up = client.revokes_given_up().await?.into_iter();
    Ok(given_up.map(|(device, code)| GivenUpJson { device_id: device.to_string(), code: code.name() }).collect())
}

fn say_given_up(context: &Context, given_up: &[GivenUpJson]) {
    for GivenUpJson { device_id, code } in given_up {
        context.output.say(&context.hint(&format!(
            "device {device_id} was revoked before the server went back, and is not let go again ({code}): see `cloudsync devices list`"
        )));
    }
}

/// Why the server takes none of the edits that wait; nothing where it does, or none wait.
pub(super) async fn held(client: &Client, status: &Status) -> Result<Option<ErrorCode>, Failure> {
    let is_held = status.edits.pending() > status.edits.paused && client.is_store_full().await?;
    Ok(is_held.then_some(ErrorCode::StoreFull))
}

/// That they are kept for when it does.
pub(super) fn say_held(context: &Context, held: Option<ErrorCode>) {
    if let Some(code) = held {
        context.output.say(&context.hint(&format!("{code}: {}", room::STORE_FULL)));
    }
}

/// That edits wait for room, if any do.
pub(super) fn say_paused(context: &Context, status: &Status) {
    if let Some(note) = room::note(status.edits.paused, status.usage) {
        context.output.say(&note);
    }
}

/// Whether the server answers, in words.
const fn reached(online: Option<bool>, is_untrusted: bool) -> &'static str {
    match online {
        Some(true) => "reachable",
        Some(false) if is_untrusted => "not trusted",
        Some(false) => "not reachable",
        None => "not asked",
    }
}

/// Why no session is to be had.
async fn problem(client: &Client) -> Option<sdk::Error> {
    match client.connect().await {
        Ok(online) => {
            online.close().await;
            None
        }
        Err(error) => Some(error),
    }
}

/// Whether somebody answers who is not who was expected.
fn is_untrusted(error: &sdk::Error) -> bool {
    let sdk::Error::Connection(connection::Error::Unreachable(error)) = error else { return false };
    match error {
        ConnectError::CertificateNotPinned { .. } | ConnectError::CertificateUntrusted { .. } => true,
        ConnectError::Unreachable { .. } => false,
    }
}
