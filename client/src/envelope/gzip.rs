//! Compression of payloads, before encryption.
//!
//! Never: more than `PAYLOAD_BYTES_MAX` out of whatever comes in.

use std::io::{Read as _, Write as _};

use cloudsync_protocol::limits::PAYLOAD_BYTES_MAX;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use zeroize::Zeroizing;

/// Shorter content is not worth it.
pub(crate) const COMPRESS_ABOVE_BYTES: usize = 1024;

/// The gzip of content over 1 KiB, when it is smaller.
pub(crate) fn compress(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if content.len() <= COMPRESS_ABOVE_BYTES {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len()), Compression::default());
    encoder.write_all(content).expect("writing to memory can't fail");
    let packed = Zeroizing::new(encoder.finish().expect("writing to memory can't fail"));
    (packed.len() < content.len()).then_some(packed)
}

/// Why something does not decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecompressError {
    /// Not one whole gzip member.
    Malformed,
    /// It would be longer than `PAYLOAD_BYTES_MAX`.
    TooLong,
}

/// One gzip member that fills `packed` exactly.
pub(crate) fn decompress(packed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecompressError> {
    let mut content = Zeroizing::new(Vec::with_capacity(packed.len().saturating_mul(4).min(PAYLOAD_BYTES_MAX + 1)));
    let mut decoder = GzDecoder::new(packed);
    let limit = PAYLOAD_BYTES_MAX as u64 + 1;
    (&mut decoder).take(limit).read_to_end(&mut content).map_err(|_| DecompressError::Malformed)?;
    if content.len() > PAYLOAD_BYTES_MAX {
        return Err(DecompressError::TooLong);
    }
    if decoder.into_inner().is_empty() { Ok(content) } else { Err(DecompressError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_over_a_kibibyte_that_shrinks_is_compressed() {
        assert!(compress(&[7; COMPRESS_ABOVE_BYTES]).is_none());
        let packed = compress(&[7; COMPRESS_ABOVE_BYTES + 1]).unwrap();
        assert_eq!(decompress(&packed).unwrap().as_slice(), [7; COMPRESS_ABOVE_BYTES + 1]);
        let noise: Vec<u8> = (0..4).flat_map(|_| crate::keys::secret::random::<512>()).collect();
        assert!(compress(&noise).is_none());
    }

    #[test]
    fn decompression_stops_at_the_limit() {
        let at_limit = compress(&vec![0; PAYLOAD_BYTES_MAX]).unwrap();
        assert_eq!(decompress(&at_limit).unwrap().len(), PAYLOAD_BYTES_MAX);
        let past = compress(&vec![0; PAYLOAD_BYTES_MAX + 1]).unwrap();
        assert_eq!(decompress(&past).unwrap_err(), DecompressError::TooLong);
    }

    #[test]
    fn truncated_or_lengthened_gzip_is_refused() {
        let packed = compress(&[7; 5000]).unwrap();
        assert_eq!(decompress(&packed[..packed.len() - 1]).unwrap_err(), DecompressError::Malformed);
        assert_eq!(decompress(&[packed.as_slice(), &[0]].concat()).unwrap_err(), DecompressError::Malformed);
        assert_eq!(decompress(b"not gzip").unwrap_err(), DecompressError::Malformed);
    }
}
