//! Addresses as accounts are found by: checked and in lower case.
//!
//! Never: proof that an address exists; only a mail can show that.

use cloudsync_protocol::limits::EMAIL_BYTES_MAX;

/// Why a text is not taken for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EmailError {
    #[error("an e-mail address of {bytes} bytes, allowed are {EMAIL_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("an e-mail address has one @, with a name before it and a domain after it")]
    NoNameOrDomain,
    #[error("an e-mail address is of printable ASCII without spaces")]
    CharacterRefused,
}

/// Checks the form and gives the address in lower case. Addresses beyond ASCII are refused: one that can be written in
/// two normal forms would be two accounts.
pub(crate) fn normalise(text: &str) -> Result<String, EmailError> {
    if text.len() > EMAIL_BYTES_MAX {
        return Err(EmailError::TooLong { bytes: text.len() });
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(EmailError::CharacterRefused);
    }
    match text.split_once('@') {
        Some((name, domain)) if !name.is_empty() && !domain.is_empty() && !domain.contains('@') => Ok(text.to_ascii_lowercase()),
        Some(_) | None => Err(EmailError::NoNameOrDomain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lowered_so_that_its_writing_does_not_matter() {
        assert_eq!(normalise("Ada@Example.COM").unwrap(), "ada@example.com");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "@", "ada", "ada@", "@example.com", "a@b@c"] {
            assert_eq!(normalise(text), Err(EmailError::NoNameOrDomain), "{text}");
        }
        for text in ["ada @example.com", "ada@example.com\n", "\u{e1}da@example.com", "ada\0@example.com"] {
            assert_eq!(normalise(text), Err(EmailError::CharacterRefused), "{text:?}");
        }
    }

    #[test]
    fn an_address_may_be_as_long_as_the_limit_and_no_longer() {
        let at = format!("{}@example.com", "a".repeat(EMAIL_BYTES_MAX - "@example.com".len()));
        assert_eq!(normalise(&at).unwrap().len(), EMAIL_BYTES_MAX);
        assert_eq!(normalise(&format!("a{at}")), Err(EmailError::TooLong { bytes: EMAIL_BYTES_MAX + 1 }));
    }
}
