//! `register`, `login`, `logout`.
//!
//! Never: a recovery code shown before the account is there, or forgotten before it was shown.

use cloudsync_client::account::Password;
use cloudsync_client::connection::Server;
use cloudsync_client::profile::State;
use cloudsync_client::sdk::probe::Probe;
use cloudsync_client::sdk::{self, Discard, LogIn, Name, Reach, SignedIn};
use cloudsync_protocol::DeviceId;
use serde::Serialize;

use super::rotate::after_instead_of;
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{SentBy, queued};
use crate::password::{Repeat, long_enough};

const CODE: &str = "\
Your recovery code is shown this one time. With it `cloudsync recover` sets a new
password when yours is forgotten, and nothing else will: write it down and keep
it where you keep papers, not on this device.";

#[derive(Serialize)]
struct SignedInJson<'a> {
    email: &'a str,
    user: String,
    device: &'a str,
    device_id: String,
    server: &'a str,
    pending: u64,
    conflicts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_code: Option<&'a str>,
}

async fn asked_for(context: &Context, asked: args::SignIn, repeat: Repeat) -> Result<LogIn, Failure> {
    let place = place(context, &asked)?;
    let typed = context.password(asked.password_stdin, repeat, &place.server).await?;
    if repeat == Repeat::Twice {
        long_enough(&typed)?;
    }
    Ok(place.log_in(asked, password(&typed)?))
}

/// Where somebody is to be signed in.
pub(super) struct Place {
    pub(super) server: Server,
    address: String,
    pin: Option<String>,
    instead_of: Option<DeviceId>,
}

impl Place {
    pub(super) fn log_in(self, asked: args::SignIn, password: Password) -> LogIn {
        let Self { server, address, pin, instead_of } = self;
        LogIn {
            server,
            address,
            pin,
            email: asked.email,
            password,
            device: asked.device.unwrap_or_else(machine),
            instead_of,
            probe: Probe::default(),
        }
    }
}

/// Everything that is asked before a secret is.
pub(super) fn place(context: &Context, asked: &args::SignIn) -> Result<Place, Failure> {
    let (address, pin, server) = context.named_server().or_else(|failure| {
        // A profile that was signed in before remembers where.
        let (card, _) = context.profile.signed_in().map_err(|_| failure)?;
        let target = context.target()?;
        Ok::<_, Failure>((card.server, card.pin, target.server))
    })?;
    if context.offline {
        return Err(Failure::usage("signing in needs the server: leave --offline out"));
    }
    if !asked.email.contains('@') {
        return Err(Failure::usage(format!("{:?} is not an e-mail address", asked.email)));
    }
    let instead_of = asked
        .instead_of
        .as_ref()
        .map(|text| DeviceId::from_hex(text).ok_or_else(|| Failure::usage(format!("{text:?} is not a device id: 32 hexadecimal digits"))));
    Ok(Place { server, address, pin, instead_of: instead_of.transpose()? })
}

pub(super) fn password(typed: &str) -> Result<Password, Failure> {
    Password::new(typed).ok_or_else(|| Failure::usage("the password is empty"))
}

/// The machine's name.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "device".to_owned() } else { name.to_owned() }
}

pub(crate) async fn register(context: &Context, asked: args::SignIn) -> Result<(), Failure> {
    // Said before a password is asked for.
    sdk::check_registrable(&context.profile, &asked.email)?;
    let asked = asked_for(context, asked, Repeat::Twice).await?;
    show(context, sdk::register(&context.profile, &asked).await?)
}

pub(crate) async fn log_in(context: &Context, asked: args::SignIn) -> Result<(), Failure> {
    if let State::SignedIn(card, _) = context.profile.state()?
        && card.email != asked.email.trim().to_ascii_lowercase()
    {
        return Err(sdk::Error::OtherAccount(format!("this profile is of {}", card.email)).into());
    }
    let named = asked.device.clone();
    let asked = asked_for(context, asked, Repeat::Once).await?;
    let signed_in = sdk::log_in(&context.profile, &asked).await?;
    if let Some(named) = named.filter(|named| *named != signed_in.card.device) {
        let device = &signed_in.card.device;
        context.output.say(&match signed_in.name {
            Name::Kept => format!("this profile is the device {device:?} already and keeps that name"),
            Name::Given => format!("the account has a device {named:?}: this one is called {device:?}"),
        });
    }
    show(context, signed_in)?;
    if asked.instead_of.is_some() { after_instead_of(context, &asked.password).await } else { Ok(()) }
}

pub(super) fn show(context: &Context, signed_in: SignedIn) -> Result<(), Failure> {
    let (output, card) = (context.output, &signed_in.card);
    let code = signed_in.recovery.as_ref().map(|code| code.0.as_str());
    let pending = signed_in.kept.pending();
    if output.is_json() {
        output.json(&SignedInJson {
            email: &card.email,
            user: card.user.to_string(),
            device: &card.device,
            device_id: signed_in.device.to_string(),
            server: &card.server,
            pending,
            conflicts: signed_in.kept.parked,
            recovery_code: code,
        })?;
    } else {
        output.say(&format!("signed in as {} on {}, device {}", card.email, card.server, card.device));
        if pending > 0 {
            output.say(&context.hint(&queued(pending, SentBy::Sync)));
        }
        if let Some(code) = code {
            output.say(CODE);
            output.line(code)?;
        }
    }
    Ok(signed_in.shown()?)
}

pub(crate) async fn log_out(context: &Context, asked: args::Logout) -> Result<(), Failure> {
    let discard = if asked.discard { Discard::Yes } else { Discard::No };
    let reach = if context.offline { Reach::Nobody } else { Reach::Server };
    // Without a card there is no server to tell; whatever is left goes all the same.
    let target = match context.target() {
        Ok(target) => Some(target),
        Err(failure) if matches!(failure.exit, Exit::NotSignedIn | Exit::Damage) => None,
        Err(failure) => return Err(failure),
    };
    Box::pin(sdk::log_out(&context.profile, target, discard, reach)).await.map_err(|error| unreached(error.into(), reach))?;
    context.output.say("logged out: keys and replica are removed");
    Ok(())
}

/// Without the server there is another way out.
fn unreached(failure: Failure, reach: Reach) -> Failure {
    match (failure.exit, reach) {
        (Exit::Unreachable, Reach::Server) => Failure {
            help: "try again when the server can be reached, or --offline: the device then stays in the account's list".to_owned(),
            ..failure
        },
        (_, Reach::Server | Reach::Nobody) => failure,
    }
}
