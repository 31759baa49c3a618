//! Every Rust file opens with `//!`: its purpose, and what it must never do.
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
        if let Some(what) = missing(&text) {
            wrong.push(format!("{}: {what}", file.strip_prefix(root).unwrap_or(file).display()));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(Outcome::Passed(format!("{} files", files.len())))
}

fn missing(text: &str) -> Option<&'static str> {
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    if head.is_empty() {
        Some("no //! at the top")
    } else if !head.join(" ").to_lowercase().contains("never") {
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
        assert_eq!(missing("//! What it is for.\n//!\n//! Never: more.\nfn main() {}\n"), None);
        assert_eq!(missing("fn main() {}\n"), Some("no //! at the top"));
        assert_eq!(missing("//! What it is for.\n\n//! Never\n"), Some("its //! does not say what it must never do"));
    }
}
