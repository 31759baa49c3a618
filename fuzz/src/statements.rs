//! Statements: each has one form, one meaning and one signer, and what a roster or a push accepts is what its statement says.
//!
//! The first byte chooses; what follows is a statement's bytes (signed here, by whom the second byte says), or a *push*.
//!
//! Never: a signature taken for another kind of statement.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::sync::LazyLock;

use bytes::Bytes;
use cloudsync_client::keys::keyring::KeyringStatement;
use cloudsync_client::keys::{Secret, SigningPair};
use cloudsync_engine::batch::{self, BatchError};
use cloudsync_engine::roster::{Judged, Roster, Standing};
use cloudsync_engine::verify;
use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::Push;
use cloudsync_protocol::limits::{DEVICES_MAX, PUSH_OPERATIONS_MAX};
use cloudsync_protocol::statement::{
    BatchStatement, CONTEXT_BATCH, CONTEXT_ENDORSE, CONTEXT_ENROL, CONTEXT_IDENTITY, CONTEXT_KEYRING, CONTEXT_REKEY, CONTEXT_REVOKE,
    CONTEXT_ROTATE, EnrolChange, EnrolStatement, IdentityChange, IdentityStatement, RekeyChange, RekeyStatement, RevokeChange,
    RevokeStatement, RosterChange, RotateChange, RotateStatement, Signed,
};
use cloudsync_protocol::{Hash, Header, Operation, Seq};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::maker;
use crate::reader::Reader;
use crate::seeds;

const CONTEXTS: [&[u8]; 8] =
    [CONTEXT_BATCH, CONTEXT_IDENTITY, CONTEXT_ENROL, CONTEXT_REVOKE, CONTEXT_ROTATE, CONTEXT_ENDORSE, CONTEXT_REKEY, CONTEXT_KEYRING];

/// One byte that chooses, one that says who signs, then the bytes.
pub fn check(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (kind, signer, bytes) = (reader.byte() % 9, Signer::of(reader.byte()), reader.rest());
    let (identity, next) = (maker::identity().signing, maker::next_identity().signing);
    match kind {
        0 => one_form::<BatchStatement>(bytes),
        1 => one_form::<KeyringStatement>(bytes),
        2 => one_form::<Header>(bytes),
        3 => one_form::<IdentityStatement>(bytes),
        4 => one_form::<EnrolStatement>(bytes),
        5 => one_form::<RevokeStatement>(bytes),
        6 => one_form::<RotateStatement>(bytes),
        7 => one_form::<RekeyStatement>(bytes),
        _ => push(bytes),
    }
    let signed = |by: &SigningPair, context| sign(signer.or(by), context, bytes);
    match kind {
        3 => roster(signer, IdentityChange { signed: signed(&identity, CONTEXT_IDENTITY) }.into()),
        4 => roster(signer, EnrolChange { signed: signed(&identity, CONTEXT_ENROL) }.into()),
        5 => roster(signer, RevokeChange { signed: signed(&identity, CONTEXT_REVOKE) }.into()),
        6 => {
            let endorsement = sign(signer.or(&maker::device().signing), CONTEXT_ENDORSE, bytes).signature;
            roster(signer, RotateChange { signed: sign(&next, CONTEXT_ROTATE, bytes), endorsement }.into());
        }
        7 => roster(signer, RekeyChange { signed: signed(&identity, CONTEXT_REKEY) }.into()),
        _ => {}
    }
}

/// Who signs what the roster is asked to take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signer {
    Rightful,
    Stranger,
}

impl Signer {
    const fn of(byte: u8) -> Self {
        if byte & 1 == 0 { Self::Rightful } else { Self::Stranger }
    }

    fn or(self, rightful: &SigningPair) -> SigningPair {
        match self {
            Self::Rightful => rightful.clone(),
            Self::Stranger => SigningPair::from_seed(&Secret::new([0x99; 32])),
        }
    }
}

/// Whatever bytes say the same is written in one form, and no other bytes are that form.
fn one_form<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = decode::<T>(bytes) else { return };
    let form = encode(&value);
    let again = decode::<T>(&form).expect("what was decoded comes back");
    assert_eq!(again, value, "and is the same");
    assert_eq!(encode(&again), form, "in one form");
}

