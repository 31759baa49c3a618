//! `put` and `delete`: queued durably, then sent, and waited for while the server answers.
//!
//! Never: an edit that was refused called queued, or a queued one called committed.

use std::time::Duration;

use cloudsync_client::sdk::{self, Client, Deadline, Offline, Online};
use cloudsync_engine::replica::{Content, EditId, Fate, Onto, Pending, Policy, Reason, is_reserved};
use cloudsync_protocol::{ErrorCode, RecordKey};

use crate::args;
use crate::context::{Context, Reached};
use crate::failure::{Exit, Failure};
use crate::parked::{SETTLE, Typed, parked_help, settle as settle_one};
use crate::record::{EditJson, RecordJson, key};
use crate::{room, value};

/// How long an acknowledgement is waited for.
const ACKNOWLEDGED_WITHIN: Deadline = Deadline(Duration::from_secs(10));

/// What came of an edit.
pub(super) enum Done {
    /// Committed: the record's version now.
    Acknowledged(u64),
    /// Committed below another device's, which is later and stays current: the version of that.
    Yielded(u64),
    /// Durable here.
    Queued(u64),
    /// Durable here as well: the server has no room on its disk for anybody.
    Full(u64),
    /// Durable here as well, and not sent as things are: why.
    Held(u64, Failure),
    /// Nothing was there to delete: the version at which it was deleted, 0 where it never was.
    Nothing(u64),
}

pub(crate) async fn put(context: &Context, asked: args::Put) -> Result<(), Failure> {
    let typed = if asked.value == "-" { std::io::read_to_string(std::io::stdin()).map_err(Failure::usage)? } else { asked.value };
    let text = value::minified(&typed).map_err(|error| not_json(&typed, &error))?;
    edit(context, key(&asked.record)?, Content::Value(text.into()), asked.onto).await
}

fn not_json(typed: &str, error: &serde_json::Error) -> Failure {
    let what = if typed.trim().is_empty() { "the value is empty, not JSON".to_owned() } else { format!("the value is not JSON: {error}") };
    Failure::new(Exit::Usage, "usage", what, args::QUOTING)
}

pub(crate) async fn delete(context: &Context, asked: args::Delete) -> Result<(), Failure> {
    edit(context, key(&asked.record)?, Content::Deleted, asked.onto).await
}

pub(super) async fn edit(context: &Context, key: RecordKey, content: Content, onto: Option<args::Onto>) -> Result<(), Failure> {
    if is_reserved(&key.collection) {
        return Err(sdk::Error::Reserved.into());
    }
    let onto = onto.map_or(Onto::Replica, |args::Onto::Current| Onto::Current);
    let done = queue_and_send(context, &key, &content, onto).await;
    let output = context.output;
    let ((version, conflict), acknowledged, failure) = match &done {
        Ok(Done::Acknowledged(version) | Done::Yielded(version) | Done::Nothing(version)) => ((*version, false), true, None),
        Ok(Done::Queued(version) | Done::Full(version)) => ((*version, false), false, None),
        Ok(Done::Held(version, failure)) => ((*version, false), false, Some(failure)),
        Err(failure) if output.is_json() => (as_held(context, &key).await, false, Some(failure)),
        Err(failure) => ((0, false), false, Some(failure)),
    };
    if output.is_json() {
        let record = RecordJson {
            pending: done.is_ok() && !acknowledged,
            conflict: conflict || failure.is_some_and(|failure| failure.exit == Exit::Conflict),
            ..RecordJson::new(&key, version, &content)
        };
        let failure = failure.map(|failure| context.failure(failure.clone()));
        let held = matches!(done, Ok(Done::Full(_))).then(|| ErrorCode::StoreFull.name());
        let yielded = matches!(done, Ok(Done::Yielded(_)));
        output.json(&EditJson { record, acknowledged, yielded, held, error: failure.as_ref().map(Failure::json) })?;
    }
    match done? {
        Done::Nothing(0) => output.say(&format!("nothing to delete: there is no record {key}")),
        Done::Nothing(_) => output.say(&format!("nothing to delete: {key} is deleted already")),
        Done::Acknowledged(version) if !output.is_json() => {
            let what = if content == Content::Deleted { "deleted, " } else { "" };
            output.aside(&format!("{key}: {what}acknowledged as version {version}"));
        }
        Done::Yielded(version) => {
            output.say(&format!("{key}: acknowledged, below a later edit of another device, which stays current as version {version}"));
        }
        Done::Queued(_) if !output.is_json() => {
            let what = if content == Content::Deleted { "deleted here, " } else { "" };
            output.say(&context.hint(&format!("{key}: {what}queued; {}", sent_by(context))));
        }
        Done::Full(_) => output.say(&context.hint(&format!("{key}: {}", room::STORE_FULL))),
        Done::Held(_, failure) => return Err(failure),
        Done::Acknowledged(_) | Done::Queued(_) => {}
    }
    Ok(())
}

