//! What needs no turn in the queue: hellos, attaching, pages. Answered from the stable head and roster.
//!
//! Never: *rewound* on the word of an owner that may have been replaced; that is said after a serial read of the head.

use cloudsync_protocol::frame::{Attach, Attached, History, OWN_LOG, Pull, Snapshot};
use cloudsync_protocol::limits::HISTORY_ROWS_MAX;
use cloudsync_protocol::{Cursor, ErrorCode, Failure, Frame, RecordKey, Seq, ShortHash};

use super::effect::{Admission, Effect, PageRead, Stop};
use super::event::{ReadId, ReadTrouble};
use super::{Owned, User, refusal};
use crate::log::Head;
use crate::roster::Standing;
use crate::session::{Peer, SessionId};
use crate::verify::HelloProof;

/// A request that waits for the activation, or for a read.
#[derive(Debug)]
pub(super) enum Ask {
    Open { peer: Peer, proof: HelloProof },
    Attach { peer: Peer, attach: Attach },
    Pull { peer: Peer, pull: Pull },
    Snapshot { peer: Peer, snapshot: Snapshot },
    History { peer: Peer, history: History },
}

impl Ask {
    const fn peer(&self) -> Peer {
        match self {
            Self::Open { peer, .. }
            | Self::Attach { peer, .. }
            | Self::Pull { peer, .. }
            | Self::Snapshot { peer, .. }
            | Self::History { peer, .. } => *peer,
        }
    }

    /// 0 for a hello, whose failure is the connection's.
    const fn request(&self) -> u32 {
        match self {
            Self::Open { .. } => 0,
            Self::Attach { attach, .. } => attach.request,
            Self::Pull { pull, .. } => pull.request,
            Self::Snapshot { snapshot, .. } => snapshot.request,
            Self::History { history, .. } => history.request,
        }
    }

    pub(super) const fn session(&self) -> SessionId {
        self.peer().session
    }

    const fn log(&self) -> u32 {
        match self {
            Self::Open { .. } => OWN_LOG,
            Self::Attach { attach, .. } => attach.log,
            Self::Pull { pull, .. } => pull.log,
            Self::Snapshot { snapshot, .. } => snapshot.log,
            Self::History { history, .. } => history.log,
        }
    }
}

/// What a read is to confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirm {
    /// The row there has this hash.
    Row(ShortHash),
    /// I still am the owner, so this refusal is true.
    Refusal(ErrorCode),
}

/// What a cursor is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    Refused(ErrorCode),
    AskRow(Seq, ShortHash),
    AskHead(ErrorCode),
}

fn verdict(head: &Head, cursor: Cursor) -> Verdict {
    if cursor.seq == Seq::ZERO {
        Verdict::Fine
    } else if cursor.timeline != head.timeline {
        Verdict::AskHead(ErrorCode::TimelineUnknown)
    } else if cursor.seq > head.seq {
        Verdict::AskHead(ErrorCode::StoreRewound)
    } else if cursor.seq < head.floor {
        Verdict::Refused(ErrorCode::BelowFloor)
    } else if cursor.seq < head.seq {
        Verdict::AskRow(cursor.seq, cursor.row)
    } else if cursor.row == head.row {
        Verdict::Fine
    } else {
        Verdict::Refused(ErrorCode::StoreRewound)
    }
}