fn sign(pair: impl Borrow<SigningPair>, context: &[u8], statement: &[u8]) -> Signed {
    let signature = pair.borrow().sign(context, statement).expect("this machine computes rightly");
    Signed { statement: Bytes::copy_from_slice(statement), signature }
}

/// A change of the roster, by whom it must be or by somebody else.
fn roster(signer: Signer, change: RosterChange) {
    // Each has its turn; all of them for each input would be most of the time.
    let turn = change.signed().statement.len() % CONTEXTS.len();
    if let Some(other) = CONTEXTS.get(turn).filter(|other| **other != change.context()) {
        let by = signer.or(&maker::identity().signing).public();
        assert!(verify::statement(&by, other, change.signed()).is_err(), "a signature of one kind passes for another");
    }
    let before = account();
    let mut roster = before.clone();
    let (judged, seq) = (roster.judge(&change), roster.last().next());
    let applied = roster.apply(&RosterRow { seq, server_ts: 0, change: change.clone() });
    let judged = match judged {
        Ok(Judged::Already(_)) => return assert!(applied.is_err() && roster == *before, "what holds already is not written again"),
        Ok(judged) => judged,
        Err(_) => return assert!(applied.is_err() && roster == *before, "what is refused changes nothing"),
    };
    assert!(applied.is_ok() && signer == Signer::Rightful, "only who may changes the roster: {judged:?}");
    assert!(roster.enrolled() <= DEVICES_MAX && roster.last() == seq);
    followed(&judged, (before, &roster), seq);
    let again = roster.apply(&RosterRow { seq: seq.next(), server_ts: 0, change });
    assert!(again.is_err(), "one change is made once");
}

/// What the roster makes of a change is what the statement says, and nothing else.
fn followed(judged: &Judged, (before, after): (&Roster, &Roster), seq: Seq) {
    let epoch = |roster: &Roster| roster.identity().map(|identity| identity.identity_epoch);
    let keyring = |roster: &Roster| (roster.keyring().version, roster.keyring().epoch);
    let (version, key) = keyring(before);
    match judged {
        Judged::Already(_) | Judged::Identity(..) => panic!("an account has its first identity once: {judged:?}"),
        Judged::Enrol(enrolled, _) => {
            assert_eq!((enrolled.format, enrolled.log, keyring(after)), (1, maker::LOG, (version, key)), "it is of this log");
            assert!(matches!(before.standing(enrolled.device), Standing::Unknown), "an id is used once");
            assert!(after.enrolled_at(enrolled.device, seq.next()).is_some() && after.enrolled_at(enrolled.device, seq).is_none());
        }
        Judged::Revoke(revoked) => {
            assert_eq!((revoked.format, revoked.log, keyring(after)), (1, maker::LOG, (version, key)), "it is of this log");
            assert!(matches!(before.standing(revoked.device), Standing::Enrolled(_)), "who is not enrolled can't leave");
            assert!(after.enrolled_at(revoked.device, seq.next()).is_none() && after.is_revoked_at(revoked.device, seq));
        }
        Judged::Rotate(rotation) => {
            assert_eq!((rotation.statement.log, keyring(after)), (maker::LOG, (version + 1, key + 1)), "the next of each");
            assert_eq!(epoch(after), epoch(before).map(|epoch| epoch + 1), "and the next identity");
            let stays = |device| rotation.statement.members.iter().any(|member| member.device == device);
            assert!(after.devices().all(|(id, device)| device.revoked.is_some() || stays(id)), "who is not listed has left");
        }
        Judged::Rekey(rekey, _) => {
            assert_eq!((rekey.log, keyring(after)), (maker::LOG, (version + 1, key)), "the next keyring under the same key");
            assert_eq!((epoch(after), after.enrolled()), (epoch(before), before.enrolled()), "and nothing else");
        }
    }
}

/// A log with its identity and one device.
fn account() -> &'static Roster {
    static ACCOUNT: LazyLock<Roster> = LazyLock::new(|| {
        let rows = seeds::changes().into_iter().zip(1..).map(|(change, seq)| RosterRow { seq: Seq(seq), server_ts: 0, change });
        Roster::from_rows(maker::LOG, rows.collect::<Vec<_>>().iter()).expect("the account's first rows")
    });
    &ACCOUNT
}

