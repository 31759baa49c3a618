//! A server that lies, before a real node and with its certificate: each of its tricks is caught by the client under a name, the
//! replica keeps what it had and the edit that waits, and with an honest server again the log goes on. What is not claimed is
//! here too, so that it is seen to be no worse than `SECURITY.md` says.
//!
//! Never: a trick that needs a key of the account's, but for those of somebody who has one.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a server lies about the frames that it names, and passes the rest on")]

use std::collections::BTreeSet;

mod accounts;
mod cursor;
mod enrolments;
mod live;
mod log;
mod revoked;
mod rotations;
mod sessions;
mod snapshot;
mod world;

/// What `SECURITY.md` says, and the tests that stand here, by their names.
const SECURITY: &str = include_str!("../../../SECURITY.md");
const HERE: [(&str, &str); 8] = [
    ("accounts", include_str!("accounts.rs")),
    ("cursor", include_str!("cursor.rs")),
    ("enrolments", include_str!("enrolments.rs")),
    ("live", include_str!("live.rs")),
    ("log", include_str!("log.rs")),
    ("rotations", include_str!("rotations.rs")),
    ("sessions", include_str!("sessions.rs")),
    ("snapshot", include_str!("snapshot.rs")),
];

#[test]
fn each_trick_is_a_row_of_the_security_page_and_each_row_names_a_test() {
    let tests = HERE.iter().flat_map(|(module, text)| {
        let tests = text.split("#[tokio::test(flavor = \"multi_thread\")]\nasync fn ").skip(1);
        tests.filter_map(move |test| Some(format!("{module}::{}", test.split_once('(')?.0)))
    });
    let tests: BTreeSet<String> = tests.collect();
    let named = SECURITY.split('`').filter(|word| HERE.iter().any(|(module, _)| word.starts_with(&format!("{module}::"))));
    assert!(tests.len() > 30, "{tests:?}");
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), tests);
}
