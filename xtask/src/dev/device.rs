//! A device of the demo account: the `cloudsync` binary with a profile folder.
//!
//! Never: a password among the arguments.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, bail};

use crate::process::shown;

/// Not the README's: its first command registers that one.
pub(crate) const EMAIL: &str = "demo@example.com";
/// Printed plainly: the account holds a demonstration.
pub(crate) const PASSWORD: &str = "a demo password, not a secret";

/// Exit code: refused, the message says why.
const REFUSED: i32 = 4;
/// Exit code: not signed in.
const NOT_SIGNED_IN: i32 = 7;

/// Where a device connects, and what it trusts there.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) pin: String,
}

pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) binary: PathBuf,
    /// Where profiles are.
    pub(crate) home: PathBuf,
    pub(crate) server: Server,
}

/// How a device came to be signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignedIn {
    /// It has been, since an earlier start.
    Already,
    /// It made the account.
    Registered,
    /// It logged in to the account.
    LoggedIn,
}

impl Device {
    /// `cloudsync` as this device, in the environment that the demo shows.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("CLOUDSYNC_HOME", &self.home).env("CLOUDSYNC_SERVER", &self.server.url).env("CLOUDSYNC_PIN", &self.server.pin);
        command.arg("--profile").arg(&self.name).args(arguments);
        command
    }

    /// A command as one would type it in that environment.
    pub(crate) fn typed(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("cloudsync");
        shown(command.arg("--profile").arg(&self.name).args(arguments))
    }

    /// Its profile's folder.
    fn profile(&self) -> PathBuf {
        self.home.join("profiles").join(&self.name)
    }

    fn output(&self, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| self.typed(arguments))?;
        child.stdin.take().context("a child without standard input")?.write_all(input.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Runs it and gives what it printed and said; fails with its message.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.output(arguments, "")?;
        if !output.status.success() {
            bail!("{}: {}: {}", self.typed(arguments), output.status, said(&output));
        }
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts it with its output to be read.
    pub(crate) fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| self.typed(arguments))
    }

    fn sign_in(&self, how: &str) -> anyhow::Result<Output> {
        self.output(&[how, "--email", EMAIL, "--device", &self.name, "--password-stdin"], &format!("{PASSWORD}\n"))
    }

    /// Signs in unless it is; with `First::Registers`, by making the account if there is none yet.
    pub(crate) fn ensure_signed_in(&self, first: First) -> anyhow::Result<(SignedIn, String)> {
        let status = self.output(&["status", "--json"], "")?;
        if status.status.code() != Some(NOT_SIGNED_IN) && self.profile().join("profile.json").exists() {
            if !status.status.success() {
                bail!(
                    "{} can't use its profile ({}): {}; delete {} to start over",
                    self.name,
                    status.status,
                    said(&status),
                    self.profile().display()
                );
            }
            return Ok((SignedIn::Already, String::new()));
        }
        if first == First::Registers {
            let registered = self.sign_in("register")?;
            match registered.status.code() {
                Some(0) => return Ok((SignedIn::Registered, String::from_utf8_lossy(&registered.stdout).into_owned())),
                // The account is there, this profile isn't: log in.
                Some(REFUSED) => {}
                _ => bail!("{} can't register ({}): {}", self.name, registered.status, said(&registered)),
            }
        }
        let logged_in = self.sign_in("login")?;
        if !logged_in.status.success() {
            bail!("{} can't log in ({}): {}", self.name, logged_in.status, said(&logged_in));
        }
        Ok((SignedIn::LoggedIn, String::new()))
    }
}

/// What a device does first when it is not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// Makes the account, and logs in when there is one.
    Registers,
    /// Logs in.
    LogsIn,
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
