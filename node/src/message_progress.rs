//! How far a WebSocket message has come in, by the heads of its frames (RFC 6455, 5.2).
//!
//! Never: judging the bytes, or keeping more than a head of them; what is not WebSocket is refused behind.

/// A frame whose head is whole.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Payload that is still due.
    due: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A message, or its last fragment.
    Last,
    /// A fragment that others follow.
    Fragment,
    /// A ping, a pong or a close; it may stand between fragments.
    Control,
}

/// Where in its messages a stream is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    head: Vec<u8>,
    part: Option<Part>,
    /// The last fragment of a message is still due.
    fragmented: bool,
}

/// What some bytes brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Came {
    /// A message became whole; what is counted came after the last one.
    pub(crate) whole: bool,
    /// Payload of messages: heads, and pings between fragments, bring none nearer to its end.
    pub(crate) bytes: usize,
}

impl Progress {
    /// Takes note of bytes that came in.
    pub(crate) fn add(&mut self, mut bytes: &[u8]) -> Came {
        let mut came = Came::default();
        while let Some((first, rest)) = bytes.split_first() {
            if let Some(part) = &mut self.part {
                let taken = bytes.len().min(usize::try_from(part.due).unwrap_or(usize::MAX));
                part.due -= taken as u64;
                came.bytes += if part.kind == Kind::Control { 0 } else { taken };
                bytes = bytes.get(taken..).unwrap_or_default();
            } else {
                self.head.push(*first);
                self.part = read_head(&self.head);
                bytes = rest;
            }
            if let Some(Part { due: 0, kind }) = self.part {
                self.end(kind, &mut came);
            }
        }
        came
    }

    /// Whether a message, or a frame of any kind, has begun and is not whole.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.fragmented || self.part.is_some() || !self.head.is_empty()
    }

    fn end(&mut self, kind: Kind, came: &mut Came) {
        self.head.clear();
        self.part = None;
        match kind {
            Kind::Last => self.fragmented = false,
            Kind::Fragment => self.fragmented = true,
            Kind::Control => {}
        }
        if !self.fragmented {
            *came = Came { whole: true, bytes: 0 };
        }
    }
}

/// The frame that a head announces, once the head is whole.
fn read_head(head: &[u8]) -> Option<Part> {
    let [first, second, rest @ ..] = head else { return None };
    let length_bytes = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    if rest.len() < length_bytes + mask_bytes {
        return None;
    }
    let due = match rest.get(..length_bytes)? {
        [] => u64::from(second & 0x7f),
        length => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    let (is_last, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
    let kind = match (is_control, is_last) {
        (true, _) => Kind::Control,
        (false, true) => Kind::Last,
        (false, false) => Kind::Fragment,
    };
    Some(Part { due, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame of `length` bytes.
    fn frame(first: u8, length: u16) -> Vec<u8> {
        let head = match length {
            0..126 => vec![first, 0x80 | u8::try_from(length).unwrap()],
            126.. => [vec![first, 0x80 | 126], length.to_be_bytes().to_vec()].concat(),
        };
        [head, vec![1, 2, 3, 4], vec![7; usize::from(length)]].concat()
    }

    /// The same bytes at once, and one by one.
    fn both_ways(bytes: &[u8]) -> (bool, Came) {
        let (mut at_once, mut one_by_one) = (Progress::default(), Progress::default());
        let all = at_once.add(bytes);
        let mut sum = Came::default();
        for byte in bytes {
            let came = one_by_one.add(&[*byte]);
            sum = if came.whole { came } else { Came { bytes: sum.bytes + came.bytes, ..sum } };
        }
        assert_eq!((at_once.is_under_way(), all), (one_by_one.is_under_way(), sum));
        (at_once.is_under_way(), all)
    }

    const WHOLE: (bool, Came) = (false, Came { whole: true, bytes: 0 });

    #[test]
    fn a_whole_message_leaves_nothing_under_way_whatever_its_length() {
        for length in [0, 1, 125, 126, 70, 4000] {
            assert_eq!(both_ways(&frame(0x82, length)), WHOLE, "{length}");
        }
    }

    #[test]
    fn what_follows_a_whole_message_is_under_way_and_counted_from_there() {
        let mut bytes = frame(0x82, 300);
        bytes.extend(frame(0x82, 200));
        assert_eq!(both_ways(&bytes), WHOLE);
        bytes.extend(&frame(0x82, 200)[..8 + 50]);
        assert_eq!(both_ways(&bytes), (true, Came { whole: true, bytes: 50 }));
        assert_eq!(both_ways(&[frame(0x82, 3), vec![0x82]].concat()), (true, Came { whole: true, bytes: 0 }), "half a head");
    }

    #[test]
    fn a_message_of_fragments_is_under_way_until_its_last_one_and_pings_between_count_nothing() {
        let (first, last, ping) = (frame(0x02, 10), frame(0x80, 5), frame(0x89, 20));
        assert_eq!(both_ways(&first), (true, Came { whole: false, bytes: 10 }));
        assert_eq!(both_ways(&[first.clone(), ping.clone()].concat()), (true, Came { whole: false, bytes: 10 }));
        assert_eq!(both_ways(&[first, ping.clone(), last].concat()), WHOLE);
        assert_eq!(both_ways(&ping), WHOLE);
        assert_eq!(both_ways(&ping[..3]), (true, Came::default()));
    }
}
