//! Opens a keyring, or holds one against secrets that are held already.
//!
//! Never: a device's half opened of a bare blob. It has no anchor; who reads it knows the blob by its hash, from a row that it verified.

use cloudsync_engine::roster::Roster;
use cloudsync_engine::verify;
use cloudsync_protocol::statement::Signed;
use cloudsync_protocol::{Hash, LogId, UserId, codec};
use subtle::ConstantTimeEq as _;

use super::{
    AccountSecrets, CONTEXT, ExportKey, FORMAT, FormatOnly, KIND_DEVICE, KIND_PASSWORD, KIND_RECOVERY, KeyringStatement, OpenError, Opener,
    half_info, secrets_aad,
};
use crate::keys::account::{AccountKey, AccountKeys, KeyEpoch, RecordIdKey};
use crate::keys::device::{AgreementPair, DeviceKeys, Identity, SigningPair};
use crate::keys::sealing::{open, open_with};
use crate::keys::secret::Secret;

/// Opens a keyring: account key, anchor, signature, secrets, and that they belong to the identity vouched for.
pub fn open_keyring(blob: &[u8], user: UserId, opener: Opener<'_>) -> Result<AccountSecrets, OpenError> {
    let log = LogId::from(user);
    let (signed, statement) = read(blob, log)?;
    let pair = opener.pair();
    let public = pair.public();
    let half = statement.halves.iter().find(|half| half.kind == opener.kind() && half.public == public).ok_or(OpenError::NoHalf)?;
    let epoch = KeyEpoch(statement.epoch);
    let key = open_with(&pair, &half_info(log, epoch, opener.kind()), &half.sealed).ok_or(OpenError::Damaged("account key"))?;
    let key = Secret::from_slice(&key).ok_or(OpenError::Damaged("account key"))?;
    let account = AccountKey { epoch, key };
    let anchor = opener.anchor(log, (statement.identity_epoch, &statement.identity), &account);
    if !bool::from(anchor.as_bytes().ct_eq(half.anchor.as_bytes())) {
        return Err(OpenError::Anchor);
    }
    verify::statement(&statement.identity, CONTEXT, &signed).map_err(|_| OpenError::Signature)?;
    open_secrets(&statement, user, account)
}

/// Opens a keyring by this device's own half, as the roster names it: its rows were verified, so that the blob is known by its hash.
/// There is no way to open that half of a blob that nobody vouched for.
pub fn open_as_member(blob: &[u8], roster: &Roster, (user, device): (UserId, &DeviceKeys)) -> Result<AccountSecrets, OpenError> {
    let (row, identity) = (roster.keyring(), roster.identity().ok_or(OpenError::NotInForce)?);
    if row.hash != Some(Hash::of(&[blob])) {
        return Err(OpenError::NotInForce);
    }
    let log = LogId::from(user);
    let (signed, statement) = read(blob, log)?;
    let named = (statement.epoch, statement.identity_epoch, statement.identity);
    if named != (row.epoch, identity.identity_epoch, identity.signing) {
        return Err(OpenError::Damaged("it is of another identity or account key than its row"));
    }
    verify::statement(&identity.signing, CONTEXT, &signed).map_err(|_| OpenError::Signature)?;
    let (epoch, public) = (KeyEpoch(statement.epoch), device.agreement.public());
    let half = statement.halves.iter().find(|half| half.kind == KIND_DEVICE && half.public == public).ok_or(OpenError::NoHalf)?;
    let key = open_with(&device.agreement, &half_info(log, epoch, KIND_DEVICE), &half.sealed).ok_or(OpenError::Damaged("account key"))?;
    let key = Secret::from_slice(&key).ok_or(OpenError::Damaged("account key"))?;
    let secrets = open_secrets(&statement, user, AccountKey { epoch, key })?;
    if secrets.identity.sharing.public() == identity.sharing { Ok(secrets) } else { Err(OpenError::Damaged("another sharing key")) }
}

