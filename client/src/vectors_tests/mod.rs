//! The frozen vectors in `client/vectors/`: every byte that another implementation must make or read.
//!
//! Never: a vector changed to make a test pass. `cargo test -p cloudsync-client freeze -- --ignored` writes them anew, for
//! a new format only.

mod envelopes;
mod keyrings;
mod keys;
mod passwords;
mod statements;

use std::fmt::Write as _;
use std::path::PathBuf;

use cloudsync_protocol::id::decode_hex;
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{name}.json"))
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

fn write(name: &str, value: &Value) {
    std::fs::write(path(name), serde_json::to_string_pretty(value).unwrap() + "\n").unwrap();
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    decode_hex(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

/// `start`, `start + 1` …
fn pattern<const N: usize>(start: u8) -> [u8; N] {
    std::array::from_fn(|index| start.wrapping_add(u8::try_from(index).unwrap()))
}

/// The vectors that are made from nothing but what stands in them.
fn reproducible() -> [(&'static str, Value); 7] {
    [
        ("kdf", keys::kdf()),
        ("password", passwords::opaque()),
        ("padding", envelopes::padding()),
        ("envelope", envelopes::sealed()),
        ("statement", statements::signed()),
        ("recovery", keys::recovery()),
        ("device-name", keys::device_name()),
    ]
}

#[test]
fn every_byte_is_as_it_was_frozen() {
    for (name, made) in reproducible() {
        assert_eq!(read(name), made, "{name}.json");
    }
}

#[test]
#[ignore = "a tool: writes the vectors anew"]
fn freeze() {
    for (name, made) in reproducible() {
        write(name, &made);
    }
    write("envelope-open", &envelopes::compressed());
    write("keyring", &keyrings::sealed());
}
