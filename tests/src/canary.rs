//! [`Canary`]: something that the server must never have in plain, and the forms in which it would be noticed.
//!
//! Never: a form that needs a key. What is sealed is not found, and that is the point.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

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

    /// Every form of it.
    pub fn forms(&self) -> impl Iterator<Item = &[u8]> {
        self.forms.iter().map(|(_, bytes)| bytes.as_slice())
    }

    /// The forms of it that stand in `bytes`.
    #[must_use]
    pub fn found_in(&self, place: &str, bytes: &[u8]) -> Vec<Found> {
        let stands = |form: &[u8]| memchr::memmem::find(bytes, form).is_some();
        let found = self.forms.iter().filter(|(_, form)| stands(form));
        found.map(|(form, _)| Found { canary: self.name.clone(), form, place: place.to_owned() }).collect()
    }
}

/// The letters that say nothing of what stands before or after `bytes`, which begin `before` bytes into a group of three.
fn inner_base64(bytes: &[u8], before: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let whole = encode(&[&vec![0; before], bytes].concat()).into_bytes();
    let from = if before == 0 { 0 } else { before + 1 };
    let to = whole.len() - usize::from(!(before + bytes.len()).is_multiple_of(3));
    whole.get(from..to).unwrap_or_default().to_vec()
}

/// Looks for all of them in every file under `folder`.
pub fn search_folder(folder: &Path, canaries: &[Canary]) -> anyhow::Result<Vec<Found>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let place = path.display().to_string();
            found.extend(canaries.iter().flat_map(|canary| canary.found_in(&place, &bytes)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_wherever_it_begins() {
        let canary = Canary::text("word", "canary-7f3a");
        for before in 0..7 {
            let text = ["x".repeat(before).as_str(), "canary-7f3a and more"].concat();
            let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
            let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            for written in [text.clone().into_bytes(), utf_16, hex.clone().into_bytes(), hex.to_lowercase().into_bytes()] {
                assert_eq!(canary.found_in("here", &written).len(), 1, "{before}");
            }
            for written in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                assert!(!canary.found_in("here", written.as_bytes()).is_empty(), "{before}: {written}");
            }
            let listed = format!("{:?}", text.as_bytes());
            assert_eq!(
                canary.found_in("here", listed.as_bytes()),
                [Found { canary: "word".to_owned(), form: "a list of numbers", place: "here".to_owned() }]
            );
        }
        assert_eq!(canary.found_in("here", b"canary-7f3 and canary-7f3b"), []);
    }
}
