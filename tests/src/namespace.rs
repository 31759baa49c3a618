//! [`Namespace`]: a mount namespace of its own for a node, so that a small or a read-only disk can be put under its data folder.
//!
//! Never: a mount that the machine sees, or that outlives its test. It needs root and Linux; where that is not to be had the test
//! says so in the skip log, which CI does not let pass.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

/// Where a test that leaves something out says so.
const SKIP_LOG: &str = "CLOUDSYNC_SKIP_LOG";

/// Held open by a process that does nothing.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// With a tmpfs of that size at `folder`, which exists. Nothing, and a line in the skip log, where mounting is not allowed.
    pub fn with_disk(folder: &Path, bytes: u64, test: &str) -> anyhow::Result<Option<Self>> {
        Self::hold("mount -t tmpfs -o mode=0700,size=\"$2\" tmpfs \"$1\"", folder, (&bytes.to_string(), test))
    }

    /// With `folder` as a read-only medium.
    pub fn read_only(folder: &Path, test: &str) -> anyhow::Result<Option<Self>> {
        Self::hold("mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"", folder, ("", test))
    }

    fn hold(mount: &str, folder: &Path, (more, test): (&str, &str)) -> anyhow::Result<Option<Self>> {
        let script = format!("{mount} && echo mounted && exec sleep infinity");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(folder).arg(more);
        let mut holder = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("no `unshare`")?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().context("no output")?).read_line(&mut line)?;
        let namespace = Self { holder };
        if line == "mounted\n" {
            return Ok(Some(namespace));
        }
        skip(&format!("{test}: a mount namespace needs root on Linux (unshare --mount)"))?;
        Ok(None)
    }

    /// What stands before a command that is to run in it.
    #[must_use]
    pub fn enter(&self) -> Vec<String> {
        ["nsenter", "--mount", "--target", &self.holder.id().to_string(), "--"].map(str::to_owned).into()
    }

    /// How a path of it is reached from outside.
    #[must_use]
    pub fn path(&self, inside: &Path) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside.strip_prefix("/").unwrap_or(inside))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Ended already, or by this.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn skip(line: &str) -> anyhow::Result<()> {
    ensure!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing is left out: {line}");
    if let Some(log) = std::env::var_os(SKIP_LOG) {
        writeln!(std::fs::File::options().create(true).append(true).open(log)?, "{line}")?;
    }
    Ok(())
}
