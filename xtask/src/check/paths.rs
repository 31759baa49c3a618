//! Every path that a page names is there: links, and what stands in backticks and is a path of ours; of `file::name` the
//! file defines that name too.
//!
//! Never: a judgement of what the page says of it; people read that.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::report::Outcome;
use crate::workspace::files_ending;

/// A name that ends like that is a file of ours wherever it stands.
const ENDINGS: &[&str] = &[".rs", ".py", ".md", ".toml"];

/// Plans name what is not there yet.
const PLANS: &str = "docs/plans";

/// What a definition begins with.
const DEFINITIONS: &[&str] = &["fn", "struct", "enum", "trait", "const", "static", "type", "mod"];

pub(crate) fn check(root: &Path) -> anyhow::Result<Outcome> {
    let mut names = BTreeSet::new();
    for ending in ENDINGS {
        names.extend(files_ending(root, ending)?.iter().filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())));
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in files_ending(root, ".md")?.into_iter().filter(|page| !page.starts_with(root.join(PLANS))) {
        let text = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        let place = page.strip_prefix(root).unwrap_or(&page);
        for (number, named) in named(&text) {
            count += 1;
            let why = match &named {
                Named::Link(target) => missing_link(&page, target),
                Named::Path(path) => missing_path(root, path),
                Named::File(name) => (!names.contains(name)).then(|| format!("no file is called {name}")),
            };
            wrong.extend(why.map(|why| format!("{}:{number}: {why}", place.display())));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(Outcome::Passed(format!("{count} of them")))
}

/// What a page names.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// A link's target, from the page's folder on.
    Link(String),
    /// From the root on, with `::name` perhaps.
    Path(String),
    /// A file's name alone.
    File(String),
}

/// Everything that a page names, with its line. Blocks of code hold commands, not paths.
fn named(text: &str) -> Vec<(usize, Named)> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://"));
            found.extend(links.map(|target| (number, Named::Link(target.to_owned()))));
            // A row that begins with a folder speaks of what is in it.
            let folder = line.strip_prefix("| `").and_then(|rest| rest.split_once("/`")).map(|(folder, _)| folder);
            let quoted = line.split('`').skip(1).step_by(2);
            found.extend(quoted.flat_map(|quoted| paths(quoted, folder)).map(|path| (number, path)));
        }
    }
    found
}

/// The paths that one stretch in backticks is: several where it has `{a,b}`, none where it is something else.
fn paths(quoted: &str, folder: Option<&str>) -> Vec<Named> {
    let is_path = |letter: char| letter.is_ascii_alphanumeric() || "_-./{},:".contains(letter);
    let file = quoted.split("::").next().unwrap_or_default();
    if !quoted.chars().all(is_path) || file.contains(':') || file.starts_with('/') || file.starts_with("target/") {
        return Vec::new();
    }
    if let Some((before, (inner, after))) = quoted.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        return inner.split(',').flat_map(|one| paths(&format!("{before}{one}{after}"), folder)).collect();
    }
    let ends = ENDINGS.iter().any(|ending| file.ends_with(ending) && file != *ending);
    match (file.split_once('/'), folder) {
        (Some(("src", _)), Some(folder)) => vec![Named::Path(format!("{folder}/{quoted}"))],
        (Some((first, rest)), _) if ends || (!rest.is_empty() && is_ours(first)) => vec![Named::Path(quoted.to_owned())],
        (None, _) if ends => vec![Named::File(file.to_owned())],
        (Some(_) | None, _) => Vec::new(),
    }
}

/// Whether a path's first part is one of the workspace's folders.
fn is_ours(first: &str) -> bool {
    const FOLDERS: &[&str] = &[
        "protocol", "engine", "storage", "accounts", "actors", "node", "client", "fuzz", "tests", "xtask", "docs", "deploy", ".ci",
        ".cargo",
    ];
    FOLDERS.contains(&first)
}

fn missing_link(page: &Path, target: &str) -> Option<String> {
    let file = target.split('#').next().unwrap_or_default();
    let there = page.parent().is_some_and(|folder| folder.join(file).exists());
    (!there).then(|| format!("the link {target} leads nowhere"))
}

fn missing_path(root: &Path, path: &str) -> Option<String> {
    let (file, names) = path.split_once("::").map_or((path, ""), |(file, names)| (file, names));
    let place = root.join(file);
    if !place.exists() {
        return Some(format!("there is no {file}"));
    }
    let text = if names.is_empty() { String::new() } else { std::fs::read_to_string(&place).unwrap_or_default() };
    let unknown = names.split("::").find(|name| !name.is_empty() && !defines(&text, name));
    unknown.map(|name| format!("{file} defines no {name}"))
}

/// Whether a source defines that name, or has it as a variant.
fn defines(text: &str, name: &str) -> bool {
    let words = |line: &str| line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(str::to_owned).collect::<Vec<_>>();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        let words: Vec<String> = words(line).into_iter().filter(|word| !word.is_empty()).collect();
        words.iter().zip(words.iter().skip(1)).any(|(before, word)| word == name && DEFINITIONS.contains(&before.as_str()))
            || (name.starts_with(char::is_uppercase) && words.first().is_some_and(|word| word == name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::root;

    fn of(text: &str) -> Vec<Named> {
        named(text).into_iter().map(|(_, named)| named).collect()
    }

    #[test]
    fn links_paths_and_file_names_are_found_and_nothing_else() {
        let text = "[a](docs/wire.md#x) [b](https://example.com/c.md) `engine/src/{verify,batch}.rs` `wire.md`\n\
                    `/healthz` `sessions.csv` `a/b` `cargo test -p x` `target/debug` `.rs`\n```\n`engine/src/none.rs`\n```\n";
        let path = |text: &str| Named::Path(text.to_owned());
        let expected = [
            Named::Link("docs/wire.md#x".into()),
            path("engine/src/verify.rs"),
            path("engine/src/batch.rs"),
            Named::File("wire.md".into()),
        ];
        assert_eq!(of(text), expected);
        assert_eq!(of("| `node/` | x | `src/node.rs` |\n"), [path("node/src/node.rs")]);
    }

    #[test]
    fn a_file_or_a_name_in_it_that_is_not_there_is_named() {
        let missing = |path: &str| missing_path(&root(), path);
        assert_eq!(missing("xtask/src/check/paths.rs::missing_path"), None);
        assert_eq!(missing("xtask/src/check/paths.rs::Named::Link"), None);
        assert_eq!(missing("xtask/src/check/path.rs").as_deref(), Some("there is no xtask/src/check/path.rs"));
        let gone = ["xtask/src/check/paths.rs::", "mislaid"].concat();
        assert_eq!(missing(&gone).as_deref(), Some("xtask/src/check/paths.rs defines no mislaid"));
        assert_eq!(missing_link(&root().join("README.md"), "docs/wire.md#limits"), None);
        assert_eq!(missing_link(&root().join("README.md"), "docs/wires.md").as_deref(), Some("the link docs/wires.md leads nowhere"));
    }

    #[test]
    fn a_page_that_names_what_is_gone_fails_with_its_place() {
        let folder = std::env::temp_dir().join(format!("cloudsync-paths-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("PAGE.md"), "one\n`engine/src/gone.rs`, `gone.rs`\n").unwrap();
        let error = check(&folder).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(error, "PAGE.md:2: there is no engine/src/gone.rs\nPAGE.md:2: no file is called gone.rs");
    }
}
