//! Rows and heads as bytes: positional MessagePack behind 8 bytes of the SHA-256 of where they belong and what they are.
//!
//! Never: bytes decoded whose sum does not fit; they are named as damage instead.

use bytes::Bytes;
use cloudsync_engine::log::{Figures, Head, Settled};
use cloudsync_protocol::codec::{self, decode};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::statement::{RosterChange, Signed};
use cloudsync_protocol::{
    CollectionName, CommitId, DeviceId, Epoch, Generation, Hash, LogId, Operation, OwnerId, Seq, ShortHash, TimelineId,
};

use crate::pieces::{Begin, Content, Piece, damaged};
use crate::store::ReadError;

/// What a commit's last row carries beside itself: whatever the rows don't say of the head after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) commit: CommitId,
    pub(super) figures: Figures,
    pub(super) state_seq: Seq,
    pub(super) floor: Seq,
}

impl Trailer {
    pub(super) const fn of(head: &Head) -> Self {
        Self { commit: head.commit, figures: head.figures, state_seq: head.state_seq, floor: head.floor }
    }

    pub(super) const fn put_into(&self, head: &mut Head) {
        (head.commit, head.figures, head.state_seq, head.floor) = (self.commit, self.figures, self.state_seq, self.floor);
    }
}

/// Live bytes, live records, dead bytes, dead records.
type FiguresRow = (u64, u64, u64, u64);
type TrailerRow = (CommitId, FiguresRow, Seq, Seq);
type PieceRow<S, O, C> = (u64, Option<(S, u32)>, Option<O>, Option<C>, Option<TrailerRow>);
type SettledRow = (DeviceId, LastPush, u32, u64);
type HeadRow = (
    (Epoch, OwnerId),
    (Seq, ShortHash, CommitId),
    (TimelineId, Generation, Vec<(TimelineId, Seq)>),
    (Seq, Seq),
    FiguresRow,
    Vec<SettledRow>,
    Vec<CollectionName>,
    u64,
    (u64, u64),
);

pub(super) fn encode_piece(log: LogId, seq: Seq, piece: &Piece, trailer: Option<&Trailer>) -> Vec<u8> {
    let begins = piece.begins.as_ref().map(|begin| (&begin.signed, begin.operations));
    let (operation, change) = match &piece.content {
        Content::Operation(operation) => (Some(operation), None),
        Content::Change(change) => (None, Some(change)),
    };
    let trailer = trailer.map(|trailer| (trailer.commit, figures_row(trailer.figures), trailer.state_seq, trailer.floor));
    let row: PieceRow<&Signed, &Operation, &RosterChange> = (piece.server_ts, begins, operation, change, trailer);
    seal(log, seq.0, &codec::encode(&row))
}

pub(super) fn decode_piece(log: LogId, seq: Seq, bytes: &[u8]) -> Result<(Piece, Option<Trailer>), ReadError> {
    let inner = open(log, seq.0, bytes).ok_or_else(|| damaged(log, seq, "the row's sum does not fit"))?;
    decode_inner(log, seq, inner)
}

/// A row whose sum somebody else looks at.
pub(super) fn decode_piece_unsummed(log: LogId, seq: Seq, bytes: &[u8]) -> Result<Piece, ReadError> {
    let (_, inner) = bytes.split_at_checked(ShortHash::LENGTH).ok_or_else(|| damaged(log, seq, "the row has no sum"))?;
    decode_inner(log, seq, inner).map(|(piece, _)| piece)
}

fn decode_inner(log: LogId, seq: Seq, inner: &[u8]) -> Result<(Piece, Option<Trailer>), ReadError> {
    let row: PieceRow<Signed, Operation, RosterChange> = decode(inner).map_err(|error| damaged(log, seq, error.to_string()))?;
    let (server_ts, begins, operation, change, trailer) = row;
    let content = match (operation, change) {
        (Some(operation), None) => Content::Operation(operation),
        (None, Some(change)) => Content::Change(change),
        (Some(_), Some(_)) | (None, None) => return Err(damaged(log, seq, "neither an operation nor a change of the roster")),
    };
    let begins = begins.map(|(signed, operations)| Begin { signed, operations });
    let trailer = trailer.map(|(commit, figures, state_seq, floor)| Trailer { commit, figures: figures_of(figures), state_seq, floor });
    Ok((Piece { server_ts, begins, content }, trailer))
}

/// Which row of `logs`: a log's small number and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: i64,
    pub(super) log: LogId,
}

