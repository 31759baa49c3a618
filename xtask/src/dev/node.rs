//! The node of `cargo xtask dev`: started, waited for, ended.
//!
//! Never: left running. It has a process group of its own, so that Ctrl-C reaches it only through us.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::process::{shown, terminate};
use crate::workspace::{near, root};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The node promises to end within 10 s of SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of its log that are shown when it ends by itself.
const LOG_LINES: usize = 20;

/// A node that serves.
pub(crate) struct Node {
    child: Child,
    ready: Value,
    log: PathBuf,
}

impl Node {
    /// Starts it on `folder/data` and waits until it serves.
    pub(crate) fn start(binary: &Path, folder: &Path) -> anyhow::Result<Self> {
        let (ready_file, log) = (folder.join("ready.json"), folder.join("node.log"));
        if ready_file.exists() {
            std::fs::remove_file(&ready_file).with_context(|| ready_file.display().to_string())?;
        }
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(binary);
        // Relative to the root: a line that fits on a screen.
        let near = folder.strip_prefix(root()).unwrap_or(folder);
        command.current_dir(root()).arg("dev").arg("--data").arg(near.join("data")).arg("--ready-file").arg(near.join("ready.json"));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        println!("$ {}", shown(&command));
        let child = command.spawn().with_context(|| format!("can't run {}", binary.display()))?;
        let mut node = Self { child, ready: Value::Null, log };
        let deadline = Instant::now() + READY_TIMEOUT;
        // Written by rename: there, it is whole.
        while !ready_file.exists() {
            node.check()?;
            if Instant::now() > deadline {
                node.child.kill()?;
                bail!("the node wrote no {} within {READY_TIMEOUT:?}; its log is {}", ready_file.display(), node.log.display());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let text = std::fs::read_to_string(&ready_file).with_context(|| ready_file.display().to_string())?;
        node.ready = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", ready_file.display()))?;
        Ok(node)
    }

    /// Fails, with the end of its log, when it has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
        bail!("the node ended by itself ({status}); the end of {}:\n{last}", self.log.display())
    }

    /// One of its URLs: `quic`, `wss`, `ws`, `https`, `admin`.
    pub(crate) fn url(&self, name: &str) -> anyhow::Result<&str> {
        self.ready[name].as_str().with_context(|| format!("the node's ready file has no `{name}`"))
    }

    /// What its certificate is pinned by.
    pub(crate) fn pin(&self) -> String {
        let hash = self.ready["certificate_sha256"].as_str().unwrap_or_default();
        if hash.starts_with("sha256:") { hash.to_owned() } else { format!("sha256:{hash}") }
    }

    /// Its addresses.
    pub(crate) fn print(&self) {
        println!("\nthe node serves (process {}, log {}):", self.child.id(), near(&self.log));
        for name in ["quic", "wss", "ws", "https", "admin"] {
            println!("  {name:<6} {}", self.ready[name].as_str().unwrap_or("-"));
        }
        println!("  pin    {}", self.pin());
        // Such as that a port of the last start is in use, so that what was remembered does not hold.
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(" WARN ")).for_each(|line| println!("  {line}"));
    }

    /// Ends it by SIGTERM. Dropping it instead kills it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.check()?;
        terminate(self.child.id())?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => {
                    println!("the node has ended");
                    return Ok(());
                }
                Some(status) => bail!("the node ended with {status}; its log is {}", self.log.display()),
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
        bail!("the node did not end within {STOP_TIMEOUT:?} of SIGTERM and is killed; its log is {}", self.log.display())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing happens to one that has ended and was waited for.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}
