//! `cargo xtask check`: whether a change may land.
//!
//! Never: changing a file. What it finds it names, with the place.

mod bans;
mod edges;
mod heads;
mod licences;
mod paths;

use crate::process::{cargo, run as run_command};
use crate::report::{Outcome, Report};
use crate::workspace::{metadata, root};

/// Runs every check.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut report = Report::default();
    report.step("lock file", || metadata().map(|_| Outcome::Passed("Cargo.lock fits the manifests".into())));
    report.step("format", || command(&["fmt", "--all", "--check"]));
    report.step("crate edges", || edges::check(&metadata()?));
    report.step("bans", bans::check);
    report.step("file heads", || heads::check(&root()));
    report.step("paths in the pages", || paths::check(&root()));
    report.step("licences and sources", licences::check);
    report.step("clippy", || command(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]));
    report.step("rustdoc", || {
        let mut doc = cargo(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
        run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
        Ok(Outcome::Passed(String::new()))
    });
    report.end("cargo xtask check")
}

fn command(arguments: &[&str]) -> anyhow::Result<Outcome> {
    run_command(&mut cargo(arguments))?;
    Ok(Outcome::Passed(String::new()))
}