pub(super) fn encode_head(place: Place, head: &Head, rewinds: u64) -> Vec<u8> {
    let settled = |(device, settled): (&DeviceId, &Settled)| (*device, settled.push, settled.operations, settled.server_ts);
    let row: HeadRow = (
        (head.epoch, head.owner),
        (head.seq, head.row, head.commit),
        (head.timeline, head.generation, head.lineage.clone()),
        (head.state_seq, head.floor),
        figures_row(head.figures),
        head.dedup.iter().map(settled).collect(),
        head.collections.iter().cloned().collect(),
        rewinds,
        (head.keyring_version, head.key_epoch),
    );
    seal(place.log, place.key.cast_unsigned(), &codec::encode(&row))
}

/// The length of what stands for an erased log's head; a live one's is longer.
pub(super) const ERASED_BYTES: i64 = ShortHash::LENGTH as i64;

/// What stands for the head of an erased log: a sum of nothing.
pub(super) fn encode_erased(place: Place) -> Vec<u8> {
    seal(place.log, place.key.cast_unsigned(), &[])
}

/// A head with the number of rewinds that it knows of; nothing for an erased log.
pub(super) fn decode_head(place: Place, bytes: &[u8]) -> Result<Option<(Head, u64)>, ReadError> {
    let damaged = |why: &str| ReadError::Damaged { place: format!("log {}, head", place.log), why: why.into() };
    let inner = open(place.log, place.key.cast_unsigned(), bytes).ok_or_else(|| damaged("the row's sum does not fit"))?;
    if inner.is_empty() {
        return Ok(None);
    }
    let row: HeadRow = decode(inner).map_err(|error| damaged(&error.to_string()))?;
    let (
        (epoch, owner),
        (seq, row, commit),
        (timeline, generation, lineage),
        (state_seq, floor),
        figures,
        dedup,
        collections,
        rewinds,
        keys,
    ) = row;
    let (keyring_version, key_epoch) = keys;
    let settled = |(device, push, operations, server_ts)| (device, Settled { push, operations, server_ts });
    let head = Head {
        epoch,
        owner,
        seq,
        row,
        commit,
        timeline,
        generation,
        lineage,
        state_seq,
        floor,
        figures: figures_of(figures),
        keyring_version,
        key_epoch,
        dedup: dedup.into_iter().map(settled).collect(),
        collections: collections.into_iter().collect(),
    };
    Ok(Some((head, rewinds)))
}

/// The sum of a row of `record`: where it belongs and all that it says.
pub(super) fn record_sum(log: LogId, (collection, record): (&str, &str), (version, seq): (u64, u64)) -> u32 {
    let lengths = (collection.len() as u64).to_be_bytes();
    let fields: [&[u8]; 6] =
        [log.as_bytes(), &lengths, collection.as_bytes(), record.as_bytes(), &version.to_be_bytes(), &seq.to_be_bytes()];
    let [a, b, c, d, ..] = Hash::of(&fields).short().0;
    u32::from_be_bytes([a, b, c, d])
}

/// The sum of a row's fields.
pub(super) fn sum(fields: &[&[u8]]) -> [u8; 8] {
    let lengths: Vec<u8> = fields.iter().flat_map(|field| (field.len() as u64).to_be_bytes()).collect();
    Hash::of(&[&lengths, &fields.concat()]).short().0
}

/// `place` is the row's `seq`, or a head's key.
fn seal(log: LogId, place: u64, inner: &[u8]) -> Vec<u8> {
    let sum = Hash::of(&[log.as_bytes(), &place.to_be_bytes(), inner]).short();
    [sum.as_bytes().as_slice(), inner].concat()
}

fn open(log: LogId, place: u64, bytes: &[u8]) -> Option<&[u8]> {
    let (sum, inner) = bytes.split_at_checked(ShortHash::LENGTH)?;
    (Hash::of(&[log.as_bytes(), &place.to_be_bytes(), inner]).short().as_bytes() == sum).then_some(inner)
}

const fn figures_row(figures: Figures) -> FiguresRow {
    (figures.live_bytes, figures.live_records, figures.dead_bytes, figures.dead_records)
}

const fn figures_of((live_bytes, live_records, dead_bytes, dead_records): FiguresRow) -> Figures {
    Figures { live_bytes, live_records, dead_bytes, dead_records }
}

/// A blob column as owned bytes.
pub(super) fn blob(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    row.get::<_, Vec<u8>>(column).map(Bytes::from)
}
