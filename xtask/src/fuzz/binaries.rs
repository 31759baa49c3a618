//! cargo-fuzz and what it builds, all of it under the target folder.
//!
//! Never: rustup asked for anything; where there is no nightly compiler, that is said.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::process::{cargo, output, run};
use crate::workspace::{array, metadata, root, target};

const VERSION: &str = "=0.13.2";

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Binaries {
    /// The names of the targets, in the order of the manifest.
    pub(crate) targets: Vec<String>,
    tool: PathBuf,
    /// `build`, `corpus` and `artifacts` stand there.
    pub(crate) folder: PathBuf,
}

impl Binaries {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest = manifest();
        let manifest = manifest.to_str().context("a path that is not UTF-8")?;
        let text = output(&mut cargo(["metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest]))?;
        let ours: Value = serde_json::from_str(&text).context("cargo metadata wrote no JSON")?;
        let names = array(&ours["packages"][0]["targets"]).iter().filter_map(|target| target["name"].as_str());
        let target = target(&metadata()?)?;
        Ok(Self { targets: names.map(str::to_owned).collect(), tool: target.join("tools").join("cargo-fuzz"), folder: target.join("fuzz") })
    }

    /// Whether every target was built once. Of older sources, perhaps.
    pub(crate) fn are_built(&self) -> bool {
        self.tool_is_there() && self.targets.iter().all(|target| self.binary(target).is_some())
    }

    fn tool_is_there(&self) -> bool {
        self.tool.join("bin").join("cargo-fuzz").is_file()
    }

    /// Builds what is not up to date, cargo-fuzz itself if need be.
    pub(crate) fn build(&self) -> anyhow::Result<()> {
        let version = nightly().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            bail!("`cargo +nightly` does not run here, and fuzzing needs it; `cargo test -p cloudsync-fuzz` replays the corpus without");
        }
        if !self.tool_is_there() {
            let mut install = cargo(["install", "cargo-fuzz", "--locked", "--version", VERSION, "--root"]);
            run(install.arg(&self.tool).arg("--target-dir").arg(self.folder.join("tool")))?;
        }
        let mut build = nightly();
        build.arg("fuzz").arg("build").arg("--fuzz-dir").arg(manifest().with_file_name(""));
        build.arg("--target-dir").arg(self.folder.join("build")).env("PATH", self.path()?);
        run(&mut build)
    }

    /// The search path with cargo-fuzz first.
    fn path(&self) -> anyhow::Result<std::ffi::OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.tool.join("bin")).chain(std::env::split_paths(&path));
        Ok(std::env::join_paths(folders)?)
    }

    /// cargo-fuzz builds for a machine by its name: one folder more.
    fn binary(&self, target: &str) -> Option<PathBuf> {
        let machines = std::fs::read_dir(self.folder.join("build")).ok()?;
        machines.filter_map(|machine| Some(machine.ok()?.path().join("release").join(target))).find(|binary| binary.is_file())
    }

    /// The target as a program.
    pub(crate) fn command(&self, target: &str) -> anyhow::Result<Command> {
        self.binary(target).map(Command::new).with_context(|| format!("{target} was not built"))
    }

    /// What is committed of a target's inputs.
    pub(crate) fn seeds(target: &str) -> PathBuf {
        root().join("fuzz").join("corpus").join(target)
    }
}

fn manifest() -> PathBuf {
    root().join("fuzz").join("targets").join("Cargo.toml")
}

/// rustup's `cargo`, which knows its toolchains by name; the one that called us knows only itself.
fn nightly() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg("+nightly").current_dir(root()).env_remove("CARGO").env("RUSTUP_AUTO_INSTALL", "0");
    cargo
}
