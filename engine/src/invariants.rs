//! The numbered invariants of the design as functions: tests assert them, the model drivers check them at each step, and
//! the running server counts what they find.
//!
//! Never: a repair. A violation is our bug; whatever it concerns is not sent.

use std::collections::BTreeMap;
use std::fmt;

use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{DeviceId, DeviceSeq, Entry, Epoch, Hash, Operation, OwnerId, Seq};

use crate::log::{Commit, Current, Figures, Head};
use crate::roster::{KeyringAt, Roster};
use crate::session::SessionId;

/// Which invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// stable ≤ assigned.
    V1,
    /// Acknowledged or fanned out ⇒ durable.
    V2,
    /// `seq` has no gaps.
    V3,
    /// No answer cites what is not stable.
    V4,
    /// A device sees `seq` rise.
    S1,
    /// After a pull to head, replica = store.
    S2,
    /// One `(device, device_seq)` commits once, with one content.
    D1,
    /// After `claimed` no earlier session of that device commits.
    D2,
    /// Every commit carries the epoch that the store then holds; an epoch is won once.
    L1,
    /// Figures = what a recount finds.
    Q1,
    /// Snapshot + log = state, on every replica.
    R1,
    /// The head's keyring version and key epoch are the roster's.
    K1,
    /// Stored credentials are of the head's keyring version.
    K2,
    /// No put above a rotation is under an earlier account key.
    K3,
    /// The stored recovery key is the newest rotation's, where there is one.
    K4,
}

impl Invariant {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V4,
        Self::S1,
        Self::S2,
        Self::D1,
        Self::D2,
        Self::L1,
        Self::Q1,
        Self::R1,
        Self::K1,
        Self::K2,
        Self::K3,
        Self::K4,
    ];
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant:?} violated: {facts}")]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was found; ids and numbers only.
    pub facts: String,
}

type Holds = Result<(), Violation>;

fn hold(invariant: Invariant, holds: bool, facts: impl FnOnce() -> String) -> Holds {
    if holds { Ok(()) } else { Err(Violation { invariant, facts: facts() }) }
}

/// V1.
pub fn stable_is_not_above_assigned(stable: Seq, assigned: Seq) -> Holds {
    hold(Invariant::V1, stable <= assigned, || format!("stable {stable}, assigned {assigned}"))
}

/// V2: what is told to a client, against the durable head of that moment.
pub fn told_is_durable(told: Seq, durable: Seq) -> Holds {
    hold(Invariant::V2, told <= durable, || format!("told {told}, durable {durable}"))
}

/// V3: entries follow `after` without a hole, to exactly `to`.
pub fn entries_are_contiguous(after: Seq, entries: &[Entry], to: Seq) -> Holds {
    let mut last = after;
    for entry in entries {
        hold(Invariant::V3, entry.first() == last.next() && entry.last() >= entry.first(), || {
            format!("entry ({}, {}] after {last}", entry.first(), entry.last())
        })?;
        last = entry.last();
    }
    hold(Invariant::V3, last == to, || format!("entries end at {last}, head says {to}"))
}

/// V3 of a commit.
pub fn commit_is_contiguous(commit: &Commit) -> Holds {
    hold(Invariant::V3, !commit.entries.is_empty(), || "a commit without entries".to_owned())?;
    entries_are_contiguous(commit.after, &commit.entries, commit.head.seq)
}

/// V4: a number that an answer cites, against the stable head of that moment.
pub fn cited_is_stable(cited: Seq, stable: Seq) -> Holds {
    hold(Invariant::V4, cited <= stable, || format!("cited {cited}, stable {stable}"))
}

/// Q1: the figures against every current version there is.
pub fn figures_equal_recount<'a>(figures: Figures, currents: impl IntoIterator<Item = &'a Current>) -> Holds {
    let recount = currents.into_iter().fold(Figures::default(), |sum, current| sum.with(current));
    hold(Invariant::Q1, figures == recount, || format!("figures {figures:?}, recount {recount:?}"))
}

/// K1.
pub fn head_has_the_rosters_keys(head: &Head, roster: &Roster) -> Holds {
    let KeyringAt { version, epoch, .. } = *roster.keyring();
    hold(Invariant::K1, (head.keyring_version, head.key_epoch) == (version, epoch), || {
        format!("head at keyring {} and account key {}, roster at {version} and {epoch}", head.keyring_version, head.key_epoch)
    })
}

/// K2: the version of what is stored, or is about to be.
pub fn credentials_are_of_the_head(version: u64, head: &Head) -> Holds {
    hold(Invariant::K2, version == head.keyring_version, || format!("credentials {version}, head at keyring {}", head.keyring_version))
}

/// K3: of entries that the roster knows the rotations before.
pub fn puts_are_under_the_rosters_key(roster: &Roster, entries: &[Entry]) -> Holds {
    for entry in entries {
        let Entry::Batch(batch) = entry else { continue };
        let expected = roster.key_epoch_at(batch.first);
        for envelope in batch.operations.iter().filter_map(Operation::envelope) {
            let epoch = envelope.key_epoch();
            hold(Invariant::K3, epoch >= expected, || {
                format!("a version at {} under account key {epoch}, expected {expected}", batch.first)
            })?;
        }
    }
    Ok(())
}

