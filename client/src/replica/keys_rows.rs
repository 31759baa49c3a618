//! What the replica remembers of the account's keys: which keyring the profile has, and whether a rotation is due.
//!
//! Never: a key. Those are in `keys.json`; here is only which of its states the tables have seen.

use cloudsync_engine::replica::TablesError;
use rusqlite::params;

use super::SqliteTables;
use super::codec::{failed, signed};

const TABLE: &str = "login";

impl SqliteTables<'_> {
    /// The version of the keyring whose keys the profile is known to have: a process that holds older ones reads the file again.
    pub fn keys_version(&self) -> Result<u64, TablesError> {
        let version = self.connection().query_row("SELECT keys_version FROM login", [], |row| row.get::<_, i64>(0));
        version.map(i64::cast_unsigned).map_err(failed(TABLE))
    }

    /// Raises it.
    pub fn raise_keys_version(&mut self, version: u64) -> Result<(), TablesError> {
        self.execute(TABLE, "UPDATE login SET keys_version = max(keys_version, ?1)", [signed(version)])
    }

    /// Whether a device left by a plain revoke of ours, after which nothing was rotated.
    pub fn is_rotation_due(&self) -> Result<bool, TablesError> {
        self.connection().query_row("SELECT rotate_due FROM login", [], |row| row.get(0)).map_err(failed(TABLE))
    }

    /// Notes that, or that a rotation was read since.
    pub fn set_rotation_due(&mut self, due: bool) -> Result<(), TablesError> {
        self.execute(TABLE, "UPDATE login SET rotate_due = ?1", [due])
    }

    /// Whether it is a while since somebody was told; from here on it is not.
    pub fn tell_rotation_due(&mut self, now_ms: u64, every_ms: u64) -> Result<bool, TablesError> {
        let sql = "UPDATE login SET rotate_said_ms = ?1 WHERE rotate_said_ms + ?2 <= ?1";
        let told = self.connection().execute(sql, params![signed(now_ms), signed(every_ms)]).map_err(failed(TABLE))?;
        Ok(told > 0)
    }
}
