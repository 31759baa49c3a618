//! `docs/cli.md` names every code and every exit code of the command line, and no other.
//!
//! Never: a claim about what the page says of them; that is read by people.

#![allow(clippy::unwrap_used, reason = "what is missing from a source or the page fails the test")]

use std::collections::BTreeSet;
use std::path::Path;

use cloudsync_protocol::ErrorCode;

const PAGE: &str = include_str!("../../docs/cli.md");
const ARGUMENTS: &str = include_str!("../../client/src/bin/cloudsync/args.rs");
const FAILURES: &str = include_str!("../../client/src/bin/cloudsync/failure.rs");

/// The rows of the table that is headed by `head`, cell by cell.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let (_, rows) = PAGE.split_once(head).unwrap_or_else(|| panic!("no table {head}"));
    let rows = rows.trim_start().lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// `Damage = 6` in the source's list, as `("Damage", 6)`.
fn exits() -> Vec<(&'static str, u8)> {
    let (_, list) = FAILURES.split_once("enum Exit {").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    list.lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .map(|(name, code)| (name, code.parse().unwrap()))
        .collect()
}

/// The text of every source of the command line, each in one line.
fn sources(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &Path| std::fs::read_to_string(path).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![text(&path)] }).collect()
}

/// Every code that a failure is made with, and its exit code; one that is the server's is none of them.
fn made() -> BTreeSet<(String, u8)> {
    let exits = exits();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/src/bin/cloudsync");
    let mut made = BTreeSet::from([("usage".to_owned(), 2)]);
    for source in sources(&folder) {
        for call in source.split("::new(").skip(1) {
            let Some((exit, rest)) = call.trim_start().strip_prefix("Exit::").and_then(|call| call.split_once(", ")) else { continue };
            let (_, exit) = exits.iter().find(|(name, _)| *name == exit).unwrap_or_else(|| panic!("no exit code {exit}"));
            match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                Some((code, _)) => {
                    made.insert((code.to_owned(), *exit));
                }
                None => assert!(rest.split(',').next().unwrap().ends_with("code.name()"), "neither a name nor the server's: {rest:.40}"),
            }
        }
    }
    made
}

#[test]
fn every_code_stands_in_the_document_with_its_exit_code_and_no_other_does() {
    let mut said = BTreeSet::new();
    for row in table("| code | exit | when |") {
        let [codes, exit, _] = row[..] else { panic!("a row of three cells: {row:?}") };
        if codes == "any code of `docs/wire.md`" {
            continue;
        }
        said.extend(codes.split(", ").map(|code| (code.trim_matches('`').to_owned(), exit.parse::<u8>().unwrap())));
    }
    let made = made();
    assert!(made.len() > 40, "only {} codes were found in the source", made.len());
    let unsaid: Vec<_> = made.difference(&said).collect();
    assert!(unsaid.is_empty(), "made, and not in the document: {unsaid:?}");
    let of_the_server = |code: &str| ErrorCode::ALL.iter().any(|known| known.name() == code);
    let unmade: Vec<_> = said.difference(&made).filter(|(code, _)| !of_the_server(code)).collect();
    assert!(unmade.is_empty(), "in the document, and never made: {unmade:?}");
}

#[test]
fn every_exit_code_stands_in_the_document_and_in_the_help() {
    let said: Vec<u8> = table("| code | meaning |").iter().map(|row| row[0].parse().unwrap()).collect();
    let mut made = vec![0];
    made.extend(exits().iter().map(|(_, code)| *code));
    assert_eq!(said, made, "what the document says, and what there is");
    let (_, listed) = ARGUMENTS.split_once("Exit codes: ").unwrap();
    let (listed, _) = listed.split_once(".\";").unwrap();
    let listed: Vec<u8> = listed.split([' ', '\n', ',', '.']).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(listed, made, "what --help says, and what there is");
}
