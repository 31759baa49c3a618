//! `cloudsync`: the command line over the SDK.
//!
//! Never: a rule; what is decided is decided in the library.

mod args;
mod away;
mod check;
mod commands;
mod context;
mod failure;
mod log;
mod output;
mod parked;
mod password;
mod progress;
mod record;
mod room;
mod value;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::{Cli, Command, QUOTING};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Two: one for the connection, one for whoever uses it.
const WORKERS: usize = 2;
/// A transaction that is under way is waited for.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(with_quoting(error)),
    };
    let output = Output::new(cli.options.json);
    // Where there is no such signal to take, Ctrl-Z works as ever.
    drop(cloudsync_client::replica::stop_between_transactions());
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&Failure::new(Exit::Unexpected, "runtime", error, "are there threads and file handles left?"));
            return ExitCode::from(Exit::Unexpected as u8);
        }
    };
    let done = runtime.block_on(Box::pin(run(cli, output)));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// An error of `put` that quotes around the value would have avoided says so: the shell makes several words of JSON, or none.
fn with_quoting(mut error: clap::Error) -> clap::Error {
    let is_words = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument);
    if is_words && is_typed("put") {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![QUOTING.into()]));
    }
    error
}

/// Whether that word is on the command line.
fn is_typed(word: &str) -> bool {
    std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == word)
}

/// Help and version as clap prints them; an error as a script asked for it.
fn misused(error: clap::Error) -> ExitCode {
    if is_typed("--json") && error.use_stderr() {
        let text = error.to_string();
        let (message, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message: Vec<&str> = message.trim_start_matches("error: ").split_whitespace().collect();
        let tip = usage.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
        let usage = tip.or_else(|| usage.lines().find(|line| line.starts_with("Usage: "))).unwrap_or("see --help");
        Output::new(true).failure(&Failure::new(Exit::Usage, "usage", message.join(" "), usage));
    } else {
        // Whoever does not read it need not.
        drop(error.print());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8))
}

async fn run(cli: Cli, output: Output) -> Result<(), Failure> {
    // A shell that starts has no profile.
    if let Command::Completions { shell } = cli.command {
        return commands::completions(output, shell);
    }
    let typed = cli.options.profile.clone();
    let context = Context::new(cli.options, output).map_err(|failure| failure.of_profile(typed.as_deref()))?;
    commands::run(&context, cli.command).await.map_err(|failure| context.failure(failure))
}
