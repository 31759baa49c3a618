//! The recovery code: 160 random bits as a person writes them down, types them back, and what they yield.
//!
//! Never: a code stored. It is shown once, and typed back when everything else is lost.

use std::fmt;

use cloudsync_protocol::Hash;

use super::device::{AgreementPair, SigningPair};
use super::secret::{Secret, derive};

/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_SYMBOLS: usize = 32;
const CHECK_SYMBOLS: usize = 4;
const GROUP_SYMBOLS: usize = 4;
const CHECK_CONTEXT: &[u8] = b"cs1/rc-check";

/// Why a text is not a recovery code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Letters or digits are missing, or too many.
    #[error("a recovery code has {symbols_wanted} letters and digits, this has {symbols}")]
    Length { symbols: usize, symbols_wanted: usize },
    /// A character that no code has.
    #[error("character {position} can't stand in a recovery code")]
    Character { position: usize },
    /// Letters or digits are mistaken or swapped.
    #[error("the recovery code has a typing mistake: its check does not fit")]
    Check,
}

/// 160 bits that stand in for the password when it is lost.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCode(Secret<20>);

impl RecoveryCode {
    /// A fresh one.
    #[must_use]
    pub fn random() -> Self {
        Self(Secret::random())
    }

    /// From its 20 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Nine groups of four: 32 symbols of code, 4 of check.
    ///
    /// Not `Display`, so that it is never printed by accident.
    #[must_use]
    pub fn to_text(&self) -> String {
        let symbols: Vec<u8> = symbols(self.0.expose()).into_iter().chain(self.check()).collect();
        let groups: Vec<String> = symbols.chunks(GROUP_SYMBOLS).map(|group| group.iter().copied().map(char::from).collect()).collect();
        groups.join("-")
    }

    /// Reads what a person typed: spaces and dashes anywhere or nowhere, either case, O for 0, I and L for 1.
    pub fn from_text(text: &str) -> Result<Self, CodeError> {
        let mut values = Vec::with_capacity(CODE_SYMBOLS + CHECK_SYMBOLS);
        for (index, symbol) in text.chars().enumerate() {
            if symbol.is_whitespace() || matches!(symbol, '-' | '–' | '—' | '_' | '.') {
                continue;
            }
            values.push(value_of(symbol).ok_or(CodeError::Character { position: index + 1 })?);
        }
        if values.len() != CODE_SYMBOLS + CHECK_SYMBOLS {
            return Err(CodeError::Length { symbols: values.len(), symbols_wanted: CODE_SYMBOLS + CHECK_SYMBOLS });
        }
        let (code, check) = values.split_at(CODE_SYMBOLS);
        let mut bytes = [0; 20];
        for (five, eight) in bytes.chunks_mut(5).zip(code.chunks(8)) {
            let bits = eight.iter().fold(0_u64, |bits, value| bits << 5 | u64::from(*value));
            five.copy_from_slice(bits.to_be_bytes().get(3..).expect("eight bytes have five last ones"));
        }
        let code = Self(Secret::new(bytes));
        let typed: Vec<u8> = check.iter().filter_map(|value| ALPHABET.get(usize::from(*value)).copied()).collect();
        if typed == code.check() { Ok(code) } else { Err(CodeError::Check) }
    }

    /// The pair whose public half stands in the keyring.
    #[must_use]
    pub fn pair(&self) -> AgreementPair {
        AgreementPair::from_secret(&derive(self.0.expose(), &[b"cs1/rc"]))
    }

    /// Signs the server's challenge to recover; the server keeps its public half.
    #[must_use]
    pub fn signing(&self) -> SigningPair {
        SigningPair::from_seed(&derive(self.0.expose(), &[b"cs1/rc-sign"]))
    }

    pub(crate) fn material(&self) -> &[u8] {
        self.0.expose()
    }

    /// The first 20 bits of SHA-256("cs1/rc-check" ‖ code).
    fn check(&self) -> Vec<u8> {
        let hash = Hash::of(&[CHECK_CONTEXT, self.0.expose()]);
        symbols(hash.as_bytes()).into_iter().take(CHECK_SYMBOLS).collect()
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(…)")
    }
}

/// Five bits a symbol, most significant first; whole groups of five bytes.
fn symbols(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks_exact(5)
        .flat_map(|five| {
            let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            (0..8).rev().map(move |place| bits >> (place * 5) & 31)
        })
        .filter_map(|value| usize::try_from(value).ok().and_then(|value| ALPHABET.get(value)).copied())
        .collect()
}

fn value_of(symbol: char) -> Option<u8> {
    let symbol = match symbol.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|known| char::from(*known) == symbol).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code() -> RecoveryCode {
        RecoveryCode::from_bytes(std::array::from_fn(|index| u8::try_from(index * 13 % 256).unwrap()))
    }

    #[test]
    fn a_code_is_nine_groups_of_four() {
        let text = code().to_text();
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [4; 9]);
    }

    #[test]
    fn a_code_typed_sloppily_is_understood() {
        let text = code().to_text();
        let sloppy = format!("  {} ", text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l"));
        assert_eq!(RecoveryCode::from_text(&sloppy), Ok(code()));
        assert_eq!(RecoveryCode::from_text(&text.replace('-', "")), Ok(code()));
    }

    #[test]
    fn a_mistyped_symbol_is_noticed() {
        let text = code().to_text();
        let other = if text.starts_with('7') { '8' } else { '7' };
        let wrong: String = std::iter::once(other).chain(text.chars().skip(1)).collect();
        assert_eq!(RecoveryCode::from_text(&wrong), Err(CodeError::Check));
    }

    #[test]
    fn a_short_code_and_a_foreign_character_are_named() {
        assert_eq!(RecoveryCode::from_text("ABCD"), Err(CodeError::Length { symbols: 4, symbols_wanted: 36 }));
        assert_eq!(RecoveryCode::from_text("AB!D"), Err(CodeError::Character { position: 3 }));
    }

    #[test]
    fn a_code_does_not_print_itself() {
        assert_eq!(format!("{:?}", code()), "RecoveryCode(…)");
    }

    proptest! {
        #[test]
        fn every_code_reads_back(bytes: [u8; 20]) {
            let code = RecoveryCode::from_bytes(bytes);
            prop_assert_eq!(RecoveryCode::from_text(&code.to_text()), Ok(code));
        }
    }
}
