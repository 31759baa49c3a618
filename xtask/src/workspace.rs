//! Where things are: the workspace's root, its packages, its files.
//!
//! Never: a build.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::process::{cargo, output};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A path as one would type it in the workspace's root: short, where it lies there.
pub(crate) fn near(path: &Path) -> String {
    path.strip_prefix(root()).map_or_else(|_| path.display().to_string(), |inner| format!("$PWD/{}", inner.display()))
}

/// Whether this is CI, where nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// What `cargo metadata` says of our own packages; fails when `Cargo.lock` has drifted.
pub(crate) fn metadata() -> anyhow::Result<Value> {
    let text = output(&mut cargo(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
    serde_json::from_str(&text).context("cargo metadata wrote no JSON")
}

/// The target folder that cargo uses.
pub(crate) fn target(metadata: &Value) -> anyhow::Result<PathBuf> {
    metadata["target_directory"].as_str().map(PathBuf::from).context("cargo metadata names no target folder")
}

/// A JSON array, or nothing.
pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Every Rust file of the workspace, sorted.
pub(crate) fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    files_ending(folder, ".rs")
}

/// Every file of the workspace whose name ends like that, sorted.
pub(crate) fn files_ending(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry?.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
