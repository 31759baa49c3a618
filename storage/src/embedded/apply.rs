//! Acquires and commits inside the committer's transaction.
//!
//! Never: a transaction begun or ended here, or an answer sent.

use std::collections::HashMap;

use cloudsync_engine::log::{Acquire, Commit, Head, NewCredentials, NewWrap, epoch_to_win, view_of};
use cloudsync_protocol::entry::{Adopt, Put};
use cloudsync_protocol::{CollectionName, Entry, Header, LogId, Operation, RecordKey, Seq, UserId, Version, codec};
use rusqlite::Connection;

use super::credential_rows;
use super::fault::Fault;
use super::head::{Cache, Cached, Found, Loaded, load};
use super::row::{Place, Trailer, encode_head, encode_piece, record_sum};
use super::schema::{LOG_END, SEQ_END, row_id};
use super::totals;
use super::wrap_rows;
use crate::pieces::{Content, assert_shape, split};
use crate::store::{AcquireError, CommitError, Credentials, ReadError};

/// A head's row is written when it is so many operations behind.
const HEAD_EVERY_OPERATIONS: u64 = 64;

/// The part of the reserve that changes of the roster leave free.
const ROSTER_RESERVE_PART: u64 = 4;

/// A commit, encoded by the task that asked for it so that the committer does not have to.
#[derive(Debug)]
pub(super) struct Prepared {
    log: LogId,
    after: Seq,
    head: Head,
    told: Told,
    rows: Vec<Encoded>,
    bytes: u64,
    credentials: Option<NewCredentials>,
    wraps: Vec<NewWrap>,
}

/// What a commit's rows tell of the head after them.
#[derive(Debug)]
enum Told {
    /// Batches only add to a head, so that what they add was found before by following them from an empty one: the
    /// committer neither decodes nor hashes them again.
    Added(Box<Head>),
    /// A change of the roster also takes away: these are followed from the stored head.
    Entries(Vec<Entry>),
}

impl Told {
    fn of(entries: Vec<Entry>, after: &Head) -> Self {
        if entries.iter().any(|entry| matches!(entry, Entry::Roster(_))) {
            return Self::Entries(entries);
        }
        let mut added = Box::new(Head::new(after.epoch, after.owner, after.timeline));
        follow(&mut added, &entries);
        Self::Added(added)
    }

    fn put_into(&self, head: &mut Head) {
        match self {
            Self::Entries(entries) => follow(head, entries),
            Self::Added(added) => {
                (head.seq, head.row) = (added.seq, added.row);
                head.dedup.extend(&added.dedup);
                for name in &added.collections {
                    if !head.collections.contains(name) {
                        head.collections.insert(name.clone());
                    }
                }
            }
        }
    }
}

/// Figures come with the commit's trailer: the versions that were replaced need not be looked up.
fn follow(head: &mut Head, entries: &[Entry]) {
    for entry in entries {
        head.follow(entry, |_, _| None).expect("what was accepted decodes");
    }
}

#[derive(Debug)]
struct Encoded {
    seq: Seq,
    row: Vec<u8>,
    index: Index,
}

/// Where a row is found again.
#[derive(Debug)]
enum Index {
    Record(RecordKey, Version, u32),
    Roster,
    Rewrap,
}

impl Prepared {
    pub(super) fn new(commit: Commit) -> Self {
        assert_shape(&commit);
        assert!(commit.head.seq.0 < SEQ_END, "a log ends at 2^36 operations");
        let trailer = Trailer::of(&commit.head);
        let encode = |(seq, piece): (Seq, crate::pieces::Piece)| {
            let row = encode_piece(commit.log, seq, &piece, (seq == commit.head.seq).then_some(&trailer));
            let index = match &piece.content {
                Content::Operation(Operation::Put(Put { envelope, .. }) | Operation::Adopt(Adopt { envelope, .. })) => {
                    let header: Header = codec::decode(&envelope.header).expect("an accepted envelope has a header");
                    let names = (header.collection.as_str(), header.record.as_str());
                    let sum = record_sum(commit.log, names, (header.version.0, seq.0));
                    Index::Record(header.key(), header.version, sum)
                }
                Content::Operation(Operation::Rewrap(_)) => Index::Rewrap,
                Content::Change(_) => Index::Roster,
            };
            Encoded { seq, row, index }
        };
        let rows: Vec<Encoded> = commit.entries.iter().flat_map(split).map(encode).collect();
        let bytes = rows.iter().map(|row| row.row.len() as u64).sum();
        let Commit { log, after, entries, head, credentials, wraps } = commit;
        let told = Told::of(entries, &head);
        Self { log, after, head, told, rows, bytes, credentials, wraps }
    }

