//! [`Canary`]: something that the server must never have in plain, and the forms in which it would be noticed.
//!
//! Never: a form that needs a key. What is sealed is not found, and that is the point.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What is read of a process's memory at once.
const MEMORY_CHUNK_BYTES: usize = 64 << 10;

/// A secret under the name by which a finding speaks of it.
#[derive(Debug, Clone)]
pub struct Canary {
    name: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

/// Where one was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Which.
    pub canary: String,
    /// Written how.
    pub form: &'static str,
    /// In which file or stream.
    pub place: String,
}

impl Canary {
    /// A text: in UTF-8 and UTF-16, and its bytes in every form of [`bytes`](Self::bytes).
    #[must_use]
    pub fn text(name: &str, text: &str) -> Self {
        let mut canary = Self::bytes(name, text.as_bytes());
        canary.forms.push(("utf-16le", text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        canary.forms.push(("utf-16be", text.encode_utf16().flat_map(u16::to_be_bytes).collect()));
        canary
    }

    /// Bytes: as they are, in hexadecimal, in base64 wherever they begin in what was encoded, and as Rust's `Debug` lists them.
    #[must_use]
    pub fn bytes(name: &str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<String> = bytes.iter().map(ToString::to_string).collect();
        let mut forms = vec![
            ("as it is", bytes.to_vec()),
            ("hex", hex.clone().into_bytes()),
            ("HEX", hex.to_uppercase().into_bytes()),
            ("a list of numbers", list.join(", ").into_bytes()),
        ];
        for before in 0..3 {
            for (form, alphabet) in [("base64", &STANDARD_NO_PAD), ("base64url", &URL_SAFE_NO_PAD)] {
                forms.push((form, inner_base64(bytes, before, |whole| alphabet.encode(whole))));
            }
        }
        Self { name: name.to_owned(), forms }
    }

    /// By what a finding speaks of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every form of it.
    pub fn forms(&self) -> impl Iterator<Item = &[u8]> {
        self.forms.iter().map(|(_, bytes)| bytes.as_slice())
    }
}

/// The letters that say nothing of what stands before or after `bytes`, which begin `before` bytes into a group of three.
fn inner_base64(bytes: &[u8], before: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let whole = encode(&[&vec![0; before], bytes].concat()).into_bytes();
    let from = if before == 0 { 0 } else { before + 1 };
    let to = whole.len() - usize::from(!(before + bytes.len()).is_multiple_of(3));
    whole.get(from..to).unwrap_or_default().to_vec()
}

/// Looks for all of them at once, in one pass.
#[derive(Debug)]
pub struct Search<'a> {
    needles: Vec<(&'a Canary, &'static str, &'a [u8])>,
    /// Which of them begin with two bytes, by these.
    by_start: Vec<Vec<usize>>,
    longest: usize,
}

impl<'a> Search<'a> {
    /// For every form of them.
    #[must_use]
    pub fn of(canaries: &'a [Canary]) -> Self {
        let forms = |canary: &'a Canary| canary.forms.iter().map(move |(form, bytes)| (canary, *form, bytes.as_slice()));
        let needles: Vec<_> = canaries.iter().flat_map(forms).collect();
        let mut by_start = vec![Vec::new(); 1 << 16];
        for (number, (canary, form, needle)) in needles.iter().enumerate() {
            let [one, two, ..] = needle else { panic!("{}, {form}, is too short to be looked for", canary.name) };
            if let Some(numbers) = by_start.get_mut(usize::from(u16::from_be_bytes([*one, *two]))) {
                numbers.push(number);
            }
        }
        let longest = needles.iter().map(|(.., needle)| needle.len()).max().unwrap_or_default();
        Self { needles, by_start, longest }
    }

    /// What stands in `bytes`, each form of each canary once.
    #[must_use]
    pub fn within(&self, place: &str, bytes: &[u8]) -> BTreeSet<Found> {
        let mut found = BTreeSet::new();
        for (at, pair) in bytes.windows(2).enumerate() {
            let [one, two] = pair else { continue };
            let Some(numbers) = self.by_start.get(usize::from(u16::from_be_bytes([*one, *two]))) else { continue };
            for (canary, form, needle) in numbers.iter().filter_map(|number| self.needles.get(*number)) {
                if bytes.get(at..).is_some_and(|rest| rest.starts_with(needle)) {
                    found.insert(Found { canary: canary.name.clone(), form, place: place.to_owned() });
                }
            }
        }
        found
    }

    /// What stands in the files under `folder`.
    pub fn within_folder(&self, folder: &Path) -> anyhow::Result<BTreeSet<Found>> {
        let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
                found.append(&mut self.within(&path.display().to_string(), &bytes));
            }
        }
        Ok(found)
    }