/// What sends a queued edit: reading commands don't.
pub(super) const fn sent_by(context: &Context) -> &'static str {
    if context.offline { "`cloudsync sync` or a running watch sends it" } else { "`cloudsync sync` sends it when the server is back" }
}

/// The version that is held of a record whose edit was refused, 0 where there is none or nothing can be read, and whether an
/// edit of it is parked.
async fn as_held(context: &Context, key: &RecordKey) -> (u64, bool) {
    let Ok(client) = context.client() else { return (0, false) };
    let version = client.get(key.clone()).await.ok().flatten().map_or(0, |shown| shown.version.0);
    let parked = client.conflicts().await.is_ok_and(|parked| parked.iter().any(|conflict| conflict.mine.key == *key));
    (version, parked)
}

async fn queue_and_send(context: &Context, key: &RecordKey, content: &Content, onto: Onto) -> Result<Done, Failure> {
    let Reached { client, online } = match context.reach().await {
        Ok(reached) => reached,
        Err(failure) => return hold(context, key, (content, onto), failure).await,
    };
    if *content == Content::Deleted
        && let Some(version) = nothing_there(&client, key).await?
    {
        if let Some(online) = online {
            online.close().await;
        }
        return Ok(Done::Nothing(version));
    }
    let paused_before = client.status().await?.edits.paused;
    let id = client.edit(key.clone(), content.clone(), onto).await.map_err(|error| not_made(error, content))?;
    let done = send(context, Reached { client: client.clone(), online }, (key, id), paused_before).await?;
    let Done::Acknowledged(version) = done else { return Ok(done) };
    let shown = client.get(key.clone()).await?;
    let yields = shown.is_some_and(|shown| shown.content != *content && shown.pending == Pending::Committed)
        && client.policy(key.collection.clone()).await? == Policy::LastWriteWins;
    Ok(if yields { Done::Yielded(version) } else { Done::Acknowledged(version) })
}

/// Sends what was queued, and with it what there is room for since.
pub(super) async fn send(
    context: &Context,
    reached: Reached,
    (key, id): (&RecordKey, EditId),
    paused_before: u64,
) -> Result<Done, Failure> {
    let Reached { client, online } = reached;
    let is_reached = online.is_some();
    let sent = async {
        let fate = match online {
            None => Fate::Waiting,
            Some(mut online) => {
                let settled = settle(context, &mut online, key, id).await;
                if paused_before > 0 && matches!(settled, Ok(Fate::Gone)) {
                    send_along(context, &mut online).await;
                }
                online.close().await;
                settled?
            }
        };
        Ok((fate, client.get(key.clone()).await?.map_or(0, |shown| shown.version.0)))
    };
    let (fate, version) = sent.await.map_err(|failure| in_doubt(failure, key))?;
    match fate {
        Fate::Gone => Ok(Done::Acknowledged(version)),
        Fate::Waiting | Fate::Signed if is_reached && client.is_store_full().await? => Ok(Done::Full(version)),
        Fate::Waiting | Fate::Signed => Ok(Done::Queued(version)),
        Fate::Paused { grows } => Ok(Done::Held(version, room::paused(key, grows, client.status().await?.usage))),
        Fate::Parked(Reason::Stale) => Err(Failure::new(
            Exit::Conflict,
            "stale",
            format!("{key} was changed by another device meanwhile (it is at version {version}); your edit is kept as a conflict"),
            SETTLE,
        )),
        Fate::Parked(Reason::Refused(code)) => Err(parked(key, code)),
    }
}

