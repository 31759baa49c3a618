//! Golden bytes: `golden/frames.txt` has a line for each sample, `name hex`, for this and every other language.

#![expect(clippy::disallowed_methods, reason = "the golden bytes stand in a file")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::id::decode_hex;
use cloudsync_protocol::{Frame, Header, statement};

use crate::samples;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/frames.txt")
}

/// Signed and hashed structures are pinned beside the frames that carry them.
fn lines() -> Vec<(String, Vec<u8>)> {
    let frames = samples::frames().into_iter().map(|(name, frame)| (name.to_owned(), encode(&frame)));
    let [identity, enrol, revoke, rotate, rekey] = samples::changes().map(|change| change.signed().statement.to_vec());
    let others = [
        ("header", encode(&samples::header())),
        ("batch_statement", encode(&samples::batch_statement())),
        ("identity_statement", identity),
        ("enrol_statement", enrol),
        ("revoke_statement", revoke),
        ("rotate_statement", rotate),
        ("rekey_statement", rekey),
    ];
    frames.chain(others.map(|(name, bytes)| (name.to_owned(), bytes))).collect()
}

fn golden() -> Vec<(String, Vec<u8>)> {
    let text = std::fs::read_to_string(path()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').map(|(name, hex)| (name.to_owned(), decode_hex(hex).unwrap())).unwrap()).collect()
}

#[test]
#[ignore = "a tool: writes the golden file anew, only when the protocol changes on purpose"]
fn write_golden() {
    let mut text = String::from("# name hex: every frame, and every structure that is signed or hashed, as docs/wire.md describes them.\n");
    for (name, bytes) in lines() {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(text, "{name} {hex}").unwrap();
    }
    std::fs::write(path(), text).unwrap();
}

#[test]
fn every_sample_encodes_to_its_golden_bytes() {
    let golden = golden();
    for ((name, bytes), (golden_name, golden_bytes)) in lines().iter().zip(&golden) {
        assert_eq!(name, golden_name);
        assert!(bytes == golden_bytes, "{name} is encoded differently than it was");
    }
    assert_eq!(lines().len(), golden.len());
}

#[test]
fn golden_bytes_decode_to_their_samples() {
    let golden = golden();
    for ((name, frame), (_, bytes)) in samples::frames().into_iter().zip(&golden) {
        assert_eq!(decode::<Frame>(bytes).unwrap(), frame, "{name}");
    }
    let bytes_of = |name: &str| &golden.iter().find(|(other, _)| other == name).unwrap().1;
    assert_eq!(decode::<Header>(bytes_of("header")).unwrap(), samples::header());
    assert_eq!(decode::<statement::BatchStatement>(bytes_of("batch_statement")).unwrap(), samples::batch_statement());
}

#[test]
fn every_tag_has_a_sample() {
    let sampled: BTreeSet<u8> = samples::frames().iter().map(|(_, frame)| frame.tag()).collect();
    // A tag without a frame is refused as unknown, whatever its fields are.
    let is_known = |tag: u8| !decode::<Frame>(&encode(&(tag,))).unwrap_err().to_string().contains("unknown Frame tag");
    let known: BTreeSet<u8> = (0..=u8::MAX).filter(|tag| is_known(*tag)).collect();
    assert_eq!(sampled, known);
}
