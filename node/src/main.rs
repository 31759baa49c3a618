//! `cloudsync-node`: reads the command line, starts a node, and ends it when asked to.
//!
//! Never: anything that a test in process would miss; that is the library's.

mod backup_command;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use cloudsync_node::config::{Config, FreePorts, LogFormat, Loss, log_filter_of_environment};
use cloudsync_node::throttle::Loopback;
use cloudsync_node::{Node, Ready, descriptors, logs};
use cloudsync_protocol::limits::QUOTA_BYTES_DEFAULT;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// What may still block when everything else has ended.
const RUNTIME_TIMEOUT: Duration = Duration::from_millis(500);

/// A CloudSync node.
#[derive(Debug, Parser)]
#[command(name = "cloudsync-node", version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves on this machine, with a self-made certificate; anyone may register.
    Dev(Dev),
    /// Serves by a configuration file.
    Serve(Serve),
    /// Copies a node's data while it serves, looks at such a copy, or brings one back.
    Backup(backup_command::Backup),
}

#[derive(Debug, Args)]
struct Common {
    /// Written once the node serves: its process id and URLs, as JSON.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Goes on without acknowledged changes that the data folder lacks; every log gets a new timeline. For a start that was
    /// refused for that reason, or after an older folder was put back by hand.
    #[arg(long)]
    accept_loss: bool,
    /// How log lines look.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
struct Dev {
    /// The data folder; made if it isn't there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// QUIC [default: a free port of 127.0.0.1, the last start's if it is].
    #[arg(long, value_name = "ADDR:PORT")]
    quic: Option<SocketAddr>,
    /// HTTPS and wss [default: a free port of 127.0.0.1, the last start's if it is].
    #[arg(long, value_name = "ADDR:PORT")]
    https: Option<SocketAddr>,
    /// WebSocket without TLS, loopback only [default: a free port of 127.0.0.1, the last start's if it is].
    #[arg(long, value_name = "ADDR:PORT")]
    ws: Option<SocketAddr>,
    /// Health and metrics [default: a free port of 127.0.0.1, the last start's if it is].
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
    /// What each user's records may weigh together, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = QUOTA_BYTES_DEFAULT)]
    quota_bytes: u64,
    /// Throttles this machine's own clients as others would be.
    #[arg(long)]
    throttle_loopback: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Serve {
    /// The configuration, TOML; deploy/node.toml describes it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// What serves, and by what.
enum Serving {
    Dev(Dev),
    Serve(Serve),
}

fn configure(serving: Serving) -> anyhow::Result<(Config, Option<PathBuf>)> {
    let (mut config, common) = match serving {
        Serving::Dev(dev) => {
            let mut config = Config::dev(dev.data);
            let given = [dev.quic, dev.https, dev.ws, dev.admin];
            let listen = &mut config.listen;
            let places = [&mut listen.quic, &mut listen.https, &mut listen.ws, &mut listen.admin];
            for (place, given) in places.into_iter().zip(given) {
                *place = given.or(*place);
            }
            // Clients remember where they signed in.
            config.free_ports = FreePorts::AsBefore;
            config.region.quota_bytes = dev.quota_bytes;
            if dev.throttle_loopback {
                config.throttles.loopback = Loopback::Throttled;
            }
            config.log.filter = log_filter_of_environment();
            (config, dev.common)
        }
        Serving::Serve(serve) => (Config::read(&serve.config)?, serve.common),
    };
    config.log.format = common.log_format.unwrap_or(config.log.format);
    config.loss = if common.accept_loss { Loss::Accept } else { Loss::Refuse };
    Ok((config, common.ready_file))
}

/// `SIGTERM` and `SIGINT` alike; `SIGHUP` apart.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Says to a person what programs read in the ready file.
#[expect(clippy::print_stderr, reason = "where clients connect must be seen whatever the log filter is")]
fn show(ready: &Ready) {
    for url in [&ready.quic, &ready.wss, &ready.ws, &ready.https, &ready.admin].into_iter().flatten() {
        eprintln!("{url}");
    }
    eprintln!("pin sha256:{}\nready; Ctrl-C ends it", ready.certificate_sha256);
}

/// Until a signal that ends the node; each that asks for it has the certificate read anew.
async fn until_ended(signals: &mut Signals, node: &Node, ready_file: Option<&Path>) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hang_up.recv() => {}
        }
        match node.reload_certificate().await {
            Ok(sha256) => {
                if let Some(path) = ready_file
                    && let Err(error) = Ready::of(node).write(path)
                {
                    warn!(path = %path.display(), %error, "the ready file names the certificate from before");
                }
                info!(certificate_sha256 = %sha256, "certificate read anew; new connections are shown it");
            }
            Err(error) => {
                warn!(%error, certificate_sha256 = %node.certificate_sha256(), "certificate not read anew: the one from before is served on")
            }
        }
    }
}

async fn serve(config: Config, ready_file: Option<PathBuf>) -> anyhow::Result<()> {
    // Before the start, which takes a while: a signal that comes meanwhile ends it as well.
    let mut signals = Signals::new()?;
    descriptors::raise_limit();
    let format = config.log.format;
    let node = tokio::select! {
        started = Node::start(config) => started?,
        () = signals.next() => return Ok(()),
    };
    let ready = Ready::of(&node);
    if let Some(path) = &ready_file {
        ready.write(path).with_context(|| format!("cannot write the ready file {}", path.display()))?;
    }
    if format == LogFormat::Text && std::io::stderr().is_terminal() {
        show(&ready)
    } else {
        node.log_serving()
    }
    tokio::select! {
        () = until_ended(&mut signals, &node, ready_file.as_deref()) => info!("leaving; a second signal ends at once"),
        () = node.failed() => {
            // What was acknowledged is in the store: whoever supervises this process starts it again.
            node.shutdown().await;
            anyhow::bail!("the node can't serve any more: its region's actor died, a bug that the log has; start the node again");
        }
    }
    tokio::select! {
        () = node.shutdown() => {}
        () = signals.next() => warn!("ended at once; clients were not told"),
    }
    Ok(())
}

fn run() -> anyhow::Result<()> {
    let serving = match CommandLine::parse().command {
        Command::Dev(dev) => Serving::Dev(dev),
        Command::Serve(serve) => Serving::Serve(serve),
        Command::Backup(backup) => return backup_command::run(backup),
    };
    let (config, ready_file) = configure(serving)?;
    logs::log_to_stderr(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let served = runtime.block_on(serve(config, ready_file));
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    served
}

#[allow(clippy::print_stderr, reason = "the one message of a start that failed must be seen whatever the log filter is")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