    /// What stands in the memory of a process that goes on meanwhile: whatever is mapped and may be read. Linux, by root or the
    /// process's parent.
    pub fn within_memory(&self, pid: u32) -> anyhow::Result<BTreeSet<Found>> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let (mut found, mut read_bytes) = (BTreeSet::new(), 0);
        for map in maps.lines() {
            let mut words = map.split_ascii_whitespace();
            let (Some(range), Some(rights)) = (words.next(), words.next()) else { bail!("not a map: {map}") };
            // What the kernel lends to every process is no memory of it, and can't be read so.
            let is_lent = ["[vvar", "[vsyscall"].iter().any(|lent| map.contains(lent));
            if !rights.starts_with('r') || is_lent {
                continue;
            }
            let (from, to) = range.split_once('-').with_context(|| map.to_owned())?;
            let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
            for chunk in (from..to).step_by(MEMORY_CHUNK_BYTES) {
                // One that begins before the end of a chunk is found in that one.
                let end = (chunk + MEMORY_CHUNK_BYTES as u64 + self.longest as u64).min(to);
                let mut bytes = vec![0; usize::try_from(end - chunk)?];
                // What was unmapped meanwhile is no memory any more.
                let Ok(read) = memory.read_at(&mut bytes, chunk) else { continue };
                bytes.truncate(read);
                read_bytes += read;
                if bytes.iter().any(|byte| *byte != 0) {
                    found.append(&mut self.within(&format!("memory at {chunk:x}, {map}"), &bytes));
                }
            }
        }
        ensure!(read_bytes > 0, "nothing of process {pid} could be read");
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_wherever_it_begins() {
        let canaries = [Canary::text("another", "something else"), Canary::text("word", "canary-7f3a")];
        let search = Search::of(&canaries);
        let forms = |written: &[u8]| -> Vec<&str> { search.within("here", written).into_iter().map(|found| found.form).collect() };
        for before in 0..7 {
            let text = ["x".repeat(before).as_str(), "canary-7f3a and more"].concat();
            let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
            let utf_16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
            assert_eq!(forms(text.as_bytes()), ["as it is"], "{before}");
            // With what follows one order of bytes says the other, too.
            assert_eq!(forms(&utf_16(u16::to_be_bytes)), ["utf-16be", "utf-16le"]);
            assert!(forms(&utf_16(u16::to_le_bytes)).contains(&"utf-16le"));
            assert_eq!((forms(hex.as_bytes()), forms(hex.to_lowercase().as_bytes())), (vec!["HEX"], vec!["hex"]));
            for written in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                assert!(!forms(written.as_bytes()).is_empty(), "{before}: {written}");
            }
            assert_eq!(forms(format!("{:?}", text.as_bytes()).as_bytes()), ["a list of numbers"]);
        }
        assert_eq!(forms(b"canary-7f3 and canary-7f3b"), [""; 0]);
    }

    #[test]
    fn what_a_process_holds_is_found_in_its_memory_and_what_it_does_not_is_not() {
        let held = format!("held-{:032x}", rand::random::<u128>());
        let canaries = [Canary::bytes("held", held.as_bytes())];
        let search = Search::of(&canaries);
        // All its forms are in memory, for the search itself.
        assert!(search.within_memory(std::process::id()).unwrap().len() > 4, "{held}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = search.within_memory(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.unwrap(), BTreeSet::new());
    }
}
