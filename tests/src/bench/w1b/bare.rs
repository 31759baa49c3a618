//! W1b's floor: a loop that does what any server must for a push and nothing else. One receive, the rows of the node's own tables in
//! an SQLite transaction that everything that is ready shares, one sync, two sends.
//!
//! Never: a protocol, a check, or a second thread. What it is sent has one length, and so has what it sends.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;
use rusqlite::Connection;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use serde::{Deserialize, Serialize};

/// As many as one group of the node's store takes.
const GROUP_PUSHES_MAX: usize = 512;
/// A head's row is written so often, as in the node's store.
const HEAD_EVERY: u64 = 64;
/// 64 MiB, as in the node's store.
const WAL_PAGES_MAX: i64 = 16 * 1024;
const HEAD_BYTES: usize = 400;
/// The argument by which the bench runs itself as this loop.
pub const ARGUMENT: &str = "bare";

/// What the loop does for each push.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Shape {
    /// Users: as many connections push, as many others receive.
    pub users: usize,
    /// A push, as received.
    pub push_bytes: usize,
    /// Its answer.
    pub answer_bytes: usize,
    /// What the other device is sent.
    pub event_bytes: usize,
    /// What is stored of it.
    pub row_bytes: usize,
}

const TABLES: &str = "
CREATE TABLE groups (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, sum BLOB NOT NULL);
CREATE TABLE logs (key INTEGER PRIMARY KEY, head BLOB NOT NULL);
CREATE TABLE log (id INTEGER PRIMARY KEY, row BLOB NOT NULL);
CREATE TABLE record (log INTEGER NOT NULL, collection INTEGER NOT NULL, record TEXT NOT NULL, version INTEGER NOT NULL,
    seq INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (log, collection, record, version DESC)) WITHOUT ROWID;
INSERT INTO groups VALUES (1, 0, x'0000000000000000');
";

/// The tables, and how far each log is.
struct Store {
    connection: Connection,
    side: std::fs::File,
    number: u64,
    seqs: Vec<u64>,
    row: Vec<u8>,
}

impl Store {
    fn new(folder: &Path, shape: Shape) -> anyhow::Result<Self> {
        let connection = Connection::open(folder.join("bare.db"))?;
        connection.pragma_update(None, "page_size", 4096)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
        connection.pragma_update(None, "cache_size", -32 * 1024)?;
        connection.execute_batch(TABLES)?;
        for key in 0..i64::try_from(shape.users)? {
            connection.execute("INSERT INTO logs VALUES (?1, ?2)", (key, vec![1_u8; HEAD_BYTES]))?;
        }
        let side = std::fs::File::create(folder.join("bare.groups"))?;
        Ok(Self { connection, side, number: 0, seqs: vec![0; shape.users], row: vec![7; shape.row_bytes] })
    }

    fn commit(&mut self, pushed: &[usize]) -> anyhow::Result<()> {
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for &user in pushed {
            let seq = self.seqs.get_mut(user).context("a user")?;
            *seq += 1;
            let (key, number) = (i64::try_from(user)?, seq.cast_signed());
            connection.prepare_cached("INSERT INTO log VALUES (?1, ?2)")?.execute((key << 36 | number, &self.row))?;
            let record = format!("{:016x}{seq:016x}", user + 0x5a5a_5a5a);
            connection.prepare_cached("INSERT INTO record VALUES (?1, 0, ?2, 1, ?3, 7)")?.execute((key, record, number))?;
            if seq.is_multiple_of(HEAD_EVERY) {
                connection.prepare_cached("UPDATE logs SET head = ?2 WHERE key = ?1")?.execute((key, vec![1_u8; HEAD_BYTES]))?;
            }
        }
        self.number += 1;
        let number = self.number.cast_signed();
        connection.prepare_cached("UPDATE groups SET number = ?1, sum = ?2")?.execute((number, [7_u8; 8]))?;
        connection.execute_batch("COMMIT")?;
        Ok(self.side.write_all_at(&[7; 16], 512 * (self.number % 2))?)
    }
}

/// Serves until its clients are gone: says on standard output where.
#[expect(clippy::print_stdout, reason = "it is how the two processes meet")]
pub fn serve(folder: &Path, shape: Shape) -> anyhow::Result<()> {
    let mut store = Store::new(folder, shape)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", serde_json::to_string::<SocketAddr>(&listener.local_addr()?)?);
    let connections = (0..2 * shape.users).map(|_| listener.accept().map(|(stream, _)| stream));
    let mut pushers: Vec<TcpStream> = connections.collect::<Result<_, _>>()?;
    let mut receivers = pushers.split_off(shape.users);
    for stream in pushers.iter().chain(&receivers) {
        stream.set_nodelay(true)?;
    }
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (user, stream) in pushers.iter().enumerate() {
        epoll::add(&ready, stream, epoll::EventData::new_u64(user as u64), epoll::EventFlags::IN)?;
    }
    let (answer, event) = (vec![1; shape.answer_bytes], vec![2; shape.event_bytes]);
    let (mut push, mut events, mut pushed) = (vec![0; shape.push_bytes], Vec::with_capacity(shape.users), Vec::new());
    loop {
        // Waits for the first, then takes what is ready.
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        events.clear();
        epoll::wait(&ready, spare_capacity(&mut events), (!pushed.is_empty()).then_some(&at_once))?;
        for event in &events {
            let user = usize::try_from(event.data.u64())?;
            if pushers.get_mut(user).context("a pusher")?.read_exact(&mut push).is_err() {
                return Ok(());
            }
            pushed.push(user);
        }
        if !events.is_empty() && pushed.len() + shape.users <= GROUP_PUSHES_MAX {
            continue;
        }
        store.commit(&pushed)?;
        for user in pushed.drain(..) {
            pushers.get_mut(user).context("a pusher")?.write_all(&answer)?;
            receivers.get_mut(user).context("a receiver")?.write_all(&event)?;
        }
    }
}
