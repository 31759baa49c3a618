//! The corpus, replayed: every input that fuzzing started from, and every one that found something once.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;

use cloudsync_fuzz::{TARGETS, seeds};

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn files(target: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_the_corpus_holds_its_target_s_properties() {
    for target in TARGETS {
        let broken = |file: &PathBuf| {
            let bytes = std::fs::read(file).unwrap();
            std::panic::catch_unwind(|| (target.check)(&bytes)).is_err()
        };
        let broken: Vec<PathBuf> = files(target.name).into_iter().filter(broken).collect();
        assert!(broken.is_empty(), "{}: {broken:?}; the panics are above", target.name);
    }
}

#[test]
fn every_input_cut_anywhere_holds_them_too() {
    for target in TARGETS {
        for file in files(target.name) {
            let bytes = std::fs::read(&file).unwrap();
            let step = bytes.len().div_ceil(20).max(1);
            for length in (0..bytes.len()).step_by(step) {
                (target.check)(&bytes[..length]);
            }
        }
    }
}

#[test]
fn every_seed_as_it_is_made_today_holds_them_and_is_in_the_corpus() {
    for target in TARGETS {
        let seeds: Vec<_> = seeds::all().into_iter().filter(|(of, ..)| *of == target.name).collect();
        assert!(!seeds.is_empty(), "{} begins with nothing", target.name);
        for (_, name, bytes) in seeds {
            (target.check)(&bytes);
            let there = folder(target.name).join(&name).is_file();
            assert!(there, "{}/{name} is missing: cargo test -p cloudsync-fuzz write_seeds -- --ignored", target.name);
        }
    }
}

#[test]
#[ignore = "a tool: writes the seeds anew"]
fn write_seeds() {
    for (target, name, bytes) in seeds::all() {
        std::fs::create_dir_all(folder(target)).unwrap();
        std::fs::write(folder(target).join(name), bytes).unwrap();
    }
}

#[test]
fn every_target_has_a_binary_for_the_fuzzer() {
    let manifest = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("targets/Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} has none", target.name);
    }
}