/// Whether that export key's half is in a keyring, which was checked otherwise: whether it is of the password in force.
pub fn is_of_password(blob: &[u8], user: UserId, password: &ExportKey) -> Result<bool, OpenError> {
    let (_, statement) = read(blob, LogId::from(user))?;
    let public = Opener::Password(password).pair().public();
    Ok(statement.halves.iter().any(|half| half.kind == KIND_PASSWORD && half.public == public))
}

/// Whether a keyring holds these secrets, as a device sees that has them: of this identity and this account key, signed.
pub fn check_held(blob: &[u8], held: &AccountSecrets) -> Result<(), OpenError> {
    let (signed, statement) = read(blob, held.log())?;
    verify::statement(&held.identity.signing.public(), CONTEXT, &signed).map_err(|_| OpenError::Signature)?;
    let opened = open_secrets(&statement, held.user, held.account.current().clone())?;
    let fits = statement.epoch == held.account.current().epoch.0
        && statement.identity_epoch == held.identity.epoch
        && opened.account == held.account
        && opened.record_ids == held.record_ids;
    if fits { Ok(()) } else { Err(OpenError::Damaged("it holds other keys than this device has")) }
}

/// The statement in its form: nothing in it is vouched for yet.
fn read(blob: &[u8], log: LogId) -> Result<(Signed, KeyringStatement), OpenError> {
    let signed: Signed = codec::decode(blob)?;
    let FormatOnly { format } = codec::decode(&signed.statement)?;
    if format != FORMAT {
        return Err(OpenError::FormatUnknown { format });
    }
    let statement: KeyringStatement = codec::decode(&signed.statement)?;
    if statement.log != log {
        return Err(OpenError::OtherLog);
    }
    let devices = statement.halves.get(2..).unwrap_or_default();
    let in_order = matches!(statement.halves.as_slice(), [password, code, ..] if (password.kind, code.kind) == (KIND_PASSWORD, KIND_RECOVERY))
        && devices.iter().all(|half| half.kind == KIND_DEVICE)
        && devices.is_sorted_by(|one, next| one.public < next.public);
    if in_order { Ok((signed, statement)) } else { Err(OpenError::Damaged("its halves are not in their order")) }
}

fn open_secrets(statement: &KeyringStatement, user: UserId, current: AccountKey) -> Result<AccountSecrets, OpenError> {
    let damaged = OpenError::Damaged("the account's secrets");
    let aad = secrets_aad(statement.log, current.epoch);
    let plaintext = open(&current.identity_wrapping_key(), &statement.secrets, &aad).ok_or(damaged.clone())?;
    let mut rest = plaintext.as_slice();
    let mut next = || {
        let (secret, after) = rest.split_first_chunk::<32>()?;
        rest = after;
        Some(Secret::new(*secret))
    };
    let (Some(seed), Some(sharing), Some(record_ids)) = (next(), next(), next()) else { return Err(damaged) };
    let identity =
        Identity { epoch: statement.identity_epoch, signing: SigningPair::from_seed(&seed), sharing: AgreementPair::from_secret(&sharing) };
    if identity.signing.public() != statement.identity {
        return Err(OpenError::Damaged("its secrets belong to another identity"));
    }
    let mut earlier = Vec::new();
    while let Some((epoch, after)) = rest.split_first_chunk::<8>() {
        let (key, after) = after.split_first_chunk::<32>().ok_or(damaged.clone())?;
        earlier.push(AccountKey { epoch: KeyEpoch(u64::from_be_bytes(*epoch)), key: Secret::new(*key) });
        rest = after;
    }
    if !rest.is_empty() {
        return Err(damaged);
    }
    if !earlier.iter().map(|key| key.epoch.0).eq(1..current.epoch.0) {
        return Err(OpenError::Damaged("earlier account keys are missing"));
    }
    Ok(AccountSecrets { user, account: AccountKeys::new(current, earlier), identity, record_ids: RecordIdKey(record_ids) })
}
