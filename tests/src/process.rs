//! [`NodeProcess`]: the real `cloudsync-node`, in a process of its own, to be killed and started again.
//!
//! Never: a node that outlives its test, or a binary built by the test itself: what is proved is what is shipped.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cloudsync_client::carrier::trust::{Pin, Trust};
use cloudsync_client::connection::Server;
use cloudsync_node::Ready;
use cloudsync_node::config::LOG_VARIABLE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::process::{Child, Command};

use crate::node::Wire;

/// Where `cargo xtask test` says that the binaries are.
const BIN_DIR: &str = "CLOUDSYNC_BIN_DIR";
const NODE: &str = "cloudsync-node";
/// From the start to the ready file; the first one makes keys.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// What a node promises about `SIGTERM`, and a little for a busy machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_EVERY: Duration = Duration::from_millis(2);

/// The node's binary: in `CLOUDSYNC_BIN_DIR`, else in the `release` folder of the target folder that this program is in.
pub fn node_binary() -> anyhow::Result<PathBuf> {
    let folders: Vec<PathBuf> = match std::env::var_os(BIN_DIR) {
        Some(folder) => vec![folder.into()],
        None => {
            let own = std::env::current_exe().context("where am I?")?;
            own.ancestors().skip(1).flat_map(|folder| [folder.join("release")]).collect()
        }
    };
    let found = folders.iter().map(|folder| folder.join(NODE)).find(|path| path.is_file());
    found.with_context(|| {
        let place = folders.first().map(|folder| folder.display().to_string()).unwrap_or_default();
        format!("no {NODE} in {place}: build it with `cargo build --release --workspace --bins`, or say by {BIN_DIR} where it is")
    })
}

/// A running node.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    ready: Ready,
    folder: PathBuf,
    before: Vec<String>,
    options: Vec<String>,
}

/// How a node is started.
#[derive(Debug, Default)]
pub struct Start {
    /// Further arguments of `cloudsync-node dev`.
    pub arguments: Vec<String>,
    /// Further arguments that it also gets when it is started again.
    pub options: Vec<String>,
    /// What stands before the command: a namespace that it runs in.
    pub before: Vec<String>,
    /// What is logged, if not the usual.
    pub filter: Option<String>,
}

fn quota(bytes: u64) -> Vec<String> {
    vec!["--quota-bytes".to_owned(), bytes.to_string()]
}

