//! `account delete`: for ever, so that it is asked twice: whether it is meant, and for the password.
//!
//! Never: anything deleted before both were answered.

use cloudsync_client::sdk;
use serde::Serialize;

use super::account::password;
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::counted;
use crate::password::{Repeat, answered};

#[derive(Serialize)]
struct DeletedJson<'a> {
    email: &'a str,
    user: String,
    deleted: bool,
}

pub(crate) async fn account(context: &Context, asked: &args::DeleteAccount) -> Result<(), Failure> {
    if context.offline {
        return Err(Failure::usage("deleting an account needs the server: leave --offline out"));
    }
    let (client, target) = (context.client()?, context.target()?);
    let (email, user) = (client.card().email.clone(), client.card().user);
    context.is_there(&target.server).await?;
    if !asked.yes {
        is_meant(&client, &email).await?;
    }
    let typed = context.password(asked.password_stdin, Repeat::Once, &target.server).await?;
    client.erase_account(&password(&typed)?).await?;
    if context.output.is_json() {
        return context.output.json(&DeletedJson { email: &email, user: user.to_string(), deleted: true });
    }
    context.output.say(&format!("the account {email} is deleted, and what this profile kept of it"));
    Ok(())
}

/// Says what goes, and wants the address typed.
async fn is_meant(client: &sdk::Client, email: &str) -> Result<(), Failure> {
    let status = client.status().await?;
    let records = counted(client.records_count().await?, "record");
    let unsent = match status.edits.pending() {
        0 => String::new(),
        pending => format!(", {} of this device that the server does not have,", counted(pending, "edit")),
    };
    let question = format!(
        "This deletes the account {email} for ever: {records} on the server, with their history{unsent}\n\
         and every device's log-in. Type the e-mail address to go on: "
    );
    if answered(&question)?.eq_ignore_ascii_case(email) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "not_confirmed",
        "that is not the account's address: nothing was deleted",
        "type it as it is shown, or use --yes",
    ))
}
