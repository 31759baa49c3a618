//! Accounts and refresh families as rows; and the beginning of an erase.
//!
//! Never: a transaction begun or ended here.

use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{DeviceId, FamilyId, LogId, UserId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::credential_rows;
use super::erase::overwriting;
use super::fault::Fault;
use super::row::{ERASED_BYTES, Place, encode_erased, sum};
use super::totals::{self, Table};
use crate::store::{Account, Credentials, Family, ReadError};
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
        Write::Erase(log) => overwriting(connection, |connection| erase(connection, *log)).map(|key| Effect::Erasing { key }),
        Write::CreateAccount(account, credentials) => create(connection, account, credentials).map(Effect::Written),
        Write::CreateFamily(family) if is_erased(connection, family.user)? => Ok(Effect::Written(Written::Refused)),
        Write::CreateFamily(family) => create_family(connection, family),
        Write::AdvanceFamily(id, number, expires_ts) => change_families(connection, Which::One(*id), |family| {
            let is_there = family.number <= *number && !family.revoked;
            (family.number, family.expires_ts) = (number + 1, *expires_ts);
            is_there
        }),
        Write::RevokeFamily(id) => change_families(connection, Which::One(*id), revoke),
        Write::RevokeFamilies(user, device) => change_families(connection, Which::Of(*user, *device), revoke),
    }
}

pub(super) fn by_email(connection: &Connection, email: &str) -> Result<Option<Account>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT user, email, created_ts, sum FROM account WHERE email = ?1")?;
    statement.query_row([email], account_row).optional()?.transpose()
}

pub(super) fn account(connection: &Connection, user: UserId) -> Result<Option<Account>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT user, email, created_ts, sum FROM account WHERE user = ?1")?;
    statement.query_row([user.as_bytes()], account_row).optional()?.transpose()
}

pub(super) fn family(connection: &Connection, id: FamilyId) -> Result<Option<Family>, ReadError> {
    let mut statement =
        connection.prepare_cached("SELECT id, user, device, signing, number, expires_ts, revoked, sum FROM family WHERE id = ?1")?;
    statement.query_row([id.as_bytes()], family_row).optional()?.transpose()
}

/// Which families.
enum Which {
    One(FamilyId),
    Of(UserId, DeviceId),
}

fn revoke(family: &mut Family) -> bool {
    family.revoked = true;
    true
}

/// Changes those of the families that `change` says yes to.
fn change_families(connection: &Connection, which: Which, mut change: impl FnMut(&mut Family) -> bool) -> Result<Effect, Fault> {
    let found: Vec<Family> = match which {
        Which::One(id) => family(connection, id)?.into_iter().collect(),
        Which::Of(user, device) => {
            let mut statement = connection.prepare_cached(
                "SELECT id, user, device, signing, number, expires_ts, revoked, sum FROM family WHERE user = ?1 AND device = ?2",
            )?;
            let rows = statement.query_map((user.as_bytes(), device.as_bytes()), family_row)?.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().collect::<Result<_, ReadError>>()?
        }
    };
    let mut written = Written::Refused;
    for mut family in found {
        if change(&mut family) {
            written = Written::Done;
            connection.prepare_cached("UPDATE family SET number = ?2, expires_ts = ?3, revoked = ?4, sum = ?5 WHERE id = ?1")?.execute(
                (family.id.as_bytes(), family.number.cast_signed(), family.expires_ts.cast_signed(), family.revoked, family_sum(&family)),
            )?;
        }
    }
    Ok(Effect::Written(written))
}

fn create_family(connection: &Connection, family: &Family) -> Result<Effect, Fault> {
    let added = connection.prepare_cached("INSERT OR IGNORE INTO family VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute((
        family.id.as_bytes(),
        family.user.as_bytes(),
        family.device.as_bytes(),
        family.signing.as_bytes(),
        family.number.cast_signed(),
        family.expires_ts.cast_signed(),
        family.revoked,
        family_sum(family),
    ))?;
    totals::add(connection, Table::Families, added.cast_signed())?;
    Ok(Effect::Written(if added == 0 { Written::Refused } else { Written::Done }))
}

