//! Tokens of a device, as a profile keeps them.
//!
//! Never: a token in `Debug`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloudsync_protocol::{FamilyId, frame};
use serde::{Deserialize, Serialize};

/// An access token and the refresh token that gives the next one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// JWT: opens sessions.
    pub access_token: String,
    /// Until when, in milliseconds since the epoch, by the server's clock.
    pub access_expires_ts: u64,
    /// Opaque; used once.
    pub refresh_token: String,
    /// Until when, in milliseconds since the epoch, by the server's clock.
    pub refresh_expires_ts: u64,
}

impl Tokens {
    /// The log-in that the refresh token is of, and its number there, from 1: a profile that several processes write
    /// keeps the higher one. Nothing when the token is not of the shape that this release knows.
    #[must_use]
    pub fn place(&self) -> Option<(FamilyId, u64)> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.refresh_token).ok()?;
        let (family, rest) = bytes.split_first_chunk::<{ FamilyId::LENGTH }>()?;
        let (number, _) = rest.split_first_chunk::<8>()?;
        Some((FamilyId(*family), u64::from_be_bytes(*number)))
    }

    /// Whether these replace `other` in a profile: of the same log-in the higher number does, another log-in always does.
    #[must_use]
    pub fn replace(&self, other: &Self) -> bool {
        match (self.place(), other.place()) {
            (Some((family, number)), Some((other_family, other_number))) if family == other_family => number > other_number,
            _ => true,
        }
    }
}

impl From<frame::Tokens> for Tokens {
    fn from(tokens: frame::Tokens) -> Self {
        let frame::Tokens { request: _, access_token, access_expires_ts, refresh_token, refresh_expires_ts } = tokens;
        Self { access_token, access_expires_ts, refresh_token, refresh_expires_ts }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (access, refresh) = (self.access_expires_ts, self.refresh_expires_ts);
        write!(f, "Tokens {{ access_expires_ts: {access}, refresh_expires_ts: {refresh}, .. }}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(family: u8, number: u64) -> Tokens {
        let refresh_token = URL_SAFE_NO_PAD.encode([&[family; 16], number.to_be_bytes().as_slice(), &[0; 32]].concat());
        Tokens { access_token: "very-secret".to_owned(), access_expires_ts: 1, refresh_token, refresh_expires_ts: 2 }
    }

    #[test]
    fn the_higher_number_of_one_log_in_wins_and_another_log_in_always() {
        assert_eq!(tokens(1, 7).place(), Some((FamilyId([1; 16]), 7)));
        assert!(tokens(1, 8).replace(&tokens(1, 7)));
        assert!(!tokens(1, 7).replace(&tokens(1, 7)) && !tokens(1, 6).replace(&tokens(1, 7)));
        assert!(tokens(2, 1).replace(&tokens(1, 7)));
    }

    #[test]
    fn debug_shows_no_token() {
        let tokens = tokens(1, 7);
        let text = format!("{tokens:?}");
        assert!(!text.contains("very-secret") && !text.contains(&tokens.refresh_token));
    }
}
