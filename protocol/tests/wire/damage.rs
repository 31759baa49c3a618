//! Bytes that are not what they should be.

use cloudsync_protocol::codec::{DecodeError, decode, encode};
use cloudsync_protocol::frame::{Hello, Ping};
use cloudsync_protocol::limits::DEPTH_MAX;
use cloudsync_protocol::{ErrorCode, Failure, Frame, Hash, Header};

use crate::samples;

fn is_malformed(bytes: &[u8]) -> bool {
    matches!(decode::<Frame>(bytes), Err(DecodeError::Malformed(_)))
}

#[test]
fn a_frame_cut_at_any_byte_is_malformed() {
    for (name, frame) in samples::frames() {
        let bytes = encode(&frame);
        for length in 0..bytes.len() {
            assert!(is_malformed(&bytes[..length]), "{name} cut at {length}");
        }
    }
}

#[test]
fn bytes_after_a_frame_are_counted() {
    for (name, frame) in samples::frames() {
        let mut bytes = encode(&frame);
        bytes.extend([0xc0, 0xc0]);
        assert_eq!(decode::<Frame>(&bytes), Err(DecodeError::TrailingBytes(2)), "{name}");
    }
}

/// Appends an element to the outermost array.
fn with_one_more(mut bytes: Vec<u8>, element: &[u8]) -> Vec<u8> {
    let first = bytes[0];
    assert!((0x90..0x9f).contains(&first), "a fixarray with room");
    bytes[0] = first + 1;
    bytes.extend(element);
    bytes
}

#[test]
fn fields_that_a_newer_peer_appended_are_drained() {
    let newer: [&[u8]; 3] = [&[0x07], &[0xc4, 0x02, 0x01, 0x02], &[0x92, 0x01, 0x91, 0xa1, 0x61]];
    for (name, frame) in samples::frames() {
        for element in newer {
            assert_eq!(decode::<Frame>(&with_one_more(encode(&frame), element)).unwrap(), frame, "{name}");
        }
    }
    let header = samples::header();
    assert_eq!(decode::<Header>(&with_one_more(encode(&header), &[0xc0])).unwrap(), header);
}

#[test]
fn nested_fields_are_drained_as_well() {
    // [lagging…] has no nested arrays; a failure's `last` is one: [device_seq, hash, seq, and one more].
    let last = [&[0x94, 0x01, 0xc4, 0x20][..], &[0; 32], &[0x02, 0xc3]].concat();
    let bytes = [&[0x9b, 0x07, 0x01, 0xa4][..], b"busy", &[0xa0, 0xc0, 0x90], &last, &[0xc0, 0xc0, 0x90, 0xc0]].concat();
    let Frame::Failure(failure) = decode(&bytes).unwrap() else { panic!() };
    assert_eq!(failure.last.unwrap().hash, Hash::default());
}

#[test]
fn a_field_too_few_is_malformed() {
    for (name, frame) in samples::frames() {
        let mut bytes = encode(&frame);
        bytes[0] -= 1;
        assert!(decode::<Frame>(&bytes).is_err(), "{name}");
    }
}

#[test]
fn arrays_nest_to_their_limit_and_not_one_deeper() {
    // The frame is one; the innermost is empty, or holds what is no array.
    for innermost in [&[0x90][..], &[0x91, 0x07]] {
        let nested = |depth: usize| [vec![0x91; depth - 2], innermost.to_vec()].concat();
        let frame = Frame::from(Ping { number: 1 });
        assert_eq!(decode::<Frame>(&with_one_more(encode(&frame), &nested(DEPTH_MAX))), Ok(frame.clone()));
        assert!(is_malformed(&with_one_more(encode(&frame), &nested(DEPTH_MAX + 1))));
    }
}

#[test]
fn depth_bombs_are_refused_without_a_deep_stack() {
    let bomb = vec![0x91; 100_000];
    assert!(is_malformed(&bomb));
    for (_, frame) in samples::frames() {
        // As a field that nobody knows.
        assert!(is_malformed(&with_one_more(encode(&frame), &bomb)));
    }
    let maps = vec![0x81; 100_000];
    assert!(is_malformed(&with_one_more(encode(&Frame::from(Ping { number: 1 })), &maps)));
}

#[test]
fn unknown_tags_and_wrong_types_are_malformed() {
    for bytes in [
        &[0x91, 0x00][..],
        &[0x92, 0xcc, 200, 1],
        &[0x92, 0xff, 1],
        &[0x90],
        &[0xc0],
        &[0x05],
        &[0x81, 0x05, 0x01],
        &[0x92, 0xa1, 0x35, 1],
        &[],
    ] {
        assert!(is_malformed(bytes), "{bytes:02x?}");
    }
    let error = decode::<Frame>(&[0x92, 0xcc, 200, 1]).unwrap_err().to_string();
    assert!(error.contains("unknown Frame tag 200"), "{error}");
}

#[test]
fn lengths_that_lie_are_refused_without_allocating() {
    // A hello whose token says that it has 4 GiB; a page whose entries do; a batch's bytes.
    for lie in [&[0xdb, 0xff, 0xff, 0xff, 0xff][..], &[0xdd, 0xff, 0xff, 0xff, 0xff], &[0xc6, 0xff, 0xff, 0xff, 0xff]] {
        assert!(is_malformed(&[&[0x97, 0x02, 0x01, 0x01], lie].concat()));
        assert!(is_malformed(&[&[0x98, 37, 1, 0, 0xc4, 16][..], &[0; 16], &[0, 1, 1], lie].concat()));
        assert!(is_malformed(&[&[0x95, 42, 1, 0, 0x92][..], lie].concat()));
    }
}

#[test]
fn ids_of_another_length_are_malformed() {
    let (_, Frame::Hello(hello)) = samples::frames().remove(1) else { panic!() };
    let Hello { device, .. } = &hello;
    let bytes = encode(&Frame::from(hello.clone()));
    let at = bytes.windows(16).position(|window| window == device.as_bytes()).unwrap();
    let mut short = bytes.clone();
    short[at - 1] = 15;
    short.remove(at);
    assert!(is_malformed(&short));
}

#[test]
fn codes_of_a_newer_release_are_unrecognised_and_known_ones_keep_their_names() {
    let bytes = [&[0x9b, 0x07, 0x01, 0xab][..], b"from_future", &[0xa0, 0xc0, 0x90, 0xc0, 0xc0, 0xc0, 0x90, 0xc0]].concat();
    assert!(matches!(decode(&bytes), Ok(Frame::Failure(Failure { code: ErrorCode::Unrecognised, .. }))));
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_name(code.name()), *code);
    }
}
