//! How a payload is framed and padded before it is encrypted, so that its length tells little.
//!
//! Never: a payload that unpads to something else than what was padded: zeros and lengths are checked.

use zeroize::Zeroizing;

const HEAD_BYTES: usize = 1 + 4;
const STEP_BYTES: usize = 64;
const STEPS_UP_TO_BYTES: usize = 1024;

/// How the content is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As it is.
    Raw,
    /// One gzip member (RFC 1952).
    Gzip,
}

impl Packing {
    const fn byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Gzip => 1,
        }
    }
}

/// The padded length of `bytes` bytes: steps of 64 B up to 1 KiB, then Padmé (PURBs, Nikitin et al. 2019, section 4):
/// as many low bits are zero as leave the length's exponent and a few bits of mantissa, 12 % more at most.
#[must_use]
pub const fn padded_bytes(bytes: usize) -> usize {
    if bytes <= STEPS_UP_TO_BYTES {
        return if bytes == 0 { STEP_BYTES } else { bytes.next_multiple_of(STEP_BYTES) };
    }
    let exponent = bytes.ilog2();
    let mantissa_bits = exponent.ilog2() + 1;
    let mask = (1 << (exponent - mantissa_bits)) - 1;
    (bytes + mask) & !mask
}

/// packing u8 ‖ length u32 BE ‖ content ‖ zeros.
pub(crate) fn pad(packing: Packing, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = u32::try_from(content.len()).expect("a payload is far below 4 GiB");
    let bytes = padded_bytes(HEAD_BYTES + content.len());
    let mut padded = Zeroizing::new(Vec::with_capacity(bytes));
    padded.push(packing.byte());
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(content);
    padded.resize(bytes, 0);
    padded
}

/// How many bytes [`pad`] makes of so much content.
pub(crate) const fn padded_content_bytes(content_bytes: usize) -> usize {
    padded_bytes(HEAD_BYTES + content_bytes)
}

/// What [`pad`] padded; nothing when it is not of its making.
pub(crate) fn unpad(padded: &[u8]) -> Option<(Packing, &[u8])> {
    let (packing, rest) = padded.split_first()?;
    let packing = match packing {
        0 => Packing::Raw,
        1 => Packing::Gzip,
        _ => return None,
    };
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (content, zeros) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let whole = padded_content_bytes(content.len()) == padded.len() && zeros.iter().all(|byte| *byte == 0);
    whole.then_some((packing, content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_payloads_are_padded_to_steps_of_64_bytes() {
        let lengths = [(0, 64), (1, 64), (64, 64), (65, 128), (1000, 1024), (1024, 1024)];
        assert!(lengths.iter().all(|(bytes, padded)| padded_bytes(*bytes) == *padded));
    }

    #[test]
    fn long_payloads_are_padded_by_padme() {
        let lengths = [(1025, 1088), (2047, 2048), (2049, 2176), (10_000, 10_240), (63_489, 65_536), (1_000_000, 1_015_808)];
        for (bytes, padded) in lengths {
            assert_eq!(padded_bytes(bytes), padded, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn padding_adds_an_eighth_at_most_above_a_kibibyte(bytes in 1025_usize..2_000_000) {
            let padded = padded_bytes(bytes);
            prop_assert!(padded >= bytes && (padded - bytes) * 8 <= bytes);
            prop_assert_eq!(padded_bytes(padded), padded, "padding what is padded changes nothing");
        }

        #[test]
        fn what_is_padded_unpads(content in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let padded = pad(Packing::Raw, &content);
            prop_assert_eq!(unpad(&padded), Some((Packing::Raw, content.as_slice())));
        }

        #[test]
        fn whatever_unpads_is_what_would_be_padded_to_it(
            content in proptest::collection::vec(any::<u8>(), 0..300),
            at: prop::sample::Index,
            to: u8,
        ) {
            let mut padded = pad(Packing::Raw, &content);
            let at = at.index(padded.len());
            padded[at] = to;
            if let Some((packing, content)) = unpad(&padded) {
                prop_assert_eq!(pad(packing, content), padded);
            }
        }
    }
}