impl NodeProcess {
    /// Starts one on free ports, with everything it writes in `folder`.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(folder, Start::default()).await
    }

    /// The same, with so much room for each user. It keeps the quota when it is started again.
    pub async fn start_with_quota(folder: &Path, quota_bytes: u64) -> anyhow::Result<Self> {
        Self::start_with(folder, Start { options: quota(quota_bytes), ..Start::default() }).await
    }

    /// The same, logging by that filter instead of the usual one.
    pub async fn start_logging(folder: &Path, filter: &str) -> anyhow::Result<Self> {
        Self::start_with(folder, Start { filter: Some(filter.to_owned()), ..Start::default() }).await
    }

    /// Starts one again, on the same ports and the same data, once the one before has ended.
    pub async fn start_again(ended: &EndedNode) -> anyhow::Result<Self> {
        Self::start_again_with(ended, &[]).await
    }

    /// The same, with another quota.
    pub async fn start_again_with_quota(ended: &EndedNode, quota_bytes: u64) -> anyhow::Result<Self> {
        Self::start_again_as(ended, &[], quota(quota_bytes)).await
    }

    /// The same as before, with further arguments for this once.
    pub async fn start_again_with(ended: &EndedNode, more: &[&str]) -> anyhow::Result<Self> {
        Self::start_again_as(ended, more, ended.options.clone()).await
    }

    async fn start_again_as(ended: &EndedNode, more: &[&str], options: Vec<String>) -> anyhow::Result<Self> {
        let ready = &ended.ready;
        let listen = [("--quic", &ready.quic), ("--https", &ready.wss), ("--ws", &ready.ws), ("--admin", &ready.admin)];
        let address = |url: &str| url.split_once("://").map_or_else(|| url.to_owned(), |(_, address)| address.to_owned());
        let listen = listen.into_iter().filter_map(|(flag, url)| Some([flag.to_owned(), address(url.as_deref()?)]));
        let arguments = listen.flatten().chain(more.iter().map(|&more| more.to_owned())).collect();
        Self::start_with(&ended.folder, Start { arguments, options, before: ended.before.clone(), filter: None }).await
    }

    /// Starts one as `start` says, with everything that it writes in `folder`.
    pub async fn start_with(folder: &Path, start: Start) -> anyhow::Result<Self> {
        let ready_file = folder.join("ready.json");
        if let Err(error) = std::fs::remove_file(&ready_file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).context("an old ready file");
        }
        let log = std::fs::File::options().create(true).append(true).open(folder.join("node.log"))?;
        let mut words = start.before.iter().map(std::ffi::OsString::from).chain([node_binary()?.into()]);
        let mut command = Command::new(words.next().context("a command")?);
        command
            .args(words)
            .arg("dev")
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(&ready_file)
            .args(&start.arguments)
            .args(&start.options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        if let Some(filter) = &start.filter {
            command.env(LOG_VARIABLE, filter);
        }
        let mut child = command.spawn().context("the node does not start")?;
        let began = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file) {
                let ready: Ready = serde_json::from_str(&text).context("the ready file")?;
                if Some(ready.pid) != child.id() {
                    bail!("the ready file names process {}, started was {:?}", ready.pid, child.id());
                }
                return Ok(Self { child, ready, folder: folder.to_owned(), before: start.before, options: start.options });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the node ended instead of starting ({status}):\n{}", last_words(folder));
            }
            if began.elapsed() > START_TIMEOUT {
                bail!("the node is not ready after {} s:\n{}", START_TIMEOUT.as_secs(), last_words(folder));
            }
            // Nothing says when a file appears: it is looked for again and again.
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// What a client connects to.
    pub fn server(&self, wire: Wire) -> anyhow::Result<Server> {
        let url = match wire {
            Wire::Quic => &self.ready.quic,
            Wire::Wss => &self.ready.wss,
            Wire::Ws => &self.ready.ws,
        };
        let url = url.as_ref().with_context(|| format!("this node does not serve {}", wire.scheme()))?;
        let pin: Pin = format!("sha256:{}", self.ready.certificate_sha256.trim_start_matches("sha256:")).parse()?;
        Ok(Server { address: url.parse()?, trust: Trust::Pinned(pin) })
    }

    /// What it says at `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let admin = self.ready.admin.as_ref().and_then(|url| url.strip_prefix("http://")).context("no admin address")?;
        metrics_at(admin).await
    }

    /// The process.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.ready.pid
    }

    /// Memory of the process that is in RAM, in bytes (`VmRSS`).
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(mut self) -> anyhow::Result<EndedNode> {
        self.child.start_kill().context("kill -9")?;
        let status = self.child.wait().await?;
        Ok(EndedNode { ready: self.ready, folder: self.folder, before: self.before, options: self.options, status })
    }

    /// `SIGTERM`, and waits until it is gone.
    pub async fn terminate(mut self) -> anyhow::Result<EndedNode> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid())?).context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await;
        let status = ended.with_context(|| format!("the node did not end on SIGTERM:\n{}", last_words(&self.folder)))??;
        Ok(EndedNode { ready: self.ready, folder: self.folder, before: self.before, options: self.options, status })
    }
}

/// A node that is gone.
#[derive(Debug)]
pub struct EndedNode {
    ready: Ready,
    folder: PathBuf,
    before: Vec<String>,
    options: Vec<String>,
    status: ExitStatus,
}

impl EndedNode {
    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// How it ended.
    #[must_use]
    pub const fn status(&self) -> ExitStatus {
        self.status
    }
}

/// Runs a node on a data folder that it is to refuse: its exit code and what it says.
pub fn refused(data: &Path, (before, more): (&[String], &[&str])) -> anyhow::Result<(Option<i32>, String)> {
    let mut words = before.iter().map(std::ffi::OsString::from).chain([node_binary()?.into()]);
    let mut command = std::process::Command::new(words.next().context("a command")?);
    command.args(words).arg("dev").arg("--data").arg(data).args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let began = Instant::now();
    while child.try_wait()?.is_none() {
        if began.elapsed() > START_TIMEOUT {
            child.kill()?;
            bail!("{} was not refused", data.display());
        }
        std::thread::sleep(POLL_EVERY);
    }
    let output = child.wait_with_output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// What an admin address says at `/metrics`.
pub(crate) async fn metrics_at(admin: impl ToSocketAddrs) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(answer)
}

/// What a node logged in `folder`.
#[must_use]
pub fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("node.log")).unwrap_or_default()
}

/// The end of what a node logged in `folder`.
#[must_use]
pub fn last_words(folder: &Path) -> String {
    let log = log(folder);
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(30);
    lines.get(from..).unwrap_or_default().join("\n")
}
