//! Which process of the profile sends its edits.
//!
//! Never: what is right by it; that is for the server's `claim` to say. It only keeps processes from claiming against
//! each other for ever.

use cloudsync_engine::replica::TablesError;
use rusqlite::params;

use super::codec::{failed, signed};
use super::process::{Process, State};
use super::transaction::SqliteTables;

const TABLE: &str = "turn";

/// Whose turn it is to send the profile's edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Ours, until the time asked for.
    Mine,
    /// Another process's.
    Other {
        /// Until when, in milliseconds since the epoch, unless it goes on.
        until_ms: u64,
    },
}

impl SqliteTables<'_> {
    /// Asks for the turn to send, or to go on: it ends by itself, and with a process that is stopped or gone.
    pub fn take_turn(&mut self, who: &str, now_ms: u64, until_ms: u64) -> Result<Turn, TablesError> {
        let sql = "SELECT sender, sender_pid, sender_until_ms FROM turn";
        let held = self
            .connection()
            .query_row(sql, [], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<u32>>(1)?, row.get::<_, Option<i64>>(2)?)));
        if let (Some(sender), Some(pid), Some(held_until_ms)) = held.map_err(failed(TABLE))? {
            let held_until_ms = held_until_ms.cast_unsigned();
            let works = || matches!(Process::look_up(pid).state, State::Alive | State::Unknown);
            if sender != who && now_ms < held_until_ms && works() {
                return Ok(Turn::Other { until_ms: held_until_ms });
            }
        }
        let sql = "UPDATE turn SET sender = ?1, sender_pid = ?2, sender_until_ms = ?3";
        let taken = self.connection().execute(sql, params![who, std::process::id(), signed(until_ms)]);
        taken.map(|_| Turn::Mine).map_err(failed(TABLE))
    }

    /// Gives the turn back.
    pub fn end_turn(&mut self, who: &str) -> Result<(), TablesError> {
        let sql = "UPDATE turn SET sender = NULL, sender_pid = NULL, sender_until_ms = NULL WHERE sender = ?1";
        self.connection().execute(sql, [who]).map(|_| ()).map_err(failed(TABLE))
    }

    /// Notes whether the server had room on its disk when edits were sent last.
    pub fn note_store_full(&mut self, is_full: bool) -> Result<(), TablesError> {
        let sql = "UPDATE turn SET store_full = ?1 WHERE store_full <> ?1";
        self.connection().execute(sql, [is_full]).map(|_| ()).map_err(failed(TABLE))
    }

    /// Whether it had none.
    pub fn is_store_full(&self) -> Result<bool, TablesError> {
        self.connection().query_row("SELECT store_full FROM turn", [], |row| row.get(0)).map_err(failed(TABLE))
    }
}
