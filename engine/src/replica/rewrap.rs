//! Newer wraps of what is held, as other devices make them after a rotation.
//!
//! Never: a wrap taken that does not open, or a version moved by one.

use cloudsync_protocol::Envelope;
use cloudsync_protocol::entry::{Rewrap, RewrapItem};
use cloudsync_protocol::envelope::key_epoch;

use super::{Content, Opener, Record, Replica, Tables, TablesError};

impl<T: Tables> Replica<'_, T> {
    /// Takes each wrap whose row is held, that is of a later account key and opens. Says how many of them do not open: nobody stops
    /// at those, since the old wrap is there.
    pub(super) fn take_wraps(&mut self, rewrap: &Rewrap, opener: &impl Opener) -> Result<u64, TablesError> {
        let mut bad = 0;
        for RewrapItem { seq, row, wrap } in rewrap.items() {
            let Some(held) = self.tables.record_at(seq)?.filter(|held| held.hash.short() == row) else { continue };
            if held.envelope.key_epoch() >= key_epoch(&wrap) {
                continue;
            }
            let envelope = Envelope { wrap, ..held.envelope.clone() };
            match envelope.check().ok().and_then(|header| opener.open(&header, &envelope).ok()) {
                Some(opened) => {
                    // Another wrap says the same, unless what was there said nothing.
                    let content = if held.content == Content::Damaged { opened } else { held.content.clone() };
                    self.tables.put_record(&Record { envelope, content, ..held })?;
                }
                None => bad += 1,
            }
        }
        Ok(bad)
    }
}