impl User {
    /// Answers now if the log is owned, later if it is being acquired.
    pub(super) fn ask(&mut self, ask: Ask, effects: &mut Vec<Effect>) {
        if let Some(stop) = self.stopped() {
            let failure = self.stop_failure(stop, ask.request());
            self.refuse_ask(&ask, failure, effects);
            return;
        }
        let Some(owned) = &self.owned else {
            self.early.push(ask);
            return;
        };
        if ask.log() != OWN_LOG {
            let failure = log_unknown(ask.request());
            self.refuse_ask(&ask, failure, effects);
            return;
        }
        let Peer { session, device } = ask.peer();
        if let Ask::Open { proof, .. } = &ask {
            let is_barred = self.bars.is_barred(device, self.now_ms);
            let outcome = if is_barred { Err(refusal::barred(0, self.options.retry_after_ms)) } else { admit(owned, device, proof) };
            effects.push(Effect::Opened { session, outcome });
            return;
        }
        if let Err(failure) = refusal::standing(ask.request(), owned.roster.standing(device)) {
            self.refuse_ask(&ask, failure, effects);
            return;
        }
        match ask.cursor().map_or(Verdict::Fine, |cursor| verdict(&owned.head, cursor)) {
            Verdict::Fine => self.grant(ask, effects),
            Verdict::Refused(code) => {
                let failure = cursor_failure(ask.request(), code, &owned.head);
                self.refuse_ask(&ask, failure, effects);
            }
            Verdict::AskRow(seq, row) => {
                let read = self.next_read();
                self.reads.insert(read, (ask, Confirm::Row(row)));
                effects.push(Effect::ReadRow { read, seq });
            }
            Verdict::AskHead(code) => {
                let read = self.next_read();
                self.reads.insert(read, (ask, Confirm::Refusal(code)));
                effects.push(Effect::ReadHead { read });
            }
        }
    }

    pub(super) fn on_row_read(&mut self, read: ReadId, outcome: Result<Option<ShortHash>, ReadTrouble>, effects: &mut Vec<Effect>) {
        let Some((ask, confirm)) = self.reads.remove(&read) else { return };
        let Some(owned) = &self.owned else { return };
        let code = match (outcome, confirm) {
            (Ok(Some(found)), Confirm::Row(row)) if found == row => {
                self.grant(ask, effects);
                return;
            }
            (Ok(Some(_)), Confirm::Row(_)) => ErrorCode::StoreRewound,
            (Ok(None), Confirm::Row(_)) => ErrorCode::BelowFloor,
            (Ok(_), Confirm::Refusal(code)) => code,
            (Err(trouble), _) => {
                let failure = self.trouble_failure(ask.request(), &trouble);
                self.refuse_ask(&ask, failure, effects);
                return;
            }
        };
        let failure = cursor_failure(ask.request(), code, &owned.head);
        self.refuse_ask(&ask, failure, effects);
    }

    /// A head that was read to confirm a refusal. False when the read was not one of these.
    pub(super) fn on_head_confirmed(
        &mut self,
        read: ReadId,
        outcome: &Result<Option<Head>, ReadTrouble>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some((ask, confirm)) = self.reads.remove(&read) else { return false };
        match outcome {
            Ok(head) if self.is_mine(head.as_ref()) => {
                let code = match confirm {
                    Confirm::Refusal(code) => code,
                    Confirm::Row(_) => ErrorCode::Internal,
                };
                if let Some(owned) = &self.owned {
                    // A commit of mine may have become durable since: then the cursor is as good as any.
                    let failure = match verdict(&owned.head, ask.cursor().unwrap_or_default()) {
                        Verdict::AskHead(_) => cursor_failure(ask.request(), code, &owned.head),
                        Verdict::Fine | Verdict::Refused(_) | Verdict::AskRow(..) => self.busy(ask.request()),
                    };
                    self.refuse_ask(&ask, failure, effects);
                }
            }
            Ok(_) => {
                let failure = self.busy(ask.request());
                self.refuse_ask(&ask, failure, effects);
                self.stop(Stop::Fenced, effects);
            }
            Err(trouble) => {
                let failure = self.trouble_failure(ask.request(), trouble);
                self.refuse_ask(&ask, failure, effects);
            }
        }
        true
    }

