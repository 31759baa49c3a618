//! `password` and `recover`: another password, by the one in force or by the recovery code.
//!
//! Never: a secret asked for after something was sent; a server waits less long than people type.

use cloudsync_client::keys::RecoveryCode;
use cloudsync_client::sdk;
use serde::Serialize;
use zeroize::Zeroizing;

use super::account::{password, place, show};
use super::rotate::after_instead_of;
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::password::{Repeat, code_from_terminal, from_stdin, from_terminal, long_enough};

#[derive(Serialize)]
struct ChangedJson<'a> {
    email: &'a str,
    keyring_version: u64,
}

pub(crate) async fn change(context: &Context, asked: args::NewPassword) -> Result<(), Failure> {
    if context.offline {
        return Err(Failure::usage("changing the password needs the server: leave --offline out"));
    }
    let (client, target) = (context.client()?, context.target()?);
    let (old, new) = if asked.password_stdin {
        (from_stdin()?, from_stdin()?)
    } else {
        context.is_there(&target.server).await?;
        (from_terminal(Repeat::Once)?, from_terminal(Repeat::Twice)?)
    };
    long_enough(&new)?;
    let pin = client.change_password(&password(&old)?, &password(&new)?).await?;
    if context.output.is_json() {
        return context.output.json(&ChangedJson { email: &client.card().email, keyring_version: pin.version });
    }
    context.output.say("the password is changed: other devices stay signed in, and the recovery code stays the same");
    Ok(())
}

pub(crate) async fn recover(context: &Context, asked: args::Recover) -> Result<(), Failure> {
    let args::Recover { email, device, password_stdin, instead_of } = asked;
    let asked = args::SignIn { email, device, password_stdin, instead_of };
    let place = place(context, &asked)?;
    let (code, new) = if password_stdin {
        (readable(&from_stdin()?)?, from_stdin()?)
    } else {
        context.is_there(&place.server).await?;
        (readable(&code_from_terminal()?)?, from_terminal(Repeat::Twice)?)
    };
    long_enough(&new)?;
    let asked = place.log_in(asked, password(&new)?);
    let signed_in = sdk::recover(&context.profile, &asked, &code).await.map_err(|error| of_code(error.into()))?;
    context.output.say("the password is changed: other devices stay signed in, and the recovery code stays the same");
    show(context, signed_in)?;
    if asked.instead_of.is_some() { after_instead_of(context, &asked.password).await } else { Ok(()) }
}

/// A code with a typing mistake is not sent.
fn readable(typed: &Zeroizing<String>) -> Result<RecoveryCode, Failure> {
    RecoveryCode::from_text(typed)
        .map_err(|error| Failure::new(Exit::Usage, "recovery_code", error, "nothing was done: compare it with what you wrote down"))
}

fn of_code(failure: Failure) -> Failure {
    if failure.code != "credentials_invalid" {
        return failure;
    }
    Failure { help: "nothing was changed: check the address, and that it is the newest code that was shown".to_owned(), ..failure }
}
