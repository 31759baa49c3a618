//! The account calls of one connection, before its hello: registering, logging in, enrolling, refreshing, logging out.
//!
//! Never: a frame after hello, a socket, a clock. A call out of order is refused; what a call made durable, it may make
//! again: a lost answer costs the client one repetition.

use std::sync::Arc;

use bytes::Bytes;
use cloudsync_protocol::codec;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{
    Authorized, Done, Enrol, GetRoster, LoginFinish, LoginStart, LoginStarted, Logout, Refresh, RegisterFinish, RegisterStart,
    RegisterStarted, RosterPage, Tokens,
};
use cloudsync_protocol::limits::{KEYRING_BYTES_MAX, PAGE_BYTES, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{EnrolStatement, PublicKey, RevokeStatement, RosterChange};
use cloudsync_protocol::{DeviceId, Entry, ErrorCode, Failure, Frame, Nonce, Seq, UserId};
use cloudsync_storage::store::{Account, CreateAccountError, WriteError};
use tracing::info;

use crate::accounts::{Accounts, Inner, Registration};
use crate::failures::{self, refuse};
use crate::passwords::{LoginState, PasswordError, Passwords};
use crate::refresh::{Bound, Presented};
use crate::{email, proofs};

/// The identity when there is none, and the device.
const ENROL_CHANGES_MAX: usize = 2;

/// What the next frame may go on with.
#[derive(Debug)]
enum Step {
    /// Nothing is begun.
    Idle,
    /// A registration response was given for this address.
    Registering { email: String },
    /// KE2 was given. Without a user, the address is unknown: KE3 can't be right.
    LoggingIn { state: Box<LoginState>, user: Option<UserId> },
}

/// The account calls of one connection.
#[derive(Debug)]
pub struct Conversation {
    accounts: Accounts,
    nonce: Nonce,
    step: Step,
    /// The one device that this connection enrolled.
    enrolled: Option<DeviceId>,
}

fn opaque(error: PasswordError) -> Failure {
    refuse(error.code(), error.to_string())
}

fn out_of_order(what: &str) -> Failure {
    refuse(ErrorCode::OpaqueInvalid, format!("{what} does not follow its first step on this connection; start over"))
}

fn email_taken() -> Failure {
    refuse(ErrorCode::EmailTaken, "there is an account for that address; log in")
}

fn address(text: &str) -> Result<String, Failure> {
    email::normalise(text).map_err(|error| refuse(ErrorCode::EmailInvalid, error.to_string()))
}

impl Conversation {
    pub(crate) const fn new(accounts: Accounts, nonce: Nonce) -> Self {
        Self { accounts, nonce, step: Step::Idle, enrolled: None }
    }

    fn inner(&self) -> &Inner {
        &self.accounts.inner
    }

    /// Answers one account call, at `now_ms`.
    ///
    /// # Errors
    /// The failure to send. With `request` 0 it is the connection's, which then closes: the frame was no account call
    /// (`unexpected_frame`), or its request id was 0.
    pub async fn handle(&mut self, frame: Frame, now_ms: u64) -> Result<Frame, Failure> {
        let (request, answer) = match frame {
            Frame::RegisterStart(start) => (numbered(start.request)?, self.register_start(&start).map(Frame::from)),
            Frame::RegisterFinish(finish) => (numbered(finish.request)?, self.register_finish(&finish, now_ms).await.map(Frame::from)),
            Frame::LoginStart(start) => (numbered(start.request)?, self.login_start(&start).await.map(Frame::from)),
            Frame::LoginFinish(finish) => (numbered(finish.request)?, self.login_finish(&finish, now_ms).await.map(Frame::from)),
            Frame::Enrol(enrol) => (numbered(enrol.request)?, self.enrol(enrol, now_ms).await.map(Frame::from)),
            Frame::Refresh(refresh) => (numbered(refresh.request)?, self.refresh(&refresh, now_ms).await.map(Frame::from)),
            Frame::Logout(logout) => (numbered(logout.request)?, self.logout(&logout).await.map(Frame::from)),
            Frame::GetRoster(get) => (numbered(get.request)?, self.roster(&get, now_ms).await.map(Frame::from)),
            Frame::Challenge(_)
            | Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::GoingAway(_)
            | Frame::Ping(_)
            | Frame::Pong(_)
            | Frame::Failure(_)
            | Frame::RegisterStarted(_)
            | Frame::LoginStarted(_)
            | Frame::Authorized(_)
            | Frame::Tokens(_)
            | Frame::Done(_)
            | Frame::RosterPage(_)
            | Frame::Authenticate(_)
            | Frame::Authenticated(_)
            | Frame::Attach(_)
            | Frame::Attached(_)
            | Frame::Pull(_)
            | Frame::Page(_)
            | Frame::Snapshot(_)
            | Frame::SnapshotPage(_)
            | Frame::Claim(_)
            | Frame::Claimed(_)
            | Frame::Push(_)
            | Frame::Pushed(_)
            | Frame::ChangeRoster(_)
            | Frame::RosterChanged(_)
            | Frame::GetKeyring(_)
            | Frame::Keyring(_)
            | Frame::History(_)
            | Frame::Versions(_)
            | Frame::Event(_)
            | Frame::Committed(_)
            | Frame::HeadAt(_)
            | Frame::Lagging(_) => {
                let message = format!("{} has no place before hello; only account calls have", frame.name());
                return Err(refuse(ErrorCode::UnexpectedFrame, message));
            }
        };
        answer.map_err(|failure| Failure { request, ..failure })
    }

    fn register_start(&mut self, start: &RegisterStart) -> Result<RegisterStarted, Failure> {
        let email = self.registrable(&start.email)?;
        let message = self.inner().secrets.passwords.register(&email, &start.message).map_err(opaque)?;
        self.step = Step::Registering { email };
        Ok(RegisterStarted { request: start.request, message: message.into() })
    }

    /// An address that may register here.
    fn registrable(&self, text: &str) -> Result<String, Failure> {
        match self.inner().registration {
            Registration::Open => address(text),
            Registration::Closed => Err(refuse(ErrorCode::RegistrationClosed, "this server takes no registrations")),
        }
    }

    async fn register_finish(&mut self, finish: &RegisterFinish, now_ms: u64) -> Result<Authorized, Failure> {
        let email = self.registrable(&finish.email)?;
        match &self.step {
            Step::Registering { email: begun } if *begun == email => {}
            Step::Registering { .. } | Step::Idle | Step::LoggingIn { .. } => return Err(out_of_order("register_finish")),
        }
        if finish.keyring.is_empty() || finish.keyring.len() > KEYRING_BYTES_MAX {
            let message = format!("a keyring of {} B, allowed are 1 to {KEYRING_BYTES_MAX}", finish.keyring.len());
            return Err(refuse(ErrorCode::KeyringInvalid, message));
        }
        let opaque_record = Passwords::record(&finish.record).map_err(opaque)?.into();
        let account = Account { email, user: finish.user, opaque_record, recovery: finish.recovery, created_ts: now_ms };
        self.create(account, &finish.keyring).await?;
        let authorized = self.authorize(finish.request, finish.user, now_ms).await?;
        // The store takes the same account with another keyring for a repetition; the client would seal to keys that
        // nobody has.
        if authorized.keyring == finish.keyring { Ok(authorized) } else { Err(email_taken()) }
    }

    /// Creates the account, or finds that this very one is there: a client whose answer was lost asks again.
    async fn create(&self, account: Account, keyring: &Bytes) -> Result<(), Failure> {
        let store = &self.inner().store;
        let refusal = match store.create_account(account.clone(), keyring.clone()).await {
            Ok(()) => {
                info!(user = %account.user, "registered");
                return Ok(());
            }
            Err(CreateAccountError::EmailTaken) => email_taken(),
            Err(CreateAccountError::UserTaken) => refuse(ErrorCode::UserTaken, "that user id is taken; draw another"),
            Err(CreateAccountError::Write(unknown @ WriteError::Unknown(_))) => failures::of_write(&unknown),
            Err(CreateAccountError::Write(write)) => return Err(failures::of_write(&write)),
        };
        let there = store.account_by_email(&account.email).await.map_err(|read| failures::of_read(&read))?;
        let is_this = there.is_some_and(|there| Account { created_ts: there.created_ts, ..account } == there);
        if is_this { Ok(()) } else { Err(refusal) }
    }

    async fn login_start(&mut self, start: &LoginStart) -> Result<LoginStarted, Failure> {
        let email = address(&start.email)?;
        let inner = self.inner();
        let account = inner.store.account_by_email(&email).await.map_err(|read| failures::of_read(&read))?;
        let record = account.as_ref().map(|account| account.opaque_record.as_ref());
        let (message, state) = inner.secrets.passwords.log_in(&email, record, &start.message).map_err(opaque)?;
        self.step = Step::LoggingIn { state: Box::new(state), user: account.map(|account| account.user) };
        Ok(LoginStarted { request: start.request, message: message.into() })
    }

    async fn login_finish(&mut self, finish: &LoginFinish, now_ms: u64) -> Result<Authorized, Failure> {
        let Step::LoggingIn { state, user } = std::mem::replace(&mut self.step, Step::Idle) else {
            return Err(out_of_order("login_finish"));
        };
        state.finish(&finish.message).map_err(opaque)?;
        let user = user.ok_or_else(|| opaque(PasswordError::Credentials))?;
        self.authorize(finish.request, user, now_ms).await
    }

    async fn authorize(&self, request: u32, user: UserId, now_ms: u64) -> Result<Authorized, Failure> {
        let inner = self.inner();
        let keyring = inner.store.keyring(user).await.map_err(|read| failures::of_read(&read))?;
        let keyring = keyring.ok_or_else(|| refuse(ErrorCode::AccountErased, "this account was erased"))?;
        let (roster, more) = page_after(inner.rosters.roster(user).await?, Seq::ZERO);
        let ticket = inner.tickets.issue(user, &self.nonce, now_ms).into();
        Ok(Authorized { request, user, ticket, keyring_version: keyring.version, keyring: keyring.bytes, roster, more })
    }

    async fn roster(&self, get: &GetRoster, now_ms: u64) -> Result<RosterPage, Failure> {
        let inner = self.inner();
        let user = inner.tickets.user(&get.ticket, &self.nonce, now_ms).ok_or_else(ticket_invalid)?;
        let (roster, more) = page_after(inner.rosters.roster(user).await?, get.after);
        Ok(RosterPage { request: get.request, roster, more })
    }

    async fn enrol(&mut self, enrol: Enrol, now_ms: u64) -> Result<Tokens, Failure> {
        let inner = Arc::clone(&self.accounts.inner);
        let user = inner.tickets.user(&enrol.ticket, &self.nonce, now_ms);
        let user = user.ok_or_else(ticket_invalid)?;
        if self.enrolled.is_some_and(|device| device != enrol.device) {
            return Err(refuse(ErrorCode::TicketInvalid, "this log-in has enrolled its device; log in again for another"));
        }
        let signing = match key_to_enrol(&enrol)? {
            Some(signing) => signing,
            None => enrolled_key(&inner.rosters.roster(user).await?, enrol.device)?,
        };
        let ticket: String = enrol.ticket.iter().map(|byte| format!("{byte:02x}")).collect();
        if !proofs::holds(&signing, &self.nonce, &ticket, &enrol.proof) {
            return Err(refuse(ErrorCode::SignatureInvalid, "the proof is not by the key of the device that enrols"));
        }
        self.enrolled = Some(enrol.device);
        if !enrol.changes.is_empty() {
            inner.rosters.change(user, enrol.changes).await?;
        }
        let bound = Bound { user, device: enrol.device, signing };
        let family = inner.families.open(bound, now_ms).await.map_err(|write| failures::of_write(&write))?;
        let tokens = self.accounts.tokens(&family, now_ms).await?;
        Ok(Tokens { request: enrol.request, ..tokens })
    }

    async fn refresh(&self, refresh: &Refresh, now_ms: u64) -> Result<Tokens, Failure> {
        let presented = Presented { token: &refresh.refresh_token, proof: &refresh.proof, nonce: &self.nonce };
        let family = self.inner().families.refresh(presented, now_ms).await.map_err(|error| error.failure())?;
        let tokens = self.accounts.tokens(&family, now_ms).await?;
        Ok(Tokens { request: refresh.request, ..tokens })
    }

    async fn logout(&self, logout: &Logout) -> Result<Done, Failure> {
        let presented = Presented { token: &logout.refresh_token, proof: &logout.proof, nonce: &self.nonce };
        self.inner().families.end(presented).await.map_err(|error| error.failure())?;
        Ok(Done { request: logout.request })
    }
}

fn numbered(request: u32) -> Result<u32, Failure> {
    if request == 0 { Err(refuse(ErrorCode::RequestIdInUse, "a request's id is not 0")) } else { Ok(request) }
}

/// The signing key in the changes, which may be the log's first identity and the enrolment of the device itself.
/// Whether they are validly signed is for the log's owner to say.
fn key_to_enrol(enrol: &Enrol) -> Result<Option<PublicKey>, Failure> {
    let invalid = |message: &str| refuse(ErrorCode::StatementInvalid, message);
    if enrol.changes.len() > ENROL_CHANGES_MAX {
        return Err(invalid("enrolling takes the log's first identity and the device, no more"));
    }
    let mut signing = None;
    for change in &enrol.changes {
        let statement = &change.signed().statement;
        if statement.len() > STATEMENT_BYTES_MAX {
            return Err(invalid("a statement over STATEMENT_BYTES_MAX"));
        }
        match change {
            RosterChange::Identity(_) => {}
            RosterChange::Revoke(_) => return Err(invalid("a device is revoked by a session, not by enrolling")),
            RosterChange::Enrol(_) => {
                let statement: EnrolStatement = codec::decode(statement).map_err(|error| invalid(&error.to_string()))?;
                if statement.device != enrol.device || signing.is_some() {
                    return Err(invalid("a connection enrols the one device that it is"));
                }
                signing = Some(statement.signing);
            }
        }
    }
    Ok(signing)
}

/// The key of a device that is enrolled already.
fn enrolled_key(roster: &[RosterRow], device: DeviceId) -> Result<PublicKey, Failure> {
    let mut signing = None;
    for row in roster {
        let statement = &row.change.signed().statement;
        match &row.change {
            RosterChange::Identity(_) => {}
            RosterChange::Enrol(_) => match codec::decode::<EnrolStatement>(statement) {
                Ok(enrolled) if enrolled.device == device => signing = Some(enrolled.signing),
                Ok(_) => {}
                Err(_) => return Err(refuse(ErrorCode::StoreDamaged, "the stored roster can't be read")),
            },
            RosterChange::Revoke(_) => match codec::decode::<RevokeStatement>(statement) {
                Ok(revoked) if revoked.device == device => {
                    return Err(refuse(ErrorCode::DeviceRevoked, "this device was revoked; enrol it under a new id"));
                }
                Ok(_) => {}
                Err(_) => return Err(refuse(ErrorCode::StoreDamaged, "the stored roster can't be read")),
            },
        }
    }
    signing.ok_or_else(|| refuse(ErrorCode::DeviceUnknown, "this device is not enrolled, and no enrolment came with the call"))
}

/// The rows after `after` until `PAGE_BYTES` are passed, and whether there are more.
fn page_after(rows: Vec<RosterRow>, after: Seq) -> (Vec<RosterRow>, bool) {
    let mut bytes = 0;
    let mut rest = rows.into_iter().filter(|row| row.seq > after).peekable();
    let mut page = Vec::new();
    while bytes < PAGE_BYTES
        && let Some(row) = rest.next()
    {
        bytes += Entry::Roster(row.clone()).bytes();
        page.push(row);
    }
    (page, rest.peek().is_some())
}

fn ticket_invalid() -> Failure {
    refuse(ErrorCode::TicketInvalid, "the log-in is too old or of another connection; log in again")
}
