//! `cargo xtask dev`: a node of one's own, the main job shown on two devices, then serving until Ctrl-C.
//!
//! Never: data outside `.dev`, or a secret that is worth anything: the account is a demonstration.

mod demo;
mod device;
mod node;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process::{cargo, run as run_command};
use crate::workspace::{metadata, root, target};
use device::{Device, Server};
use node::Node;

/// How often the node is looked after while it serves.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Data, profiles and logs; made when it is not there
    #[arg(long, default_value = ".dev")]
    folder: PathBuf,
    /// Show the main job, then end
    #[arg(long)]
    once: bool,
    /// A folder with `cloudsync-node` and `cloudsync`, instead of building them
    #[arg(long)]
    binaries: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let binaries = match &options.binaries {
        Some(folder) => folder.canonicalize().with_context(|| folder.display().to_string())?,
        None => {
            run_command(&mut cargo(["build", "--workspace", "--all-targets", "--locked"]))?;
            target(&metadata()?)?.join("debug")
        }
    };
    let folder = root().join(&options.folder);
    std::fs::create_dir_all(folder.join("profiles")).with_context(|| folder.display().to_string())?;

    // Before the node starts, so that no Ctrl-C can leave it behind.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut node = Node::start(&binaries.join("cloudsync-node"), &folder)?;
    let shown = show(&node, &binaries, &folder);
    let mut interrupted = signals.pending().next().is_some();
    if shown.is_ok() && !options.once {
        println!("\nserving until Ctrl-C");
        while !interrupted {
            node.check()?;
            std::thread::sleep(LOOK_EVERY);
            interrupted = signals.pending().next().is_some();
        }
        println!();
    }
    let stopped = node.stop();
    // A Ctrl-C on the way ends the devices' commands too: no failure of theirs.
    if interrupted { stopped } else { shown.and(stopped) }
}

fn show(node: &Node, binaries: &Path, folder: &Path) -> anyhow::Result<()> {
    node.print();
    let device = |name: &str, server: &str| Device {
        name: name.to_owned(),
        binary: binaries.join("cloudsync"),
        home: folder.to_path_buf(),
        server: Server { url: server.to_owned(), pin: node.pin() },
    };
    let (laptop, phone) = (device("laptop", node.url("quic")?), device("phone", node.url("wss")?));
    demo::show(&laptop, &phone)?;
    demo::print_commands(&laptop);
    Ok(())
}