/// K4: the recovery key that is stored, or is about to be.
pub fn recovery_is_the_rosters(recovery: &PublicKey, roster: &Roster) -> Holds {
    let expected = roster.keyring().recovery;
    hold(Invariant::K4, expected.is_none_or(|expected| expected == *recovery), || {
        "another recovery key than the newest rotation's".to_owned()
    })
}

/// K1 to K4 of a commit that follows `before` and leads to `roster`.
pub fn keys_of_a_commit(commit: &Commit, before: &Head, roster: &Roster) -> Holds {
    head_has_the_rosters_keys(&commit.head, roster)?;
    match &commit.credentials {
        Some(credentials) => {
            credentials_are_of_the_head(credentials.version, &commit.head)?;
            credentials.recovery.as_ref().map_or(Ok(()), |recovery| recovery_is_the_rosters(recovery, roster))?;
        }
        // Nothing of them is written, so that they stay those of the head before.
        None => credentials_are_of_the_head(before.keyring_version, &commit.head)?,
    }
    puts_are_under_the_rosters_key(roster, &commit.entries)
}

/// S1: follows what one device is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rising {
    last: Seq,
}

impl Rising {
    /// Something of `(from, to]` was told.
    pub fn told(&mut self, from: Seq, to: Seq) -> Holds {
        let last = self.last;
        self.last = to;
        hold(Invariant::S1, from >= last && to > from, || format!("({from}, {to}] after {last}"))
    }
    /// It attached again, or took a snapshot, up to `to`.
    pub fn resync(&mut self, to: Seq) {
        self.last = to;
    }
}

/// S2: two states, as whatever their owner compares them by.
pub fn replica_equals_store<T: PartialEq + fmt::Debug>(replica: &T, store: &T) -> Holds {
    hold(Invariant::S2, replica == store, || format!("replica {replica:?}, store {store:?}"))
}

/// R1: what a replica came to that took a snapshot at some moment and read on from its start, against one that read the
/// whole log, and against the server's state.
pub fn snapshot_and_log_make_the_state<T: PartialEq + fmt::Debug>(by_snapshot: &T, by_log: &T, state: &T) -> Holds {
    hold(Invariant::R1, by_log == state, || format!("by the log {by_log:?}, state {state:?}"))?;
    hold(Invariant::R1, by_snapshot == state, || format!("by a snapshot {by_snapshot:?}, state {state:?}"))
}

/// D1: follows every committed push of a log.
#[derive(Debug, Clone, Default)]
pub struct OneContent {
    pushes: BTreeMap<(DeviceId, DeviceSeq), (Hash, Seq)>,
}

impl OneContent {
    /// A push was committed, its first operation as `first`. Telling the same commit again is fine.
    pub fn committed(&mut self, device: DeviceId, device_seq: DeviceSeq, hash: Hash, first: Seq) -> Holds {
        let known = *self.pushes.entry((device, device_seq)).or_insert((hash, first));
        hold(Invariant::D1, known == (hash, first), || {
            format!("push {device_seq} of {device} at {first} as {hash}, before at {} as {}", known.1, known.0)
        })
    }
}

/// D2: follows claims. Sessions of a device supersede one another in the order of their claims.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// Per device: who claimed last and was told so, and who may not commit any more since when.
    told: BTreeMap<DeviceId, BTreeMap<SessionId, Seq>>,
}

impl Claims {
    /// `session` was told `claimed` when the log's head was `head`: whatever the others of its device had is decided.
    pub fn claimed(&mut self, device: DeviceId, session: SessionId, others: &[SessionId], head: Seq) {
        let over = self.told.entry(device).or_default();
        over.remove(&session);
        for other in others.iter().filter(|other| **other != session) {
            over.entry(*other).or_insert(head);
        }
    }
    /// A push of `session` was committed, its first operation as `first`.
    pub fn committed(&self, device: DeviceId, session: SessionId, first: Seq) -> Holds {
        let over = self.told.get(&device).and_then(|over| over.get(&session));
        hold(Invariant::D2, over.is_none_or(|head| first <= *head), || {
            format!("{session:?} of {device} committed {first} after another session was told claimed at {over:?}")
        })
    }
}

/// L1: follows a store's applied acquires and commits.
#[derive(Debug, Clone, Default)]
pub struct Epochs {
    won: BTreeMap<Epoch, OwnerId>,
    held: Epoch,
}

impl Epochs {
    /// `owner` won `epoch`.
    pub fn won(&mut self, epoch: Epoch, owner: OwnerId) -> Holds {
        let winner = *self.won.entry(epoch).or_insert(owner);
        hold(Invariant::L1, winner == owner && epoch >= self.held, || {
            format!("epoch {epoch} won by {owner} and {winner}, held {}", self.held)
        })?;
        self.held = epoch;
        Ok(())
    }
    /// A commit under `epoch` was applied.
    pub fn committed(&self, epoch: Epoch) -> Holds {
        hold(Invariant::L1, epoch == self.held, || format!("commit under {epoch}, held {}", self.held))
    }
}
