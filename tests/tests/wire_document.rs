//! `docs/wire.md` names every frame and every error code that the code has.
//!
//! Never: a claim about what the page says of them; that is read by people.

use cloudsync_protocol::ErrorCode;

const PAGE: &str = include_str!("../../docs/wire.md");
const FRAMES: &str = include_str!("../../protocol/src/frame/mod.rs");

/// `GoingAway` as `going_away`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[test]
fn every_frame_stands_in_the_document_with_its_tag() {
    let mut frames = 0;
    for line in FRAMES.lines() {
        let Some((name, tag)) = line.trim().strip_suffix(',').and_then(|line| line.split_once(") = ")) else { continue };
        let (name, _) = name.split_once('(').unwrap();
        let row = format!("| {tag} | {} |", snake(name));
        assert!(PAGE.contains(&row), "no row {row}");
        frames += 1;
    }
    assert!(frames >= 40, "only {frames} frames were found in the source");
}

#[test]
fn every_error_code_stands_in_the_document() {
    for code in ErrorCode::ALL {
        assert!(PAGE.contains(&format!("| `{}` |", code.name())), "no row for {code}");
    }
}
