//! `docs/wire.md` names every frame with its tag.
//!
//! Never: the document written from the code; it is for people, and says more.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::report::Outcome;

const DOCUMENT: &str = "docs/wire.md";
const FRAMES: &str = "protocol/src/frame.rs";

pub(crate) fn check(root: &Path) -> anyhow::Result<Outcome> {
    if !root.join(DOCUMENT).exists() {
        return Ok(Outcome::Skipped(format!("{DOCUMENT} is not there")));
    }
    let document = std::fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
    let source = std::fs::read_to_string(root.join(FRAMES)).context(FRAMES)?;
    let frames = frames(&source);
    if frames.is_empty() {
        bail!("no frames found in {FRAMES}");
    }
    let missing: Vec<String> =
        frames.iter().filter(|(name, tag)| !names(&document, name, *tag)).map(|(name, tag)| format!("{name} = {tag}")).collect();
    if !missing.is_empty() {
        bail!("{DOCUMENT} has no line with name and tag of {}", missing.join(", "));
    }
    Ok(Outcome::Passed(format!("{} frames", frames.len())))
}

/// `Name(Name) = tag,` within `pub enum Frame`.
fn frames(source: &str) -> Vec<(&str, u8)> {
    let body = source.split_once("pub enum Frame {").map_or("", |(_, body)| body);
    let lines = body.lines().take_while(|line| line.trim() != "}");
    lines
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(") = "))
        .filter_map(|(name, tag)| Some((name.split('(').next()?, tag.parse().ok()?)))
        .collect()
}

fn names(document: &str, name: &str, tag: u8) -> bool {
    let tag = tag.to_string();
    document.lines().any(|line| {
        let mut words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        words.clone().any(|word| word == name) && words.any(|word| word == tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "crate::wire_enum! {\n    pub enum Frame {\n        /// First.\n        Challenge(Challenge) = 1,\n\n        Hello(Hello) = 2,\n    }\n}\n";

    #[test]
    fn every_frame_is_found_with_its_tag() {
        assert_eq!(frames(SOURCE), [("Challenge", 1), ("Hello", 2)]);
    }

    #[test]
    fn a_line_must_have_both_name_and_tag() {
        assert!(names("| 2 | `Hello` | client |", "Hello", 2));
        assert!(!names("| 20 | `Hello` |\n| 2 | `HelloAgain` |", "Hello", 2));
    }
}
