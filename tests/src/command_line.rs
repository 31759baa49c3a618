//! [`CommandLine`]: the real `cloudsync` against a real node, each profile a device.
//!
//! Never: a password among the arguments, or a `watch` that outlives its test.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::node::Wire;
use crate::process::{NodeProcess, node_binary};

/// What everybody's password is.
pub const PASSWORD: &str = "correct horse battery staple";
/// For what takes milliseconds, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// `cloudsync` with a home of its own.
#[derive(Debug)]
pub struct CommandLine {
    binary: PathBuf,
    home: TempDir,
    url: String,
    pin: String,
    typed: Mutex<Vec<Vec<String>>>,
}

/// What a command said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl TryFrom<Output> for Ran {
    type Error = anyhow::Error;

    fn try_from(output: Output) -> anyhow::Result<Self> {
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok(Self { code: output.status.code(), stdout, stderr })
    }
}

impl Ran {
    /// Fails unless the exit code is that.
    pub fn ended(self, code: i32) -> anyhow::Result<Self> {
        ensure!(self.code == Some(code), "exit code {code} was due: {self:?}");
        Ok(self)
    }

    /// Every line of standard output as JSON.
    pub fn json(&self) -> anyhow::Result<Vec<Value>> {
        self.stdout.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// The last line of standard output as JSON.
    pub fn last(&self) -> anyhow::Result<Value> {
        self.json()?.pop().with_context(|| format!("nothing on standard output: {self:?}"))
    }

    /// The error's stable code, on standard error.
    pub fn error_code(&self) -> anyhow::Result<String> {
        let line = self.stderr.lines().last().with_context(|| format!("nothing on standard error: {self:?}"))?;
        let error: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        Ok(error.pointer("/error/code").and_then(Value::as_str).context("no code")?.to_owned())
    }
}

impl CommandLine {
    /// For that node, over that wire.
    pub fn new(node: &NodeProcess, wire: Wire) -> anyhow::Result<Self> {
        let (url, pin) = address(node, wire)?;
        Self::at(url, pin)
    }

    /// For whatever listens at that URL.
    pub fn at(url: String, pin: String) -> anyhow::Result<Self> {
        let binary = node_binary()?.with_file_name("cloudsync");
        ensure!(binary.is_file(), "no {}: build it with the node", binary.display());
        Ok(Self { binary, home: tempfile::tempdir()?, url, pin, typed: Mutex::default() })
    }

    /// The same home, for a node that was started anew.
    pub fn again(self, node: &NodeProcess, wire: Wire) -> anyhow::Result<Self> {
        let (url, pin) = address(node, wire)?;
        Ok(Self { url, pin, ..self })
    }

