//! What keeps `protocol` and `engine` pure: no runtime, no randomness, no clock, no IO, neither among their dependencies
//! nor in their own lines. Both stay fit for `wasm32-unknown-unknown`, whose graph is looked at as well.
//!
//! Never: trust in a clippy setting alone; that one guards the calls, this one the way in, and that the setting is there.

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
        let (ours, whole) = (root().join(name).join("clippy.toml"), root().join("clippy.toml"));
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
        wrong.extend(lacking(&read(&ours)?, &read(&whole)?).into_iter().map(|lacks| format!("{} lacks {lacks}", shown(&ours))));
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

/// What a pure crate's clippy settings lack: the nearest file replaces the root one, so that it must repeat it, and it guards
/// the calls of every module that may not be used.
fn lacking(ours: &str, whole: &str) -> Vec<String> {
    let repeated = whole.lines().filter(|line| !line.starts_with('#') && !ours.lines().any(|ours| ours == *line));
    let modules = WORDS.iter().filter(|word| word.starts_with("std::") && !ours.contains(&format!("\"{word}::")));
    repeated.map(str::to_owned).chain(modules.map(|module| format!("a ban of a call of {module}"))).collect()
}

/// The line and the word. Comments may name what code may not; a file's tests are held to the same.
fn banned_words(text: &str) -> BTreeSet<(usize, &'static str)> {
    let code = || text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let said = |at: usize, line: &str| WORDS.iter().filter(|word| has_word(line, word)).map(|word| (at + 1, *word)).collect::<Vec<_>>();
    let mut found: BTreeSet<_> = code().flat_map(|(at, line)| said(at, line)).collect();
    let lines: Vec<(usize, &str)> = code().collect();
    for (index, (at, line)) in lines.iter().enumerate() {
        let Some(first) = use_tree(line) else { continue };
        let rest = lines.iter().skip(index + 1).map(|(_, line)| *line);
        let whole: Vec<&str> = std::iter::once(first).chain(rest).collect();
        let whole = whole.join(" ");
        let (mut paths, tree) = (Vec::new(), whole.split(';').next().unwrap_or_default());
        expand("", tree, &mut paths);
        found.extend(paths.iter().flat_map(|path| said(*at, path)));
    }
    found
}

/// What follows `use`, whoever may see it.
fn use_tree(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let item = match line.strip_prefix("pub") {
        Some(seen) if seen.starts_with('(') => seen.split_once(')')?.1.trim_start(),
        Some(seen) => seen.trim_start(),
        None => line,
    };
    item.strip_prefix("use ")
}

/// The paths of a `use` tree, each in full: `std::{fs, thread}` is `std::fs` and `std::thread`.
fn expand(before: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((stem, inner)) = tree.split_once('{') else {
        paths.push(format!("{before}{tree}"));
        return;
    };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, before) = (0_usize, format!("{before}{}", stem.trim()));
    let branches = inner.split(|letter| {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    branches.for_each(|branch| expand(&before, branch, paths));
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

    fn found(text: &str) -> Vec<(usize, &'static str)> {
        banned_words(text).into_iter().collect()
    }

    #[test]
    fn a_banned_crate_is_found_whatever_its_version() {
        let tree = "cloudsync-engine v0.1.0 (/here)\nserde v1.0.229\nrand v0.10.1\nrand_core v0.10.0\n";
        assert_eq!(banned_crates(tree).into_iter().collect::<Vec<_>>(), ["rand"]);
    }

    #[test]
    fn a_banned_word_is_found_in_code_and_not_in_comments_or_within_longer_names() {
        let text =
            "//! Never: Instant\nlet now = Instant::now();\nstruct Instantly;\n    // HashMap\nuse std::time::{Duration, SystemTime};\n";
        assert_eq!(found(text), [(2, "Instant"), (5, "SystemTime")]);
    }

    #[test]
    fn a_module_within_a_use_tree_is_found_however_deep_and_over_lines() {
        assert_eq!(found("use std::{fs, thread};\n"), [(1, "std::fs"), (1, "std::thread")]);
        assert_eq!(found("    pub(crate) use std::{fmt, net::{self, TcpStream}};\n"), [(1, "std::net")]);
        let over_lines = "use bytes::Bytes;\npub use std::{\n    collections::{BTreeMap, BTreeSet},\n    env::var,\n};\n";
        assert_eq!(found(over_lines), [(2, "std::env")]);
        assert_eq!(found("use std::{collections::BTreeMap, fmt};\nuse crate::{fs, net::{io, process}};\n"), []);
    }

    #[test]
    fn settings_that_forget_the_root_or_a_module_are_named() {
        let whole = "# why\ntoo-many-lines-threshold = 70\n";
        let calls: Vec<String> = WORDS.iter().map(|word| format!("\"{word}::call\"")).collect();
        assert_eq!(lacking(&format!("{}\ntoo-many-lines-threshold = 70\n", calls.join("\n")), whole), Vec::<String>::new());
        let lacking = lacking(&calls.join("\n").replace("std::fs", "std::fmt"), whole);
        assert_eq!(lacking, ["too-many-lines-threshold = 70", "a ban of a call of std::fs"]);
    }

    #[test]
    fn waiting_is_found() {
        assert_eq!(found("let row = store.look_up(key).await?;"), [(1, ".await")]);
    }
}