/// Why an edit was not made; where an earlier one is in the way, a delete is not told to write.
fn not_made(error: sdk::Error, content: &Content) -> Failure {
    if let sdk::Error::Conflicted { key } = &error
        && *content == Content::Deleted
    {
        return Failure { help: settle_one(key, Typed::Delete), ..error.into() };
    }
    error.into()
}

/// The server can't be worked with: what was typed is kept all the same, for when it can.
async fn hold(context: &Context, key: &RecordKey, (content, onto): (&Content, Onto), failure: Failure) -> Result<Done, Failure> {
    // Where the profile itself is the trouble, nothing can be kept in it.
    let Ok(client) = context.client() else { return Err(failure) };
    if *content == Content::Deleted && nothing_there(&client, key).await?.is_some() {
        return Err(failure);
    }
    let not_kept = |error| Failure { message: format!("{}; your edit of {key} is not kept: {error}", failure.message), ..failure.clone() };
    client.edit(key.clone(), content.clone(), onto).await.map_err(not_kept)?;
    let version = client.get(key.clone()).await?.map_or(0, |shown| shown.version.0);
    Ok(Done::Held(version, Failure { message: format!("{}; your edit of {key} is kept, queued", failure.message), ..failure }))
}

/// Sends what there is room for since.
async fn send_along(context: &Context, online: &mut Online) {
    if let Err(error) = online.push_all(ACKNOWLEDGED_WITHIN.0).await {
        context.output.aside(&format!("edits that waited for room are not sent yet: {error}"));
    }
}

/// The edit was stored here, and sent perhaps, before this machine or the answer failed: nobody may be told that nothing came of it.
fn in_doubt(failure: Failure, key: &RecordKey) -> Failure {
    if !matches!(failure.exit, Exit::Damage | Exit::Unexpected) && failure.code != "profile_busy" {
        return failure;
    }
    Failure {
        message: format!("{}; your edit of {key} was queued before that and may be committed", failure.message),
        help: format!("`get` on another device, or after a new log-in, says whether it is; for this profile: {}", failure.help),
        ..failure
    }
}

/// Whether a delete would change nothing: the version at which it was deleted, 0 where it never was.
async fn nothing_there(client: &Client, key: &RecordKey) -> Result<Option<u64>, Failure> {
    if client.conflicts().await?.iter().any(|conflict| conflict.mine.key == *key) {
        return Ok(None);
    }
    Ok(match client.get(key.clone()).await? {
        None => Some(0),
        Some(shown) => (shown.content == Content::Deleted && shown.pending == Pending::Committed).then_some(shown.version.0),
    })
}

async fn settle(context: &Context, online: &mut Online, key: &RecordKey, id: EditId) -> Result<Fate, Failure> {
    match online.settle(key.clone(), id, ACKNOWLEDGED_WITHIN).await {
        Ok(fate) => Ok(fate),
        // The connection is gone, and with it the answer; the edit stays.
        Err(error) if error.offline() == Offline::Yes => {
            context.output.aside(&format!("offline: {error}"));
            Ok(online.client().fate(key.clone(), id).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn parked(key: &RecordKey, code: ErrorCode) -> Failure {
    Failure::new(Exit::Refused, code.name(), format!("{key} is refused ({code}); your edit is kept as a conflict"), parked_help(code))
}

#[cfg(test)]
mod tests {
    use cloudsync_client::replica::StoreError;
    use cloudsync_protocol::{CollectionName, RecordId};

    use super::*;

    #[test]
    fn a_put_that_fails_on_this_machine_after_it_was_queued_is_in_doubt_and_a_refused_one_is_not() {
        let key = RecordKey { collection: CollectionName::new("goal").unwrap(), record: RecordId::new("g1").unwrap() };
        let damaged = StoreError::Damaged { place: "marks".into(), why: "not a database".into() };
        let busy = StoreError::Busy { waited_s: 5, holder: "process 7".into() };
        for error in [damaged, busy] {
            let failure = in_doubt(error.into(), &key);
            assert!(failure.message.contains("goal/g1 was queued") && failure.help.contains("another device"), "{failure:?}");
        }
        let refused = parked(&key, ErrorCode::BodyTooLarge);
        assert_eq!(in_doubt(refused.clone(), &key), refused);
    }
}
