//! One file a command, or a few that belong together.
//!
//! Never: an exit code of its own; a command fails by a `Failure`.

mod account;
mod conflicts;
mod devices;
mod doctor;
mod edit;
mod erase;
mod export;
mod import;
mod password;
mod policy;
mod read;
mod rotate;
mod status;
mod sync;
mod watch;

use std::time::Instant;

use clap::CommandFactory as _;

use crate::args::{AccountCommand, Cli, Command, ConflictsCommand, DevicesCommand};
use crate::commands::devices::Shown;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Whether a command says itself which edits are in conflict.
fn tells_conflicts(command: &Command) -> bool {
    match command {
        Command::Conflicts(_) | Command::Status(_) | Command::Sync(_) | Command::Watch => true,
        Command::Register(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Devices(_)
        | Command::Account(_)
        | Command::Password(_)
        | Command::Rotate(_)
        | Command::Recover(_)
        | Command::Completions { .. }
        | Command::Doctor => true,
        Command::Put(_)
        | Command::Delete(_)
        | Command::Get(_)
        | Command::List(_)
        | Command::Import(_)
        | Command::Export(_)
        | Command::Policy(_) => false,
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let told = tells_conflicts(&command);
    let is_rotation =
        matches!(command, Command::Rotate(_) | Command::Devices(_) | Command::Register(_) | Command::Doctor | Command::Logout(_));
    let (name, begun) = (command.name(), Instant::now());
    tracing::info!(command = name, version = env!("CARGO_PKG_VERSION"), profile = %context.profile.folder().display(), "begun");
    let done = dispatch(context, command).await;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &done {
        Ok(()) => tracing::info!(command = name, ms, "done"),
        Err(failure) => tracing::warn!(command = name, ms, code = failure.code, exit = failure.exit as u8, "failed"),
    }
    if !told && !matches!(&done, Err(failure) if failure.exit == Exit::Conflict) {
        context.mention_conflicts().await;
    }
    if !is_rotation {
        rotate::mention(context).await;
    }
    done
}

/// What a shell completes a command line with.
pub(crate) fn completions(output: Output, shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cloudsync", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Register(asked) => account::register(context, asked).await,
        Command::Login(asked) => account::log_in(context, asked).await,
        Command::Logout(asked) => account::log_out(context, asked).await,
        Command::Password(asked) => password::change(context, asked).await,
        Command::Rotate(asked) => rotate::rotate(context, asked).await,
        Command::Recover(asked) => password::recover(context, asked).await,
        Command::Put(asked) => edit::put(context, asked).await,
        Command::Delete(asked) => edit::delete(context, asked).await,
        Command::Get(asked) => read::get(context, asked).await,
        Command::List(asked) => read::list(context, asked).await,
        Command::Watch => watch::watch(context).await,
        Command::Import(asked) => import::import(context, asked).await,
        Command::Export(asked) => export::export(context, asked).await,
        Command::Completions { shell } => completions(context.output, shell),
        Command::Account(asked) => match asked.command {
            AccountCommand::Delete(asked) => erase::account(context, &asked).await,
        },
        Command::Doctor => doctor::doctor(context).await,
        Command::Status(asked) => status::status(context, &asked).await,
        Command::Sync(asked) => sync::sync(context, asked).await,
        Command::Conflicts(asked) => match asked.command.unwrap_or(ConflictsCommand::List) {
            ConflictsCommand::List => conflicts::list(context).await,
            ConflictsCommand::Drop(asked) => conflicts::drop_one(context, asked).await,
            ConflictsCommand::Keep(asked) => conflicts::keep_one(context, asked).await,
        },
        Command::Policy(asked) => policy::policy(context, asked).await,
        Command::Devices(asked) => match asked.command.unwrap_or(DevicesCommand::List { all: false }) {
            DevicesCommand::List { all } => devices::list(context, if all { Shown::All } else { Shown::Enrolled }).await,
            DevicesCommand::Revoke { devices, asked } => rotate::revoke(context, &devices, asked).await,
        },
    }
}
