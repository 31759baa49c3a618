//! Takes an answer out of its frame.
//!
//! Never: another frame taken for the answer that was due.

macro_rules! answer {
    ($frame:expr, $variant:ident) => {{
        let frame: cloudsync_protocol::Frame = $frame;
        let name = frame.name();
        if let cloudsync_protocol::Frame::$variant(answer) = frame {
            Ok(answer)
        } else {
            Err($crate::connection::Error::Protocol(format!(concat!("{} where ", stringify!($variant), " was due"), name)))
        }
    }};
}
pub(crate) use answer;
