//! Every Rust file opens with `//!`: its purpose, and, unless it holds tests only, what it must never do.
//!
//! Never: a judgement of what stands there; people read it.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::report::Outcome;
use crate::workspace::rust_files;

pub(crate) fn check(root: &Path) -> anyhow::Result<Outcome> {
    let files = rust_files(root)?;
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root).unwrap_or(file);
        if let Some(what) = missing(&text, kind(name)) {
            wrong.push(format!("{}: {what}", name.display()));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(Outcome::Passed(format!("{} files", files.len())))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Tests,
}

/// Tests stand in a folder or a file of that name.
fn kind(name: &Path) -> Kind {
    let is_tests = |part: &str| part == "tests" || part == "tests.rs" || part.ends_with("_tests") || part.ends_with("_tests.rs");
    let of_the_tests_crate = name.starts_with("tests/src");
    let parts = name.components().filter_map(|part| part.as_os_str().to_str());
    if !of_the_tests_crate && parts.into_iter().any(is_tests) { Kind::Tests } else { Kind::Code }
}

fn missing(text: &str, kind: Kind) -> Option<&'static str> {
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    if head.is_empty() {
        Some("no //! at the top")
    } else if kind == Kind::Code && !head.join(" ").to_lowercase().contains("never") {
        Some("its //! does not say what it must never do")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_purpose_and_limits() {
        assert_eq!(missing("//! What it is for.\n//!\n//! Never: more.\nfn main() {}\n", Kind::Code), None);
        assert_eq!(missing("fn main() {}\n", Kind::Tests), Some("no //! at the top"));
        assert_eq!(missing("//! What it is for.\n\n//! Never\n", Kind::Code), Some("its //! does not say what it must never do"));
    }

    #[test]
    fn tests_need_a_purpose_only() {
        assert_eq!(missing("//! What it shows.\n", kind(Path::new("engine/tests/rules/main.rs"))), None);
        assert_eq!(kind(Path::new("client/src/keys/keyring_tests.rs")), Kind::Tests);
        assert_eq!(kind(Path::new("tests/src/lib.rs")), Kind::Code);
    }
}