/// A push as it came, and again with the hashes that its statement should have: so that more than the hash is looked at.
fn push(bytes: &[u8]) {
    let Ok(push) = decode::<Push>(bytes) else { return };
    let hashes: Vec<Hash> = push.operations.iter().map(Operation::stated_hash).collect();
    accepted(&push.signed, &push.operations, &hashes);
    let Ok(mut statement) = decode::<BatchStatement>(&push.signed.statement) else { return };
    statement.envelopes.clone_from(&hashes);
    let signed = Signed { statement: encode(&statement).into(), signature: push.signed.signature };
    accepted(&signed, &push.operations, &hashes);
}

fn accepted(signed: &Signed, operations: &[Operation], hashes: &[Hash]) {
    match batch::check(maker::LOG, signed, operations) {
        Ok(checked) => {
            assert!((1..=PUSH_OPERATIONS_MAX).contains(&operations.len()), "{} operations", operations.len());
            assert_eq!(checked.statement.envelopes, hashes, "what was signed is what was sent");
            assert_eq!(checked.hash, Hash::of(&[&signed.statement]), "a batch is named by its bytes");
            let written = operations.iter().filter(|operation| operation.envelope().is_some());
            assert_eq!(written.clone().count(), checked.headers.len(), "each put and each adopt has its header");
            for (header, operation) in checked.headers.iter().zip(written) {
                // What is brought back is of its own device and push.
                let Some(put) = operation.as_put() else { continue };
                assert_eq!((header.log, header.device), (checked.statement.log, checked.statement.device), "of this log and device");
                assert_eq!(header.device_seq, checked.statement.device_seq, "of this push");
                assert_eq!(put.base.0.checked_add(1), Some(header.version.0), "made from the version named");
            }
            assert!(!checked.headers.is_empty() || matches!(operations, [Operation::Rewrap(_)]), "new wraps stand alone");
            let ahead = batch::clocks_ahead((&checked.headers, operations), 0);
            assert!(ahead.iter().all(|error| error.index < operations.len()), "an operation that is there");
        }
        Err(BatchError::Invalid(errors)) => {
            assert!(!errors.is_empty() && errors.iter().all(|error| error.index < operations.len()), "each is one of the push's");
        }
        Err(BatchError::Operations(count)) => assert!(count == operations.len() && !(1..=PUSH_OPERATIONS_MAX).contains(&count)),
        Err(BatchError::Hashes { .. } | BatchError::Statement(_) | BatchError::Mixed | BatchError::Rewrap(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the target makes of a seed's bytes, were it to say so.
    fn judge(change: RosterChange) -> Judged {
        account().judge(&change).unwrap()
    }

    #[test]
    fn the_account_of_the_target_can_be_changed_in_each_way() {
        let (identity, next, device) = (maker::identity().signing, maker::next_identity().signing, maker::device().signing);
        let of = |name: &str| seeds::all().into_iter().find(|(of, seed, _)| *of == "statements" && seed == name).unwrap().2[2..].to_vec();
        let enrol = of("enrol_another");
        assert!(matches!(judge(EnrolChange { signed: sign(&identity, CONTEXT_ENROL, &enrol) }.into()), Judged::Enrol(..)));
        let revoke = of("revoke");
        assert!(matches!(judge(RevokeChange { signed: sign(&identity, CONTEXT_REVOKE, &revoke) }.into()), Judged::Revoke(_)));
        let rekey = of("rekey_now");
        assert!(matches!(judge(RekeyChange { signed: sign(&identity, CONTEXT_REKEY, &rekey) }.into()), Judged::Rekey(..)));
        let rotate = of("rotate_now");
        let endorsement = sign(&device, CONTEXT_ENDORSE, &rotate).signature;
        assert!(matches!(judge(RotateChange { signed: sign(&next, CONTEXT_ROTATE, &rotate), endorsement }.into()), Judged::Rotate(_)));
    }

    #[test]
    fn the_pushes_of_the_seeds_fit() {
        for (_, name, bytes) in seeds::all().into_iter().filter(|(of, name, _)| *of == "statements" && name.starts_with("push")) {
            let push: Push = decode(&bytes[2..]).unwrap();
            assert!(batch::check(maker::LOG, &push.signed, &push.operations).is_ok(), "{name}");
        }
    }
}