    /// Where a profile of that name is.
    #[must_use]
    pub fn profile(&self, name: &str) -> PathBuf {
        self.home.path().join("profiles").join(name)
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command of a profile.
    #[must_use]
    pub fn command(&self, profile: &str, arguments: &[&str]) -> Command {
        let typed = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.typed.lock().unwrap_or_else(PoisonError::into_inner).push(typed);
        let mut command = Command::new(&self.binary);
        command.env_clear().env("CLOUDSYNC_HOME", self.home.path()).args(["--profile", profile]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Whether that command was begun: those words are the first that are no options of every command.
    #[must_use]
    pub fn has_typed(&self, words: &[String]) -> bool {
        let typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = |arguments: &Vec<String>| {
            let pairs = arguments.chunks(2).take_while(|pair| pair.first().is_some_and(|word| word.starts_with("--"))).count();
            arguments.get(2 * pairs..).is_some_and(|rest| rest.starts_with(words))
        };
        typed.iter().any(begins)
    }

    /// Every command that there is, as its help says, each with its subcommands'.
    pub fn commands(&self) -> anyhow::Result<Vec<Vec<String>>> {
        let (mut open, mut commands) = (vec![Vec::new()], Vec::new());
        while let Some(words) = open.pop() {
            let ran = Ran::try_from(Command::new(&self.binary).env_clear().args(&words).arg("--help").output()?)?.ended(0)?;
            let listed = ran.stdout.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
            let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next());
            let below: Vec<Vec<String>> =
                names.filter(|name| *name != "help").map(|name| [&words[..], &[name.to_owned()]].concat()).collect();
            if below.is_empty() {
                commands.push(words);
            }
            open.extend(below);
        }
        Ok(commands)
    }

    /// Runs a test on a real node of its own over each carrier, one after the other.
    pub async fn on_each_wire(test: fn(&Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for wire in Wire::ALL {
            let folder = tempfile::tempdir()?;
            let node = NodeProcess::start(folder.path()).await?;
            test(&Self::new(&node, wire)?)?;
            node.terminate().await?;
        }
        Ok(())
    }

    /// Runs one to its end.
    pub fn run(&self, profile: &str, arguments: &[&str]) -> anyhow::Result<Ran> {
        self.command(profile, arguments).output()?.try_into()
    }

    /// `register` or `login`, with any more arguments.
    pub fn sign_in(&self, profile: &str, (how, email, password): (&str, &str, &str), more: &[&str]) -> anyhow::Result<Ran> {
        let asked = [&["--server", &self.url, "--pin", &self.pin, how, "--email", email, "--device", profile], more].concat();
        self.with_password(profile, &asked, password)
    }

    /// `login` with those arguments and no others: neither the node's address nor its pin.
    pub fn log_in_naming(&self, profile: &str, (email, password): (&str, &str), more: &[&str]) -> anyhow::Result<Ran> {
        self.with_password(profile, &[&["login", "--email", email], more].concat(), password)
    }

    /// `password`, from that one to this one.
    pub fn change_password(&self, profile: &str, (old, new): (&str, &str)) -> anyhow::Result<Ran> {
        self.with_password(profile, &["password"], &format!("{old}\n{new}"))
    }

    /// `rotate`, with any more arguments. Gives the new recovery code.
    pub fn rotate(&self, profile: &str, password: &str, more: &[&str]) -> anyhow::Result<Ran> {
        self.with_password(profile, &[&["rotate", "--yes"], more].concat(), password)
    }

    /// `devices revoke` of that device, by that password.
    pub fn revoke(&self, profile: &str, (device, password): (&str, &str)) -> anyhow::Result<Ran> {
        self.with_password(profile, &["devices", "revoke", device, "--yes"], password)
    }

    /// `recover`, by that code, to this password, with any more arguments.
    pub fn recover(&self, profile: &str, (email, code, new): (&str, &str, &str), more: &[&str]) -> anyhow::Result<Ran> {
        let asked = [&["--server", &self.url, "--pin", &self.pin, "recover", "--email", email, "--device", profile], more].concat();
        self.with_password(profile, &asked, &format!("{code}\n{new}"))
    }

    /// `account delete`, meant.
    pub fn delete_account(&self, profile: &str, password: &str) -> anyhow::Result<Ran> {
        self.with_password(profile, &["account", "delete", "--yes"], password)
    }

    fn with_password(&self, profile: &str, arguments: &[&str], password: &str) -> anyhow::Result<Ran> {
        let mut command = self.command(profile, arguments);
        let mut child = command.args(["--password-stdin", "--json"]).stdin(Stdio::piped()).spawn()?;
        // Who refuses before it asks does not read it.
        drop(child.stdin.take().context("no standard input")?.write_all(format!("{password}\n").as_bytes()));
        child.wait_with_output()?.try_into()
    }

    /// A new account with the profiles as its devices, called as they are; the first registers. Gives its recovery code.
    pub fn account(&self, email: &str, profiles: &[&str]) -> anyhow::Result<String> {
        let mut code = String::new();
        for (profile, how) in profiles.iter().zip(std::iter::once("register").chain(std::iter::repeat("login"))) {
            let signed_in = self.sign_in(profile, (how, email, PASSWORD), &[])?.ended(0)?.last()?;
            if let Some(given) = signed_in.get("recovery_code").and_then(Value::as_str) {
                given.clone_into(&mut code);
            }
        }
        Ok(code)
    }

    /// A profile's status.
    pub fn status(&self, profile: &str) -> anyhow::Result<Value> {
        self.run(profile, &["status", "--offline", "--json"])?.ended(0)?.last()
    }

    /// Starts `watch --json` and waits until it is live.
    pub fn watch(&self, profile: &str) -> anyhow::Result<Watching> {
        let mut child = self.command(profile, &["watch", "--json"]).spawn()?;
        let (stdout, stderr) = (child.stdout.take().context("no output")?, child.stderr.take().context("no errors")?);
        let watching = Watching { child, stdout: lines(stdout), stderr: lines(stderr) };
        watching.said("live at seq ")?;
        Ok(watching)
    }
}

/// A node's URL and pin as texts.
pub fn address(node: &NodeProcess, wire: Wire) -> anyhow::Result<(String, String)> {
    let server = node.server(wire)?;
    let cloudsync_client::carrier::Trust::Pinned(pin) = server.trust else { bail!("a node of a test is pinned") };
    Ok((server.address.to_string(), pin.to_string()))
}

/// A `watch --json` that is live.
#[derive(Debug)]
pub struct Watching {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Watching {
    /// Waits for a line of talk that begins so; gives the rest.
    pub fn said(&self, beginning: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(beginning) {
                        return Ok(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("`{beginning}` was not said"),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended before it said `{beginning}`"),
            }
        }
    }

    /// The next change.
    pub fn change(&self) -> anyhow::Result<Value> {
        let line = self.stdout.recv_timeout(PATIENCE).context("no change came")?;
        serde_json::from_str(&line).context(line)
    }

    /// Whether nothing more was shown.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.stdout.try_recv().is_err()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> anyhow::Result<Ran> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "it does not end");
            // Nothing says when a process ends that may be killed meanwhile: it is looked at again and again.
            std::thread::sleep(POLL_EVERY);
        };
        let said = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        Ok(Ran { code: status.code(), stdout: said(&self.stdout), stderr: said(&self.stderr) })
    }

    /// Ends it by a signal; gives its exit code and what it had left to show.
    pub fn end(mut self, signal: &str) -> anyhow::Result<(Option<i32>, Vec<String>)> {
        send(self.child.id(), signal)?;
        let status = self.child.wait()?;
        Ok((status.code(), self.stdout.iter().collect()))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Ended already, or by this.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal by its name.
pub fn send(pid: u32, signal: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status()?;
    ensure!(sent.success(), "kill -{signal} {pid}: {sent}");
    Ok(())
}
