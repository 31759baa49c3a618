//! What keeps `protocol` and `engine` pure: no runtime, no randomness, no clock, no IO, neither among their dependencies
//! nor in their own lines. Both stay fit for `wasm32-unknown-unknown`, whose graph is looked at as well.
//!
//! Never: trust in a clippy setting alone; that one guards the calls, this one the way in.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::process::{cargo, output};
use crate::report::Outcome;
use crate::workspace::{root, rust_files};

const PURE: &[&str] = &["protocol", "engine"];

/// Crates that bring a runtime, randomness, a clock or IO.
const CRATES: &[&str] = &[
    "tokio",
    "tokio-util",
    "mio",
    "async-std",
    "smol",
    "futures-executor",
    "rayon",
    "crossbeam",
    "getrandom",
    "rand",
    "rand_chacha",
    "fastrand",
    "time",
    "chrono",
    "jiff",
    "instant",
    "web-time",
    "quanta",
    "socket2",
    "quinn",
    "rustls",
    "hyper",
    "rusqlite",
    "libsqlite3-sys",
    "ractor",
    "dashmap",
    "tempfile",
    "aws-lc-rs",
    "ring",
    "js-sys",
    "wasm-bindgen",
    "num_cpus",
    "parking_lot",
];

/// Words that do not stand in their code.
const WORDS: &[&str] = &[
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "HashMap",
    "HashSet",
    "RandomState",
    "OsRng",
    "SysRng",
    "thread_rng",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::io",
    "async fn",
    "async move",
    ".await",
];

/// The targets whose graphs are looked at.
const TARGETS: &[&[&str]] = &[&[], &["--target", "wasm32-unknown-unknown"]];

pub(crate) fn check() -> anyhow::Result<Outcome> {
    let mut wrong = Vec::new();
    for name in PURE {
        for target in TARGETS {
            let package = format!("cloudsync-{name}");
            let tree = ["tree", "-p", &package, "-e", "normal,build", "--prefix", "none", "--format", "{p}", "--locked"];
            let tree = output(&mut cargo(tree.iter().chain(*target)))?;
            wrong.extend(banned_crates(&tree).into_iter().map(|found| format!("{package} depends on {found} {}", target.join(" "))));
        }
        let sources = root().join(name).join("src");
        for file in rust_files(&sources)? {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            wrong.extend(banned_words(&text).into_iter().map(|(line, word)| format!("{}:{line}: {word}", shown(&file))));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(Outcome::Passed("neither depends on, nor names, a runtime, a clock or randomness; wasm32 is not compiled here".into()))
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn banned_crates(tree: &str) -> BTreeSet<String> {
    tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| CRATES.contains(name)).map(str::to_owned).collect()
}

/// The line and the word. Comments may name what code may not; a file's tests are held to the same.
fn banned_words(text: &str) -> Vec<(usize, &'static str)> {
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(|(at, line)| WORDS.iter().filter(move |word| has_word(line, word)).map(move |word| (at + 1, *word))).collect()
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line.get(..at).unwrap_or_default(), line.get(at + word.len()..).unwrap_or_default());
        let (starts, ends) = (word.starts_with(part), word.ends_with(part));
        !(starts && before.ends_with(part) || ends && after.starts_with(part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_crate_is_found_whatever_its_version() {
        let tree = "cloudsync-engine v0.1.0 (/here)\nserde v1.0.229\nrand v0.10.1\nrand_core v0.10.0\n";
        assert_eq!(banned_crates(tree).into_iter().collect::<Vec<_>>(), ["rand"]);
    }

    #[test]
    fn a_banned_word_is_found_in_code_and_not_in_comments_or_within_longer_names() {
        let text =
            "//! Never: Instant\nlet now = Instant::now();\nstruct Instantly;\n    // HashMap\nuse std::time::{Duration, SystemTime};\n";
        assert_eq!(banned_words(text), [(2, "Instant"), (5, "SystemTime")]);
    }

    #[test]
    fn waiting_is_found() {
        assert_eq!(banned_words("let row = store.look_up(key).await?;"), [(1, ".await")]);
    }
}
