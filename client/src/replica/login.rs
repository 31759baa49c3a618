//! The profile's log-in: its tokens, whether somebody signed out, and the server's clock, for every process of the profile.
//!
//! Never: an older token over a newer one.

use cloudsync_engine::replica::TablesError;
use rusqlite::{OptionalExtension as _, params};

use super::StoreError;
use super::codec::{failed, signed};
use super::transaction::SqliteTables;
use crate::account::Tokens;

const TABLE: &str = "login";

impl SqliteTables<'_> {
    /// The tokens; nothing before the first log-in.
    pub fn tokens(&self) -> Result<Option<Tokens>, TablesError> {
        let sql = "SELECT access_token, access_expires_ts, refresh_token, refresh_expires_ts FROM login WHERE access_token IS NOT NULL";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Tokens {
                access_token: row.get(0)?,
                access_expires_ts: row.get::<_, i64>(1)?.cast_unsigned(),
                refresh_token: row.get(2)?,
                refresh_expires_ts: row.get::<_, i64>(3)?.cast_unsigned(),
            })
        };
        self.connection().query_row(sql, [], read).optional().map_err(failed(TABLE))
    }

    /// Stores tokens, unless newer ones are there. Says which ones are there then.
    pub fn renew_tokens(&mut self, tokens: &Tokens) -> Result<Tokens, TablesError> {
        match self.tokens()? {
            Some(held) if !tokens.replace(&held) => Ok(held),
            Some(_) | None => {
                self.set_tokens(tokens)?;
                Ok(tokens.clone())
            }
        }
    }

    /// Stores the tokens of a new log-in, and opens the profile.
    pub fn sign_in(&mut self, tokens: &Tokens) -> Result<(), TablesError> {
        self.set_tokens(tokens)?;
        self.set_closed(false)?;
        self.connection().execute("UPDATE login SET rolled_back = 0", []).map(|_| ()).map_err(failed(TABLE))
    }

    /// Notes that the server has pushes of this device that these tables never signed.
    pub fn note_rolled_back(&mut self) -> Result<(), TablesError> {
        self.connection().execute("UPDATE login SET rolled_back = 1", []).map(|_| ()).map_err(failed(TABLE))
    }

    /// Whether that was noted since the last log-in.
    pub fn is_rolled_back(&self) -> Result<bool, TablesError> {
        self.connection().query_row("SELECT rolled_back FROM login", [], |row| row.get(0)).map_err(failed(TABLE))
    }

    fn set_tokens(&self, tokens: &Tokens) -> Result<(), TablesError> {
        let sql = "UPDATE login SET access_token = ?1, access_expires_ts = ?2, refresh_token = ?3, refresh_expires_ts = ?4";
        let params =
            params![tokens.access_token, signed(tokens.access_expires_ts), tokens.refresh_token, signed(tokens.refresh_expires_ts)];
        self.connection().execute(sql, params).map(|_| ()).map_err(failed(TABLE))
    }

    /// Signs out: every later transaction of any process is refused.
    pub fn close(&mut self) -> Result<(), TablesError> {
        self.set_closed(true)
    }

    /// Takes that back.
    pub fn reopen(&mut self) -> Result<(), TablesError> {
        self.set_closed(false)
    }

    fn set_closed(&self, closed: bool) -> Result<(), TablesError> {
        self.connection().execute("UPDATE login SET closed = ?1", [closed]).map(|_| ()).map_err(failed(TABLE))
    }

    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        let closed = self.connection().query_row("SELECT closed FROM login", [], |row| row.get::<_, bool>(0));
        match closed {
            Ok(false) => Ok(()),
            Ok(true) => Err(StoreError::Closed),
            Err(error) => Err(StoreError::of(&error, TABLE)),
        }
    }

    /// How far the server's clock is ahead of this machine's, as last told.
    pub fn clock_offset_ms(&self) -> Result<i64, TablesError> {
        self.connection().query_row("SELECT clock_offset_ms FROM login", [], |row| row.get(0)).map_err(failed(TABLE))
    }

    /// Remembers it.
    pub fn set_clock_offset_ms(&mut self, offset_ms: i64) -> Result<(), TablesError> {
        self.connection().execute("UPDATE login SET clock_offset_ms = ?1", [offset_ms]).map(|_| ()).map_err(failed(TABLE))
    }
}
