//! Accounts, keyrings and refresh families as rows; and the beginning of an erase.
//!
//! Never: a transaction begun or ended here.

use bytes::Bytes;
use cloudsync_engine::log::Versioned;
use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{DeviceId, FamilyId, LogId, UserId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::fault::Fault;
use super::row::{blob, sum};
use crate::store::{Account, Family, ReadError};
use crate::write::{Write, Written};

/// What a write did inside the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Written(Written),
    /// The log of this key says that it is erased; its rows are still to go.
    Erasing {
        key: i64,
    },
}

pub(super) fn write(connection: &Connection, write: &Write) -> Result<Effect, Fault> {
    match write {
        Write::Erase(log) => erase(connection, *log).map(|key| Effect::Erasing { key }),
        Write::CreateAccount(account, keyring) => create(connection, account, keyring).map(Effect::Written),
        Write::ReplaceKeyring(user, version, keyring) => changed(connection, |connection| {
            connection
                .prepare_cached("UPDATE keyring SET version = ?2 + 1, bytes = ?3, sum = ?4 WHERE user = ?1 AND version = ?2")?
                .execute((user.as_bytes(), version.cast_signed(), keyring.as_ref(), keyring_sum(*user, version + 1, keyring)))
        }),
        Write::CreateFamily(family) if is_erased(connection, family.user)? => Ok(Effect::Written(Written::Refused)),
        Write::CreateFamily(family) => changed(connection, |connection| {
            connection.prepare_cached("INSERT OR IGNORE INTO family VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute((
                family.id.as_bytes(),
                family.user.as_bytes(),
                family.device.as_bytes(),
                family.signing.as_bytes(),
                family.number.cast_signed(),
                family.expires_ts.cast_signed(),
                family.revoked,
            ))
        }),
        Write::AdvanceFamily(id, number, expires_ts) => changed(connection, |connection| {
            connection
                .prepare_cached("UPDATE family SET number = ?2 + 1, expires_ts = ?3 WHERE id = ?1 AND number = ?2 AND revoked = 0")?
                .execute((id.as_bytes(), number.cast_signed(), expires_ts.cast_signed()))
        }),
        Write::RevokeFamily(id) => changed(connection, |connection| {
            connection.prepare_cached("UPDATE family SET revoked = 1 WHERE id = ?1")?.execute([id.as_bytes()])
        }),
        Write::RevokeFamilies(user, device) => changed(connection, |connection| {
            connection
                .prepare_cached("UPDATE family SET revoked = 1 WHERE user = ?1 AND device = ?2")?
                .execute((user.as_bytes(), device.as_bytes()))
        }),
    }
}

pub(super) fn by_email(connection: &Connection, email: &str) -> Result<Option<Account>, ReadError> {
    let mut statement =
        connection.prepare_cached("SELECT user, email, opaque_record, recovery, created_ts, sum FROM account WHERE email = ?1")?;
    statement.query_row([email], account_row).optional()?.transpose()
}

pub(super) fn account(connection: &Connection, user: UserId) -> Result<Option<Account>, ReadError> {
    let mut statement =
        connection.prepare_cached("SELECT user, email, opaque_record, recovery, created_ts, sum FROM account WHERE user = ?1")?;
    statement.query_row([user.as_bytes()], account_row).optional()?.transpose()
}

pub(super) fn keyring(connection: &Connection, user: UserId) -> Result<Option<Versioned>, ReadError> {
    let row = connection
        .prepare_cached("SELECT version, bytes, sum FROM keyring WHERE user = ?1")?
        .query_row([user.as_bytes()], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), blob(row, 1)?, row.get::<_, Vec<u8>>(2)?)))
        .optional()?;
    let Some((version, bytes, stored)) = row else { return Ok(None) };
    if keyring_sum(user, version, &bytes).as_slice() != stored {
        return Err(ReadError::Damaged { place: format!("keyring of user {user}"), why: "the row's sum does not fit".into() });
    }
    Ok(Some(Versioned { version, bytes }))
}

pub(super) fn family(connection: &Connection, id: FamilyId) -> Result<Option<Family>, ReadError> {
    let row = connection
        .prepare_cached("SELECT user, device, signing, number, expires_ts, revoked FROM family WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| {
            Ok(Family {
                id,
                user: UserId(row.get(0)?),
                device: DeviceId(row.get(1)?),
                signing: PublicKey(row.get(2)?),
                number: row.get::<_, i64>(3)?.cast_unsigned(),
                expires_ts: row.get::<_, i64>(4)?.cast_unsigned(),
                revoked: row.get(5)?,
            })
        })
        .optional()?;
    Ok(row)
}

fn create(connection: &Connection, new: &Account, keyring: &Bytes) -> Result<Written, Fault> {
    match by_email(connection, &new.email)? {
        Some(present) if present == *new => return Ok(Written::Done),
        Some(_) => return Ok(Written::EmailTaken),
        None => {}
    }
    if account(connection, new.user)?.is_some() || is_erased(connection, new.user)? {
        return Ok(Written::UserTaken);
    }
    connection.prepare_cached("INSERT INTO account VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute((
        new.user.as_bytes(),
        &new.email,
        new.opaque_record.as_ref(),
        new.recovery.as_bytes(),
        new.created_ts.cast_signed(),
        account_sum(new),
    ))?;
    connection.prepare_cached("INSERT INTO keyring VALUES (?1, 1, ?2, ?3)")?.execute((
        new.user.as_bytes(),
        keyring.as_ref(),
        keyring_sum(new.user, 1, keyring),
    ))?;
    Ok(Written::Done)
}

fn erase(connection: &Connection, log: LogId) -> Result<i64, Fault> {
    let key = connection
        .prepare_cached("INSERT INTO logs (id, head) VALUES (?1, NULL) ON CONFLICT (id) DO UPDATE SET head = NULL RETURNING key")?
        .query_row([log.as_bytes()], |row| row.get(0))?;
    for table in ["account", "keyring", "family"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE user = ?1"))?.execute([log.as_bytes()])?;
    }
    Ok(key)
}

fn is_erased(connection: &Connection, user: UserId) -> Result<bool, ReadError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM logs WHERE id = ?1 AND head IS NULL")?;
    Ok(statement.exists([user.as_bytes()])?)
}

fn changed(connection: &Connection, write: impl FnOnce(&Connection) -> rusqlite::Result<usize>) -> Result<Effect, Fault> {
    Ok(Effect::Written(if write(connection)? == 0 { Written::Refused } else { Written::Done }))
}

fn account_row(row: &Row<'_>) -> rusqlite::Result<Result<Account, ReadError>> {
    let account = Account {
        user: UserId(row.get(0)?),
        email: row.get(1)?,
        opaque_record: blob(row, 2)?,
        recovery: PublicKey(row.get(3)?),
        created_ts: row.get::<_, i64>(4)?.cast_unsigned(),
    };
    if account_sum(&account).as_slice() == row.get::<_, Vec<u8>>(5)? {
        return Ok(Ok(account));
    }
    let place = format!("account of user {}", account.user);
    Ok(Err(ReadError::Damaged { place, why: "the row's sum does not fit".into() }))
}

fn account_sum(account: &Account) -> [u8; 8] {
    let created = account.created_ts.to_be_bytes();
    sum(&[account.user.as_bytes(), account.email.as_bytes(), &account.opaque_record, account.recovery.as_bytes(), &created])
}

fn keyring_sum(user: UserId, version: u64, bytes: &[u8]) -> [u8; 8] {
    sum(&[user.as_bytes(), &version.to_be_bytes(), bytes])
}
