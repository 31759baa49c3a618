//! `policy`: what becomes of a collection's edits that another device came before, shown or set.
//!
//! Never: a policy of this device alone; it is a record of the account, queued and sent as any edit.

use cloudsync_client::sdk::Client;
use cloudsync_engine::replica::{Pending, Policy, policy_key};
use cloudsync_protocol::{CollectionName, ErrorCode};
use serde::Serialize;

use super::edit::{Done, send, sent_by};
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure, FailureJson};
use crate::output::{Style, to_json};
use crate::room;

/// A collection's policy.
#[derive(Debug, Serialize)]
struct PolicyJson {
    collection: String,
    policy: &'static str,
    /// Set on this device, and not committed yet.
    pending: bool,
}

/// What came of setting one.
#[derive(Debug, Serialize)]
struct SetJson<'a> {
    #[serde(flatten)]
    policy: PolicyJson,
    acknowledged: bool,
    /// Why the server took nothing, where it is to be tried later: `store_full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureJson<'a>>,
}

pub(crate) async fn policy(context: &Context, asked: args::Policy) -> Result<(), Failure> {
    let collection = asked.collection.map(CollectionName::new).transpose().map_err(Failure::usage)?;
    match (collection, asked.policy) {
        (None, _) => list(context).await,
        (Some(collection), None) => show(context, &collection).await,
        (Some(collection), Some(args::PolicyName::Reject)) => set(context, &collection, Policy::Reject).await,
        (Some(collection), Some(args::PolicyName::LastWriteWins)) => set(context, &collection, Policy::LastWriteWins).await,
    }
}

async fn in_force(client: &Client, collection: &CollectionName) -> Result<PolicyJson, Failure> {
    let policy = client.policy(collection.clone()).await?.name();
    let shown = client.get(policy_key(collection)).await?;
    let pending = shown.is_some_and(|shown| shown.pending != Pending::Committed);
    Ok(PolicyJson { collection: collection.to_string(), policy, pending })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let client = context.reached().await?;
    let mut policies = Vec::new();
    for (collection, _) in client.policies().await? {
        policies.push(in_force(&client, &collection).await?);
    }
    let output = context.output;
    let row = |policy: &PolicyJson| vec![policy.collection.clone(), policy.policy.to_owned(), state(policy).to_owned()];
    match output.style {
        Style::Json => output.lines(&policies.iter().map(to_json).collect::<Vec<_>>()),
        Style::Terminal | Style::Plain => {
            output.table(&["collection", "policy", "state"], &policies.iter().map(row).collect::<Vec<_>>())?;
            if policies.is_empty() {
                output.aside("no policy was set: every collection has reject");
            }
            Ok(())
        }
    }
}

const fn state(policy: &PolicyJson) -> &'static str {
    if policy.pending { "pending" } else { "" }
}

async fn show(context: &Context, collection: &CollectionName) -> Result<(), Failure> {
    let client = context.reached().await?;
    let (policy, output) = (in_force(&client, collection).await?, context.output);
    if output.is_json() {
        return output.json(&policy);
    }
    output.line(policy.policy)?;
    if policy.pending {
        output.aside("it is set on this device, and not committed yet");
    }
    Ok(())
}

async fn set(context: &Context, collection: &CollectionName, policy: Policy) -> Result<(), Failure> {
    let output = context.output;
    let done = queue_and_send(context, collection, policy).await?;
    let (acknowledged, held, failure) = match &done {
        None | Some(Done::Acknowledged(_) | Done::Yielded(_) | Done::Nothing(_)) => (true, None, None),
        Some(Done::Queued(_)) => (false, None, None),
        Some(Done::Full(_)) => (false, Some(ErrorCode::StoreFull.name()), None),
        Some(Done::Held(_, failure)) => (false, None, Some(context.failure(failure.clone()))),
    };
    if output.is_json() {
        let policy = in_force(&context.client()?, collection).await?;
        let acknowledged = acknowledged && !policy.pending;
        output.json(&SetJson { policy, acknowledged, held, error: failure.as_ref().map(Failure::json) })?;
    }
    let name = policy.name();
    match done {
        Some(Done::Held(_, failure)) => return Err(failure),
        Some(Done::Full(_)) => output.say(&context.hint(&format!("{collection}: {}", room::STORE_FULL))),
        _ if output.is_json() => {}
        None => output.aside(&format!("{collection}: {name} is in force already")),
        Some(Done::Queued(_)) => output.say(&context.hint(&format!("{collection}: {name} here, queued; {}", sent_by(context)))),
        Some(Done::Acknowledged(_) | Done::Yielded(_) | Done::Nothing(_)) => output.aside(&format!("{collection}: {name}, acknowledged")),
    }
    Ok(())
}

/// Nothing where it is in force already.
async fn queue_and_send(context: &Context, collection: &CollectionName, policy: Policy) -> Result<Option<Done>, Failure> {
    let reached = match context.reach().await {
        Ok(reached) => reached,
        // The server can't be worked with: it is kept all the same, for when it can.
        Err(failure) => {
            let Ok(client) = context.client() else { return Err(failure) };
            client.set_policy(collection.clone(), policy).await?;
            let message = format!("{}; the policy of {collection} is kept, queued", failure.message);
            return Ok(Some(Done::Held(0, Failure { message, ..failure })));
        }
    };
    let paused_before = reached.client.status().await?.edits.paused;
    let Some(id) = reached.client.set_policy(collection.clone(), policy).await? else {
        if let Some(online) = reached.online {
            online.close().await;
        }
        return Ok(None);
    };
    match send(context, reached, (&policy_key(collection), id), paused_before).await {
        Ok(done) => Ok(Some(done)),
        Err(failure) if failure.exit == Exit::Refused => {
            Err(Failure { help: "`cloudsync conflicts` shows it; mend that and set the policy again".to_owned(), ..failure })
        }
        Err(failure) => Err(failure),
    }
}