fn create(connection: &Connection, new: &Account, credentials: &Credentials) -> Result<Written, Fault> {
    match by_email(connection, &new.email)? {
        Some(present)
            if present == *new && credential_rows::read(connection, new.user)?.is_some_and(|there| there.opens_as(credentials)) =>
        {
            return Ok(Written::Done);
        }
        Some(_) => return Ok(Written::EmailTaken),
        None => {}
    }
    if account(connection, new.user)?.is_some() || is_erased(connection, new.user)? {
        return Ok(Written::UserTaken);
    }
    connection.prepare_cached("INSERT INTO account VALUES (?1, ?2, ?3, ?4)")?.execute((
        new.user.as_bytes(),
        &new.email,
        new.created_ts.cast_signed(),
        account_sum(new),
    ))?;
    credential_rows::insert(connection, new.user, credentials)?;
    totals::add(connection, Table::Accounts, 1)?;
    Ok(Written::Done)
}

fn erase(connection: &Connection, log: LogId) -> Result<i64, Fault> {
    let key = connection.prepare_cached("SELECT key FROM logs WHERE id = ?1")?.query_row([log.as_bytes()], |row| row.get(0)).optional()?;
    let (key, sql) = match key {
        Some(key) => (key, "UPDATE logs SET head = ?3 WHERE key = ?1 AND id = ?2"),
        None => (totals::new_log(connection)?, "INSERT INTO logs (key, id, head) VALUES (?1, ?2, ?3)"),
    };
    connection.prepare_cached(sql)?.execute((key, log.as_bytes(), encode_erased(Place { key, log })))?;
    credential_rows::delete(connection, UserId(log.0))?;
    for (name, table) in [("account", Table::Accounts), ("family", Table::Families)] {
        let deleted = connection.prepare_cached(&format!("DELETE FROM {name} WHERE user = ?1"))?.execute([log.as_bytes()])?;
        totals::add(connection, table, -deleted.cast_signed())?;
    }
    Ok(key)
}

fn is_erased(connection: &Connection, user: UserId) -> Result<bool, ReadError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM logs WHERE id = ?1 AND length(head) = ?2")?;
    Ok(statement.exists((user.as_bytes(), ERASED_BYTES))?)
}

pub(super) fn account_row(row: &Row<'_>) -> rusqlite::Result<Result<Account, ReadError>> {
    let account = Account { user: UserId(row.get(0)?), email: row.get(1)?, created_ts: row.get::<_, i64>(2)?.cast_unsigned() };
    if account_sum(&account).as_slice() == row.get::<_, Vec<u8>>(3)? {
        return Ok(Ok(account));
    }
    let place = format!("account of user {}", account.user);
    Ok(Err(ReadError::Damaged { place, why: "the row's sum does not fit".into() }))
}

pub(super) fn family_row(row: &Row<'_>) -> rusqlite::Result<Result<Family, ReadError>> {
    let family = Family {
        id: FamilyId(row.get(0)?),
        user: UserId(row.get(1)?),
        device: DeviceId(row.get(2)?),
        signing: PublicKey(row.get(3)?),
        number: row.get::<_, i64>(4)?.cast_unsigned(),
        expires_ts: row.get::<_, i64>(5)?.cast_unsigned(),
        revoked: row.get(6)?,
    };
    if family_sum(&family).as_slice() == row.get::<_, Vec<u8>>(7)? {
        return Ok(Ok(family));
    }
    let place = format!("a log-in of user {}", family.user);
    Ok(Err(ReadError::Damaged { place, why: "the row's sum does not fit".into() }))
}

fn family_sum(family: &Family) -> [u8; 8] {
    let numbers = [family.number.to_be_bytes(), family.expires_ts.to_be_bytes(), u64::from(family.revoked).to_be_bytes()].concat();
    sum(&[&family.id.0, family.user.as_bytes(), family.device.as_bytes(), family.signing.as_bytes(), &numbers])
}

fn account_sum(account: &Account) -> [u8; 8] {
    let created = account.created_ts.to_be_bytes();
    sum(&[account.user.as_bytes(), account.email.as_bytes(), &created])
}