    /// The cursor is fine.
    fn grant(&mut self, ask: Ask, effects: &mut Vec<Effect>) {
        let Some(owned) = &self.owned else { return };
        let head = &owned.head;
        let session = ask.session();
        match ask {
            Ask::Attach { peer, attach } => {
                // It may have been revoked while its row was read.
                if let Err(failure) = refusal::standing(attach.request, owned.roster.standing(peer.device)) {
                    self.answer(session, attach.request, Frame::Failure(failure), effects);
                    return;
                }
                let attached = Attached {
                    request: attach.request,
                    log: OWN_LOG,
                    id: self.options.log,
                    head: head.seq,
                    timeline: head.timeline,
                    generation: head.generation,
                    floor: head.floor,
                };
                self.attached.insert(peer.session, peer.device);
                self.answer(session, attach.request, Frame::Attached(attached), effects);
            }
            Ask::Pull { pull, .. } if pull.from.seq < head.floor => {
                let failure = cursor_failure(pull.request, ErrorCode::BelowFloor, head);
                self.answer(session, pull.request, Frame::Failure(failure), effects);
            }
            Ask::Pull { pull, .. } => {
                let to = pull.to.clamp(pull.from.seq, head.seq);
                let page = PageRead::Pull { request: pull.request, timeline: head.timeline, from: pull.from, to };
                effects.push(Effect::ReadPage { session, page });
            }
            Ask::Snapshot { snapshot, .. } => match &snapshot.resume {
                Some(token) if token.timeline != head.timeline || token.start > head.seq => {
                    let failure =
                        Failure::new(snapshot.request, ErrorCode::SnapshotInvalid, "that snapshot is not of this log: begin anew");
                    self.answer(session, snapshot.request, Frame::Failure(failure), effects);
                }
                Some(_) | None => {
                    let page = PageRead::Snapshot { request: snapshot.request, resume: snapshot.resume };
                    effects.push(Effect::ReadPage { session, page });
                }
            },
            Ask::History { history, .. } => {
                let History { request, collection, record, before, count, .. } = history;
                let count = count.clamp(1, HISTORY_ROWS_MAX);
                let page = PageRead::History { request, record: RecordKey { collection, record }, before, count };
                effects.push(Effect::ReadPage { session, page });
            }
            // Admitted before any cursor is asked for.
            Ask::Open { .. } => {}
        }
    }

    pub(super) fn refuse_ask(&mut self, ask: &Ask, failure: Failure, effects: &mut Vec<Effect>) {
        let session = ask.session();
        match ask {
            Ask::Open { .. } => effects.push(Effect::Opened { session, outcome: Err(failure) }),
            Ask::Attach { .. } | Ask::Pull { .. } | Ask::Snapshot { .. } | Ask::History { .. } => {
                self.answer(session, ask.request(), Frame::Failure(failure), effects);
            }
        }
    }

    /// Refuses everything that waits for the activation or a read.
    pub(super) fn refuse_asks(&mut self, failure: impl Fn(u32) -> Failure, effects: &mut Vec<Effect>) {
        let waiting = std::mem::take(&mut self.early).into_iter().chain(std::mem::take(&mut self.reads).into_values().map(|(ask, _)| ask));
        for ask in waiting.collect::<Vec<_>>() {
            self.refuse_ask(&ask, failure(ask.request()), effects);
        }
    }
}

impl Ask {
    const fn cursor(&self) -> Option<Cursor> {
        match self {
            Self::Attach { attach, .. } => Some(attach.cursor),
            Self::Pull { pull, .. } => Some(pull.from),
            Self::Open { .. } | Self::Snapshot { .. } | Self::History { .. } => None,
        }
    }
}

fn admit(owned: &Owned, device: cloudsync_protocol::DeviceId, proof: &HelloProof) -> Result<Admission, Failure> {
    let standing = owned.roster.standing(device);
    refusal::standing(0, standing)?;
    match standing {
        Standing::Enrolled(enrolled) => match proof.verify(&enrolled.signing) {
            Ok(()) => Ok(Admission { device, signing: enrolled.signing }),
            Err(error) => Err(Failure::new(0, ErrorCode::SignatureInvalid, error.to_string())),
        },
        Standing::Unknown | Standing::Revoked(_) => Err(Failure::new(0, ErrorCode::DeviceUnknown, "this device is not enrolled")),
    }
}

pub(super) fn log_unknown(request: u32) -> Failure {
    Failure::new(request, ErrorCode::LogUnknown, "this session has log 0 only")
}

fn cursor_failure(request: u32, code: ErrorCode, head: &Head) -> Failure {
    let message = if code == ErrorCode::BelowFloor {
        format!("history begins after {}: take a snapshot", head.floor)
    } else if code == ErrorCode::TimelineUnknown {
        format!("the log's timeline is {}", head.timeline)
    } else {
        format!("the log is at {}, and its row is not the cursor's: keep everything", head.seq)
    };
    Failure::new(request, code, message)
}
