//! The command line, as clap reads it.
//!
//! Never: a password or key among the arguments.

mod conflicts;
mod files;
mod policy;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use conflicts::{Conflicts, ConflictsCommand, DropConflict, KeepConflict};
pub(crate) use files::{Export, ExportFormat, Format, Import};
pub(crate) use policy::{Policy, PolicyName};

const EXAMPLES: &str = "\
Examples:
  export CLOUDSYNC_SERVER=quic://127.0.0.1:4400 CLOUDSYNC_PIN=sha256:…
  cloudsync --profile a register --email ada@example.com --device laptop
  cloudsync --profile b login --email ada@example.com --device phone
  cloudsync --profile b watch
  cloudsync --profile a put timer_session s1 '{\"task\":\"write\",\"minutes\":25}'
  cloudsync --profile a import --format pomodoro sessions.csv

Exit codes: 0 done (or queued), 1 unexpected, 2 bad usage, 3 cannot reach the
server, 4 refused, 5 conflict, 6 local damage, 7 not signed in, 130 Ctrl-C in an
import.";

/// How a value gets past the shell.
pub(crate) const QUOTING: &str =
    "quote it for the shell: cloudsync put goal g1 '{\"done\":true}', and a text as '\"text\"'; - reads standard input";

/// Keeps your records the same on all your devices, end-to-end encrypted, online or not.
#[derive(Debug, Parser)]
#[command(name = "cloudsync", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// A name, or the path of a folder when it holds a slash: the device's keys and its local replica [env: CLOUDSYNC_PROFILE] [default: default]
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "NAME|PATH")]
    pub(crate) profile: Option<String>,
    /// quic://HOST:PORT, wss://HOST:PORT or, on this machine only, ws://HOST:PORT; remembered by register and login [env: CLOUDSYNC_SERVER]
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Trust this certificate and no other: sha256:HEX; remembered by register and login [env: CLOUDSYNC_PIN]
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "sha256:HEX")]
    pub(crate) pin: Option<String>,
    /// One JSON object a line
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) json: bool,
    /// Reach no server: read what is here, queue what is written; a running watch of the profile sends it
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) offline: bool,
    /// Append what is done to that file, mode 0600: no value, password, key or token [env: CLOUDSYNC_LOG_FILE]
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new account, and this device its first; prints the recovery code, once
    #[command(after_help = "Example:\n  cloudsync --profile a register --email ada@example.com --device laptop")]
    Register(SignIn),
    /// Make this profile a device of an account; finishes a registration that was cut off
    #[command(after_help = "Example:\n  cloudsync --profile b login --email ada@example.com --device phone")]
    Login(SignIn),
    /// Revoke this device and remove its keys and replica
    #[command(
        after_help = "With edits that the server does not have it is refused, unless --discard.\n\nExample:\n  cloudsync --profile b logout"
    )]
    Logout(Logout),
    /// Change the account's password; every device stays signed in
    #[command(
        after_help = "Asks for the password in force, then twice for the new one. The recovery code stays the same.\n\nExample:\n  cloudsync password"
    )]
    Password(NewPassword),
    /// Make new keys for the account, and a new recovery code, which is shown once
    #[command(
        after_help = "Asks for the password, and who stays; every other device is revoked. What was read before can be read on.\n\nExamples:\n  cloudsync rotate\n  cloudsync rotate --new-password"
    )]
    Rotate(Rotate),
    /// Forgotten the password: set a new one by the recovery code, and make this profile a device of the account
    #[command(
        after_help = "Asks for the code, then twice for the new password. The code stays in force, and other devices stay signed in.\n\nExample:\n  cloudsync --profile b recover --email ada@example.com --device phone"
    )]
    Recover(Recover),
    /// Write a record, whose value is JSON
    #[command(
        after_help = "Examples:\n  cloudsync put timer_session s1 '{\"task\":\"write\",\"minutes\":25}'\n  cloudsync put timer_session s1 '{\"task\":\"rest\"}' --onto current   # settles a conflict\n  cloudsync put note n1 '\"a text has double quotes inside the single ones\"'\n  cloudsync put note n2 - < note.json"
    )]
    Put(Put),
    /// Delete a record
    #[command(after_help = "Example:\n  cloudsync delete timer_session s1")]
    Delete(Delete),
    /// Show a record
    #[command(after_help = "Example:\n  cloudsync get timer_session s1 --json")]
    Get(Record),
    /// Show all records of a collection, or of all collections
    #[command(after_help = "Example:\n  cloudsync list timer_session --json")]
    List(List),
    /// Show what is committed from now on, as it happens, until Ctrl-C
    #[command(
        after_help = "Says `live at seq N` on standard error once everything after N will be shown.\n\nExample:\n  cloudsync --profile b watch --json"
    )]
    Watch,
    /// Import a file of another program
    #[command(
        after_help = "Importing the same file again, here or on another device, adds nothing; a record that was deleted stays deleted, unless --deleted is given.\n\nExample:\n  cloudsync import --format pomodoro sessions.csv"
    )]
    Import(Import),
    /// Write every record that list shows, in the clear, pending edits applied
    #[command(
        after_help = "Nothing but data goes to standard output; --out FILE is replaced as a whole, with mode 0600.\n\nExamples:\n  cloudsync export --format jsonl --out records.jsonl\n  cloudsync export --format csv timer_session > sessions.csv\n  cloudsync export --format pomodoro --out sessions.csv   # what import reads"
    )]
    Export(Export),
    /// Show who is signed in, whether the server lets this device in, what waits to be sent, and what is in conflict
    #[command(
        after_help = "A `problem` is a stable code, with --json as well: unreachable, certificate_not_pinned, device_revoked, …\n\nExamples:\n  cloudsync status --json\n  cloudsync status --check   # exit code 6 where the replica is not what the server holds"
    )]
    Status(Status),
    /// Read and send everything now
    #[command(after_help = "Example:\n  cloudsync sync")]
    Sync(Sync),
    /// Show edits that could not be committed as they were made, beside what is there now
    #[command(
        after_help = "Settle one by `conflicts keep`, `put … --onto current`, `delete … --onto current`, or `conflicts drop`.\n\nExample:\n  cloudsync conflicts drop timer_session s1"
    )]
    Conflicts(Conflicts),
    /// Show or set what becomes of edits that another device came before: a conflict (reject), or the last write wins
    #[command(
        after_help = "Kept with the account, so that all its devices agree; it is of what becomes stale from then on. Where the last write wins, the later edit is current and both are in the record's history.\n\nExamples:\n  cloudsync policy\n  cloudsync policy timer_session\n  cloudsync policy timer_session last_write_wins\n  cloudsync policy timer_session reject --offline"
    )]
    Policy(Policy),
    /// Show or revoke the account's devices
    #[command(after_help = "Examples:\n  cloudsync devices list\n  cloudsync devices revoke phone")]
    Devices(Devices),
    /// Delete the account itself
    #[command(after_help = "Example:\n  cloudsync account delete")]
    Account(Account),
    /// Look for what could be wrong: files, clock, certificate, each carrier that the server offers, the session
    #[command(after_help = "Its exit code is that of the first finding, 0 where there is none.\n\nExample:\n  cloudsync doctor --json")]
    Doctor,
    /// Write the script by which a shell completes this command line
    #[command(
        after_help = "Examples:\n  cloudsync completions bash > ~/.local/share/bash-completion/completions/cloudsync\n  cloudsync completions zsh > ~/.zfunc/_cloudsync\n  cloudsync completions fish > ~/.config/fish/completions/cloudsync.fish"
    )]
    Completions {
        /// Whose
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// As it is typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Login(_) => "login",
            Self::Logout(_) => "logout",
            Self::Password(_) => "password",
            Self::Rotate(_) => "rotate",
            Self::Recover(_) => "recover",
            Self::Put(_) => "put",
            Self::Delete(_) => "delete",
            Self::Get(_) => "get",
            Self::List(_) => "list",
            Self::Watch => "watch",
            Self::Import(_) => "import",
            Self::Export(_) => "export",
            Self::Status(_) => "status",
            Self::Sync(_) => "sync",
            Self::Conflicts(_) => "conflicts",
            Self::Policy(_) => "policy",
            Self::Devices(_) => "devices",
            Self::Account(_) => "account",
            Self::Doctor => "doctor",
            Self::Completions { .. } => "completions",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SignIn {
    /// The account's e-mail address
    #[arg(long)]
    pub(crate) email: String,
    /// What this device is to be called [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Revoke that device first, where there are as many as there may be
    #[arg(long, value_name = "DEVICE-ID")]
    pub(crate) instead_of: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NewPassword {
    /// Read the password in force from the first line of standard input, the new one from the second
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Don't ask whether those that stay are right
    #[arg(long)]
    pub(crate) yes: bool,
    /// Set another password as well: with the old one, a dishonest server can show a new device the keys of before
    #[arg(long)]
    pub(crate) new_password: bool,
    /// Read the password from the first line of standard input, a new one from the second; needs --yes
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The account's e-mail address
    #[arg(long)]
    pub(crate) email: String,
    /// What this device is to be called [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// Read the recovery code from the first line of standard input, the new password from the second
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Revoke that device first, where there are as many as there may be
    #[arg(long, value_name = "DEVICE-ID")]
    pub(crate) instead_of: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// Throw edits away that the server does not have
    #[arg(long)]
    pub(crate) discard: bool,
}

/// What an edit is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Onto {
    /// The record's current version, whatever it is: settles a conflict
    Current,
}

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// Its collection
    pub(crate) collection: String,
    /// Its id
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) record: Record,
    /// JSON, or - to read it from standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) value: String,
    /// Make the edit from the current version, settling a conflict of the record
    #[arg(long, value_enum)]
    pub(crate) onto: Option<Onto>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) record: Record,
    /// Make the edit from the current version, settling a conflict of the record
    #[arg(long, value_enum)]
    pub(crate) onto: Option<Onto>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this collection
    pub(crate) collection: Option<String>,
    /// Deleted records as well
    #[arg(long)]
    pub(crate) deleted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Compare every record with the server's, by version and hash
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// Take the current state anew, past history that does not verify; edits are kept
    #[arg(long)]
    pub(crate) from_snapshot: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Devices {
    #[command(subcommand)]
    pub(crate) command: Option<DevicesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// Show them
    #[command(after_help = "Example:\n  cloudsync devices list --all")]
    List {
        /// Revoked ones as well
        #[arg(long)]
        all: bool,
    },
    /// Let devices in no longer, and rotate the keys that they know; shows a new recovery code, once
    #[command(
        after_help = "Examples:\n  cloudsync devices revoke phone\n  cloudsync devices revoke phone tablet --new-password\n  cloudsync devices revoke 6b1f0c9e2d7a4f35a1b2c3d4e5f60718"
    )]
    Revoke {
        /// Their names or ids
        #[arg(required = true, value_name = "DEVICE")]
        devices: Vec<String>,
        #[command(flatten)]
        asked: Rotate,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Account {
    #[command(subcommand)]
    pub(crate) command: AccountCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Delete the account for ever: on the server everything that all of its devices wrote, here keys and replica
    #[command(
        after_help = "Asks for the e-mail address, then for the password. Nobody can bring the account back, but for an operator who restores a backup of before. `cloudsync export` first writes what you may want to keep.\n\nExamples:\n  cloudsync account delete\n  cloudsync account delete --yes --password-stdin < password.txt"
    )]
    Delete(DeleteAccount),
}

#[derive(Debug, Args)]
pub(crate) struct DeleteAccount {
    /// Don't ask whether it is meant
    #[arg(long)]
    pub(crate) yes: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
