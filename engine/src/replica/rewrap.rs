//! Wraps made anew after a rotation: by this device, of what it holds and of what it has signed, and as other devices make them.
//!
//! Never: a wrap taken that does not open, or a version moved by one.

use bytes::Bytes;
use cloudsync_protocol::entry::{Operation, Rewrap, RewrapItem};
use cloudsync_protocol::envelope::key_epoch;
use cloudsync_protocol::limits::REWRAP_ITEMS_MAX;
use cloudsync_protocol::{DeviceSeq, Envelope, ErrorCode, Hash, Seq};

use super::settle::Verdict;
use super::{
    AnswerError, BatchState, Content, Made, Next, Opener, OutboxBatch, OutgoingError, Record, Replica, Sealer, Tables, TablesError, Wrapped,
};

/// A wrap's bytes after its account key's epoch.
const EPOCH_BYTES: usize = 8;

impl<T: Tables> Replica<'_, T> {
    /// The batch of new wraps to push now: of records that are wrapped under an earlier account key. Nothing while something else is
    /// to be sent, or when there are none.
    pub fn outgoing_rewrap(&mut self, sealer: &impl Sealer) -> Result<Option<OutboxBatch>, OutgoingError> {
        let (roster, epoch) = (self.roster()?, sealer.sealing_epoch());
        if roster.keyring().epoch != epoch || self.open_batch()?.is_some() || !self.may_send(&roster)? {
            return Ok(None);
        }
        let mut items = Vec::new();
        for wrapped in self.tables.wrapped_below(epoch, REWRAP_ITEMS_MAX)? {
            let Some(wrap) = sealer.rewrap(&wrapped) else { continue };
            let wrap = wrap.get(EPOCH_BYTES..).unwrap_or_default();
            items.extend([&wrapped.seq.0.to_be_bytes()[..], wrapped.hash.short().as_bytes(), wrap].concat());
        }
        if items.is_empty() {
            return Ok(None);
        }
        let operation = Operation::Rewrap(Rewrap { epoch, items: items.into() });
        self.sign_next(sealer, vec![Made { operation, content: Content::Deleted }]).map(Some)
    }

    /// Whether records are wrapped under an account key before the one that the log has come to.
    pub fn is_to_rewrap(&self) -> Result<bool, TablesError> {
        Ok(!self.tables.wrapped_below(self.roster()?.keyring().epoch, 1)?.is_empty())
    }

    /// Whether a signed batch is not answered.
    pub fn is_open(&self) -> Result<bool, TablesError> {
        Ok(self.open_batch()?.is_some())
    }

    /// After `key_epoch_old`, once the log was read to its head and its keys fetched: the same batch with newer wraps. It will never be
    /// taken as it is, so that where no such wrap can be made its edits go into another.
    pub fn wrap_anew(&mut self, (device_seq, hash): (DeviceSeq, Hash), sealer: &impl Sealer) -> Result<Next, AnswerError> {
        let Some(batch) = self.open_batch()?.filter(|batch| (batch.device_seq, batch.hash) == (device_seq, hash)) else {
            return Ok(Next::Push);
        };
        let newest = sealer.sealing_epoch();
        if batch.made.iter().all(|made| made.operation.key_epoch() >= newest) {
            let message = "the server says that the account key is an old one, and shows no newer one".to_owned();
            return Ok(Next::Stop { code: ErrorCode::KeyEpochOld, message });
        }
        match batch.made.iter().map(|made| anew(made, sealer)).collect::<Option<Vec<Made>>>() {
            Some(made) => self.tables.put_batch(&OutboxBatch { made, ..batch })?,
            None => self.close(&batch, |_| Verdict::Again)?,
        }
        Ok(Next::Push)
    }

    /// Takes each wrap whose row is held, that is of a later account key and opens. Says how many of them do not open: nobody stops
    /// at those, since the old wrap is there.
    pub(super) fn take_wraps(&mut self, rewrap: &Rewrap, opener: &impl Opener) -> Result<u64, TablesError> {
        let mut bad = 0;
        for (held, wrap) in self.wraps_of_held(rewrap)? {
            bad += u64::from(!self.take_wrap(held, wrap, opener)?);
        }
        Ok(bad)
    }

    /// One that is of a later account key than the one held; whether it opens.
    pub(super) fn take_wrap(&mut self, held: Record, wrap: Bytes, opener: &impl Opener) -> Result<bool, TablesError> {
        let envelope = Envelope { wrap, ..held.envelope.clone() };
        let Some(opened) = envelope.check().ok().and_then(|header| opener.open(&header, &envelope).ok()) else { return Ok(false) };
        // Another wrap says the same, unless what was there said nothing.
        if held.content == Content::Damaged {
            self.tables.put_record(&Record { envelope, content: opened, ..held })?;
        } else {
            self.tables.set_wrap(&held.key, &envelope.wrap)?;
        }
        Ok(true)
    }

    /// Those that this device made: each was opened before it was signed.
    pub(super) fn take_own_wraps(&mut self, batch: &OutboxBatch) -> Result<(), TablesError> {
        let Some(rewrap) = batch.rewrap() else { return Ok(()) };
        for (held, wrap) in self.wraps_of_held(rewrap)? {
            self.tables.set_wrap(&held.key, &wrap)?;
        }
        Ok(())
    }

    fn wraps_of_held(&self, rewrap: &Rewrap) -> Result<Vec<(Record, Bytes)>, TablesError> {
        let mut of_held = Vec::new();
        for RewrapItem { seq, row, wrap } in rewrap.items() {
            let is_newer = |held: &Record| held.hash.short() == row && held.envelope.key_epoch() < key_epoch(&wrap);
            of_held.extend(self.tables.record_at(seq)?.filter(is_newer).map(|held| (held, wrap)));
        }
        Ok(of_held)
    }

    /// This device's open batch of wraps can never commit once keys changed again.
    pub(super) fn close_rewrap(&mut self) -> Result<(), TablesError> {
        match self.open_batch()? {
            Some(open) if open.rewrap().is_some() => self.tables.set_batch_state(open.device, open.device_seq, BatchState::Closed),
            Some(_) | None => Ok(()),
        }
    }
}

/// The same operation under the newest account key; nothing for one that is itself signed with its wraps.
fn anew(made: &Made, sealer: &impl Sealer) -> Option<Made> {
    let mut made = made.clone();
    let key = made.key().ok()?;
    let envelope = match &mut made.operation {
        Operation::Put(put) => &mut put.envelope,
        Operation::Adopt(adopt) => &mut adopt.envelope,
        Operation::Rewrap(_) => return None,
    };
    if envelope.key_epoch() < sealer.sealing_epoch() {
        let (header, wrap) = (envelope.header.clone(), envelope.wrap.clone());
        envelope.wrap = sealer.rewrap(&Wrapped { key, seq: Seq::ZERO, hash: envelope.hash(), header, wrap })?;
    }
    Some(made)
}
