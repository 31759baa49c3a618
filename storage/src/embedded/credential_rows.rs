//! What each account is opened by, as rows: password record, recovery key and keyring of one version, together.
//!
//! Never: a transaction begun or ended here, or a part of a row written without the others.

use cloudsync_engine::log::NewCredentials;
use cloudsync_protocol::UserId;
use cloudsync_protocol::statement::PublicKey;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::row::{blob, sum};
use crate::store::{Credentials, ReadError};

pub(super) fn read(connection: &Connection, user: UserId) -> Result<Option<Credentials>, ReadError> {
    let mut statement =
        connection.prepare_cached("SELECT user, version, opaque_record, recovery, keyring, sum FROM credential WHERE user = ?1")?;
    statement.query_row([user.as_bytes()], credential_row).optional()?.transpose()
}

pub(super) fn insert(connection: &Connection, user: UserId, credentials: &Credentials) -> rusqlite::Result<()> {
    write(
        connection,
        "INSERT INTO credential (user, version, opaque_record, recovery, keyring, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (user, credentials),
    )
}

/// What a commit brings. `there` is what was read for it within the same transaction.
pub(super) fn replace(connection: &Connection, user: UserId, there: Credentials, new: &NewCredentials) -> rusqlite::Result<()> {
    let sql = "UPDATE credential SET version = ?2, opaque_record = ?3, recovery = ?4, keyring = ?5, sum = ?6 WHERE user = ?1";
    write(connection, sql, (user, &there.replaced_by(new)))
}

pub(super) fn delete(connection: &Connection, user: UserId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM credential WHERE user = ?1")?.execute([user.as_bytes()]).map(drop)
}

fn write(connection: &Connection, sql: &str, (user, credentials): (UserId, &Credentials)) -> rusqlite::Result<()> {
    let Credentials { version, opaque_record, recovery, keyring } = credentials;
    connection
        .prepare_cached(sql)?
        .execute((
            user.as_bytes(),
            version.cast_signed(),
            opaque_record.as_ref(),
            recovery.as_bytes(),
            keyring.as_ref(),
            credential_sum(user, credentials),
        ))
        .map(drop)
}

pub(super) fn credential_row(row: &Row<'_>) -> rusqlite::Result<Result<Credentials, ReadError>> {
    let user = UserId(row.get(0)?);
    let credentials = Credentials {
        version: row.get::<_, i64>(1)?.cast_unsigned(),
        opaque_record: blob(row, 2)?,
        recovery: PublicKey(row.get(3)?),
        keyring: blob(row, 4)?,
    };
    if credential_sum(user, &credentials).as_slice() == row.get::<_, Vec<u8>>(5)? {
        return Ok(Ok(credentials));
    }
    Ok(Err(ReadError::Damaged { place: format!("credentials of user {user}"), why: "the row's sum does not fit".into() }))
}

fn credential_sum(user: UserId, credentials: &Credentials) -> [u8; 8] {
    let Credentials { version, opaque_record, recovery, keyring } = credentials;
    sum(&[user.as_bytes(), &version.to_be_bytes(), opaque_record, recovery.as_bytes(), keyring])
}