    /// Whether it changes the roster and nothing else.
    pub(super) fn is_of_roster(&self) -> bool {
        self.rows.iter().all(|row| matches!(row.index, Index::Roster))
    }

    pub(super) const fn operations(&self) -> usize {
        self.rows.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What was read before anything is written.
enum State {
    Absent,
    Erased,
    Live(Box<Cached>),
}

fn state(connection: &Connection, cache: &mut Cache, log: LogId) -> Result<State, ReadError> {
    if let Some(cached) = cache.take(log) {
        return Ok(State::Live(cached));
    }
    match load(connection, log)? {
        Found::Absent => Ok(State::Absent),
        Found::Erased => Ok(State::Erased),
        Found::Live(loaded) => {
            let mut statement = connection.prepare_cached("SELECT name, key FROM collection WHERE log = ?1")?;
            let rows = statement.query_map([loaded.key], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            let mut collections = HashMap::new();
            for row in rows {
                let (name, key) = row?;
                let name = CollectionName::new(name)
                    .map_err(|error| ReadError::Damaged { place: format!("log {log}, collections"), why: error.to_string() })?;
                collections.insert(name, key);
            }
            Ok(State::Live(Box::new(Cached { loaded: *loaded, collections })))
        }
    }
}

/// Whether new heads are welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    Short { available_bytes: u64, reserve_bytes: u64 },
}

impl Room {
    /// Below the reserve changes of the roster still go in, until a quarter of it is left: a full disk must not keep a stolen device
    /// enrolled.
    pub(super) fn refuses(self, commit: &Prepared) -> Option<CommitError> {
        match self {
            Self::Short { available_bytes, reserve_bytes }
                if !commit.is_of_roster() || available_bytes <= reserve_bytes / ROSTER_RESERVE_PART =>
            {
                Some(CommitError::Full { available_bytes, reserve_bytes })
            }
            Self::Enough | Self::Short { .. } => None,
        }
    }
}

type Acquired = Result<Head, AcquireError>;

/// Below the reserve, logs that are there can still be acquired: reads go on. The first acquire after the database went back
/// opens a new timeline; a second one of the same start finds nothing to do, so that a lost answer opens one only.
pub(super) fn acquire(connection: &Connection, cache: &mut Cache, acquire: &Acquire, room: Room) -> Result<Acquired, Fault> {
    let log = acquire.log;
    match state(connection, cache, log) {
        Err(error) => Ok(Err(error.into())),
        Ok(State::Erased) => Ok(Err(AcquireError::Erased)),
        Ok(State::Absent) if room != Room::Enough => Ok(Err(AcquireError::Full)),
        Ok(State::Absent) => {
            let head = Head::new(epoch_to_win(cloudsync_protocol::Epoch(0), acquire.view), acquire.owner, acquire.timeline);
            let rewinds = totals::rewinds(connection)?;
            let key = totals::new_log(connection)?;
            connection.prepare_cached("INSERT INTO logs (key, id, head) VALUES (?1, ?2, ?3)")?.execute((
                key,
                log.as_bytes(),
                encode_head(Place { key, log }, &head, rewinds),
            ))?;
            assert!(key < LOG_END, "a store ends at 2^27 logs");
            let loaded = Loaded { key, head: head.clone(), written: Seq::ZERO, rewinds };
            cache.put(log, Box::new(Cached { loaded, collections: HashMap::new() }));
            Ok(Ok(head))
        }
        Ok(State::Live(mut cached)) => {
            let Loaded { head, rewinds, .. } = &mut cached.loaded;
            let current = view_of(head.epoch);
            if current > acquire.view {
                cache.put(log, cached);
                return Ok(Err(AcquireError::LaterView(current)));
            }
            let gone_back = totals::rewinds(connection)?.saturating_sub(*rewinds);
            if gone_back > 0 {
                head.open_timeline(acquire.timeline, gone_back);
                *rewinds += gone_back;
            }
            (head.epoch, head.owner) = (epoch_to_win(head.epoch, acquire.view), acquire.owner);
            let head = head.clone();
            write_head(connection, log, &mut cached.loaded)?;
            cache.put(log, cached);
            Ok(Ok(head))
        }
    }
}

pub(super) fn commit(connection: &Connection, cache: &mut Cache, commit: &Prepared) -> Result<Result<(), CommitError>, Fault> {
    let log = commit.log;
    let mut cached = match state(connection, cache, log) {
        Err(error) => return Ok(Err(CommitError::Unavailable(error.to_string()))),
        Ok(State::Absent | State::Erased) => return Ok(Err(CommitError::Fenced)),
        Ok(State::Live(cached)) => cached,
    };
    let head = &mut cached.loaded.head;
    if head.epoch != commit.head.epoch || head.seq != commit.after {
        cache.put(log, cached);
        return Ok(Err(CommitError::Fenced));
    }
    // Read before anything is written: what can't be replaced must leave the whole commit undone.
    let there = match credentials(connection, commit) {
        Ok(there) => there,
        Err(error) => {
            cache.put(log, cached);
            return Ok(Err(CommitError::Unavailable(error.to_string())));
        }
    };
    let head = &mut cached.loaded.head;
    commit.told.put_into(head);
    Trailer::of(&commit.head).put_into(head);
    // Whatever the rows can't tell is written with the head itself: a rewind, say.
    let told_by_rows = *head == commit.head;
    if !told_by_rows {
        *head = commit.head.clone();
    }
    let key = cached.loaded.key;
    for row in &commit.rows {
        write_row(connection, (key, &mut cached.collections), row)?;
    }
    if let (Some(there), Some(new)) = (there, &commit.credentials) {
        credential_rows::replace(connection, UserId(log.0), there, new)?;
    }
    wrap_rows::set(connection, (log, key), &cached.collections, &commit.wraps)?;
    if !told_by_rows || commit.head.seq.0 - cached.loaded.written.0 >= HEAD_EVERY_OPERATIONS {
        write_head(connection, log, &mut cached.loaded)?;
    }
    cache.put(log, cached);
    Ok(Ok(()))
}

/// What the account is opened by now, if the commit changes that.
fn credentials(connection: &Connection, commit: &Prepared) -> Result<Option<Credentials>, ReadError> {
    if commit.credentials.is_none() {
        return Ok(None);
    }
    let missing = || ReadError::Damaged { place: format!("credentials of log {}", commit.log), why: "there are none".into() };
    credential_rows::read(connection, UserId(commit.log.0))?.ok_or_else(missing).map(Some)
}

fn write_head(connection: &Connection, log: LogId, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let row = encode_head(Place { key: loaded.key, log }, &loaded.head, loaded.rewinds);
    connection.prepare_cached("UPDATE logs SET head = ?2 WHERE key = ?1")?.execute((loaded.key, row))?;
    loaded.written = loaded.head.seq;
    Ok(())
}

fn write_row(
    connection: &Connection,
    (key, collections): (i64, &mut HashMap<CollectionName, i64>),
    encoded: &Encoded,
) -> rusqlite::Result<()> {
    let id = row_id(key, encoded.seq.0);
    connection.prepare_cached("INSERT INTO log (id, row) VALUES (?1, ?2)")?.execute((id, &encoded.row))?;
    match &encoded.index {
        Index::Record(record, version, sum) => {
            let collection = match collections.get(&record.collection) {
                Some(collection) => *collection,
                None => new_collection(connection, key, (collections, &record.collection))?,
            };
            let (version, seq) = (version.0.cast_signed(), encoded.seq.0.cast_signed());
            connection
                .prepare_cached("INSERT INTO record (log, collection, record, version, seq, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute((key, collection, record.record.as_str(), version, seq, *sum))?;
        }
        Index::Roster => {
            connection.prepare_cached("INSERT INTO roster (id) VALUES (?1)")?.execute([id])?;
        }
        Index::Rewrap => {
            connection.prepare_cached("INSERT INTO rewrap (id) VALUES (?1)")?.execute([id])?;
        }
    }
    Ok(())
}

fn new_collection(
    connection: &Connection,
    key: i64,
    (collections, name): (&mut HashMap<CollectionName, i64>, &CollectionName),
) -> rusqlite::Result<i64> {
    let collection = i64::try_from(collections.len()).expect("COLLECTIONS_MAX fits 64 bits");
    connection.prepare_cached("INSERT INTO collection (log, name, key) VALUES (?1, ?2, ?3)")?.execute((key, name.as_str(), collection))?;
    collections.insert(name.clone(), collection);
    Ok(collection)
}
