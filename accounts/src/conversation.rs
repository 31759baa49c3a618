//! The account calls of one connection, before its hello: registering, logging in, enrolling, refreshing, logging out; and, in
//! `rekeying.rs`, another password or other keys.
//!
//! Never: a frame after hello, a socket, a clock. A call out of order is refused; what a call made durable, it may make
//! again: a lost answer costs the client one repetition.

use std::sync::Arc;

use cloudsync_engine::roster::KeyringAt;
use cloudsync_engine::user::AccountChange;
use cloudsync_engine::verify;
use cloudsync_protocol::frame::{
    Authorized, Done, Enrol, EraseAccount, GetRoster, LoginFinish, LoginStart, LoginStarted, Logout, Refresh, RegisterFinish,
    RegisterStart, RegisterStarted, RosterPage, Tokens,
};
use cloudsync_protocol::id::hex;
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, Hash, Nonce, Seq, UserId};
use cloudsync_storage::store::{Account, CreateAccountError, Credentials, WriteError};
use tracing::info;

use crate::accounts::{Accounts, Inner, Registration};
use crate::email;
use crate::failures::{self, refuse};
use crate::passwords::{LoginState, PasswordError, Passwords};
use crate::refresh::{Bound, Presented};
use crate::rekeying::check_keyring;
use crate::roster_rows::{self, Page};
use crate::tickets::Ticket;

/// What the next frame may go on with.
#[derive(Debug)]
enum Step {
    /// Nothing is begun.
    Idle,
    /// A registration response was given for this address.
    Registering { email: String },
    /// KE2 was given. Without a known account, the address is unknown: KE3 can't be right.
    LoggingIn { state: Box<LoginState>, known: Option<Known> },
}

/// Who logs in, and by which password record.
#[derive(Debug, Clone, Copy)]
struct Known {
    user: UserId,
    record: Hash,
}

/// Reads of credentials and roster that have to be of one keyring.
const AUTHORIZE_ATTEMPTS: u32 = 3;
const AUTHORIZE_RETRY_AFTER_MS: u32 = 500;

/// The account calls of one connection.
#[derive(Debug)]
pub struct Conversation {
    accounts: Accounts,
    pub(crate) nonce: Nonce,
    step: Step,
    /// The one device that this connection enrolled.
    enrolled: Option<DeviceId>,
}

/// Whose credentials are asked for where an address is unknown: the reads are then as many.
const NOBODY: UserId = UserId([0; 16]);

pub(crate) fn opaque(error: PasswordError) -> Failure {
    refuse(error.code(), error.to_string())
}

fn out_of_order(what: &str) -> Failure {
    refuse(ErrorCode::OpaqueInvalid, format!("{what} does not follow its first step on this connection; start over"))
}

fn email_taken() -> Failure {
    refuse(ErrorCode::EmailTaken, "there is an account for that address; log in")
}

pub(crate) fn address(text: &str) -> Result<String, Failure> {
    email::normalise(text).map_err(|error| refuse(ErrorCode::EmailInvalid, error.to_string()))
}

impl Conversation {
    pub(crate) const fn new(accounts: Accounts, nonce: Nonce) -> Self {
        Self { accounts, nonce, step: Step::Idle, enrolled: None }
    }

    pub(crate) fn inner(&self) -> &Inner {
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
            Frame::GetRoster(get) => (numbered(get.request)?, self.get_roster(&get, now_ms).await.map(Frame::from)),
            Frame::Refresh(refresh) => (numbered(refresh.request)?, self.refresh(&refresh, now_ms).await.map(Frame::from)),
            Frame::Logout(logout) => (numbered(logout.request)?, self.logout(&logout).await.map(Frame::from)),
            Frame::Recover(recover) => (numbered(recover.request)?, self.recover(&recover, now_ms).await.map(Frame::from)),
            Frame::SecretStart(start) => (numbered(start.request)?, self.secret_start(&start, now_ms).await.map(Frame::from)),
            Frame::SecretFinish(finish) => (numbered(finish.request)?, self.secret_finish(finish, now_ms).await.map(Frame::from)),
            Frame::EraseAccount(erase) => (numbered(erase.request)?, self.erase_account(&erase, now_ms).await.map(Frame::from)),
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
            | Frame::RosterAfter(_)
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
        check_keyring(&finish.keyring)?;
        let opaque_record = Passwords::record(&finish.record).map_err(opaque)?.into();
        let account = Account { email, user: finish.user, created_ts: now_ms };
        let credentials =
            Credentials { version: KeyringAt::FIRST.version, opaque_record, recovery: finish.recovery, keyring: finish.keyring.clone() };
        self.create(account, credentials).await?;
        let authorized = self.authorize(finish.request, finish.user, now_ms).await?;
        // The store takes the same account with another keyring for a repetition; the client would seal to keys that
        // nobody has.
        if authorized.keyring == finish.keyring { Ok(authorized) } else { Err(email_taken()) }
    }

    /// Creates the account, or finds that this very one is there: a client whose answer was lost asks again.
    async fn create(&self, account: Account, credentials: Credentials) -> Result<(), Failure> {
        let store = &self.inner().store;
        let refusal = match store.create_account(account.clone(), credentials.clone()).await {
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
        let opened = store.credentials(account.user).await.map_err(|read| failures::of_read(&read))?;
        let is_this = there.is_some_and(|there| Account { created_ts: there.created_ts, ..account } == there)
            && opened.is_some_and(|opened| opened.opens_as(&credentials));
        if is_this { Ok(()) } else { Err(refusal) }
    }

    /// An address's account and what it is opened by, in the same two reads whether there is one or not.
    pub(crate) async fn known(&self, email: &str) -> Result<Option<(UserId, Credentials)>, Failure> {
        let store = &self.inner().store;
        let account = store.account_by_email(email).await.map_err(|read| failures::of_read(&read))?;
        let user = account.map(|account| account.user);
        let credentials = store.credentials(user.unwrap_or(NOBODY)).await.map_err(|read| failures::of_read(&read))?;
        Ok(user.zip(credentials))
    }

    async fn login_start(&mut self, start: &LoginStart) -> Result<LoginStarted, Failure> {
        let email = address(&start.email)?;
        let inner = self.inner();
        let known = self.known(&email).await?;
        let record = known.as_ref().map(|(_, credentials)| credentials.opaque_record.as_ref());
        let (message, state) = inner.secrets.passwords.log_in(&email, record, &start.message).map_err(opaque)?;
        let known = known.map(|(user, credentials)| Known { user, record: Hash::of(&[&credentials.opaque_record]) });
        self.step = Step::LoggingIn { state: Box::new(state), known };
        Ok(LoginStarted { request: start.request, message: message.into() })
    }

    async fn login_finish(&mut self, finish: &LoginFinish, now_ms: u64) -> Result<Authorized, Failure> {
        let Step::LoggingIn { state, known } = std::mem::replace(&mut self.step, Step::Idle) else {
            return Err(out_of_order("login_finish"));
        };
        state.finish(&finish.message).map_err(opaque)?;
        let Known { user, record } = known.ok_or_else(|| opaque(PasswordError::Credentials))?;
        let credentials = self.credentials(user).await?;
        if Hash::of(&[&credentials.opaque_record]) != record {
            // The password was changed between KE2 and KE3: it was the old one's.
            return Err(opaque(PasswordError::Credentials));
        }
        self.authorize(finish.request, user, now_ms).await
    }

    pub(crate) async fn credentials(&self, user: UserId) -> Result<Credentials, Failure> {
        let credentials = self.inner().store.credentials(user).await.map_err(|read| failures::of_read(&read))?;
        credentials.ok_or_else(|| refuse(ErrorCode::AccountErased, "this account was erased"))
    }

    /// Keyring and roster of one moment, with a ticket that is worth nothing once the keyring moved on.
    pub(crate) async fn authorize(&self, request: u32, user: UserId, now_ms: u64) -> Result<Authorized, Failure> {
        let inner = self.inner();
        for _ in 0..AUTHORIZE_ATTEMPTS {
            let Credentials { version, keyring, .. } = self.credentials(user).await?;
            let rows = inner.rosters.roster(user).await?;
            if roster_rows::keyring_version(&rows)? != version {
                continue;
            }
            let Page { rows: roster, more } = roster_rows::page(rows, Seq::ZERO);
            let ticket = inner.tickets.issue(Ticket { user, keyring_version: version }, &self.nonce, now_ms).into();
            return Ok(Authorized { request, user, ticket, keyring_version: version, keyring, roster, more });
        }
        Err(refuse(ErrorCode::Busy, "the keys are being changed; try again").retry_after(AUTHORIZE_RETRY_AFTER_MS))
    }

    /// What a ticket of this connection says.
    pub(crate) fn ticketed(&self, ticket: &[u8], now_ms: u64) -> Result<Ticket, Failure> {
        let ticket = self.inner().tickets.open(ticket, &self.nonce, now_ms);
        ticket.ok_or_else(|| refuse(ErrorCode::TicketInvalid, "the log-in is too old or of another connection; log in again"))
    }

    async fn get_roster(&self, get: &GetRoster, now_ms: u64) -> Result<RosterPage, Failure> {
        let Ticket { user, .. } = self.ticketed(&get.ticket, now_ms)?;
        let Page { rows: roster, more } = roster_rows::page(self.inner().rosters.roster(user).await?, get.after);
        Ok(RosterPage { request: get.request, roster, more })
    }

    async fn enrol(&mut self, enrol: Enrol, now_ms: u64) -> Result<Tokens, Failure> {
        let inner = Arc::clone(&self.accounts.inner);
        let Ticket { user, keyring_version } = self.ticketed(&enrol.ticket, now_ms)?;
        if self.enrolled.is_some_and(|device| device != enrol.device) {
            return Err(refuse(ErrorCode::TicketInvalid, "this log-in has enrolled its device; log in again for another"));
        }
        let signing = match roster_rows::key_to_enrol(&enrol.changes, enrol.device)? {
            Some(signing) => signing,
            None => roster_rows::enrolled_key(&inner.rosters.roster(user).await?, enrol.device)?,
        };
        let ticket = hex(&enrol.ticket);
        if verify::refresh(&signing, &self.nonce, &ticket, &enrol.proof).is_err() {
            return Err(refuse(ErrorCode::SignatureInvalid, "the proof is not by the key of the device that enrols"));
        }
        self.enrolled = Some(enrol.device);
        if enrol.changes.is_empty() {
            if self.credentials(user).await?.version != keyring_version {
                return Err(refuse(ErrorCode::TicketInvalid, "the keys were changed since this log-in; log in again"));
            }
        } else {
            inner
                .rosters
                .change(user, AccountChange { changes: enrol.changes, ticket_version: keyring_version, credentials: None })
                .await?;
        }
        let bound = Bound { user, device: enrol.device, signing };
        let family = inner.families.open(bound, now_ms).await.map_err(|write| failures::of_write(&write))?;
        let tokens = self.accounts.tokens(&family, now_ms).await?;
        Ok(Tokens { request: enrol.request, ..tokens })
    }

    /// For ever; a repetition is answered alike, so that a lost answer may be asked for again while the ticket holds.
    async fn erase_account(&self, erase: &EraseAccount, now_ms: u64) -> Result<Done, Failure> {
        let Ticket { user, .. } = self.ticketed(&erase.ticket, now_ms)?;
        self.inner().store.erase(user.into()).await.map_err(|write| failures::of_write(&write))?;
        self.inner().rosters.erased(user);
        info!(%user, "erased");
        Ok(Done { request: erase.request })
    }

    async fn refresh(&self, refresh: &Refresh, now_ms: u64) -> Result<Tokens, Failure> {
        let inner = self.inner();
        let presented = Presented { token: &refresh.refresh_token, proof: &refresh.proof, nonce: &self.nonce };
        let proven = inner.families.prove(presented).await.map_err(|error| error.failure())?;
        // A revoke is committed before its families are ended: in between, or after a crash in between, the roster says it.
        let roster = inner.rosters.roster(proven.family.user).await?;
        if let Err(failure) = roster_rows::enrolled_key(&roster, proven.family.device) {
            if failure.code == ErrorCode::DeviceRevoked {
                inner.families.end(&proven.family).await.map_err(|error| error.failure())?;
            }
            return Err(failure);
        }
        let family = inner.families.refresh(proven, now_ms).await.map_err(|error| error.failure())?;
        let tokens = self.accounts.tokens(&family, now_ms).await?;
        Ok(Tokens { request: refresh.request, ..tokens })
    }

    async fn logout(&self, logout: &Logout) -> Result<Done, Failure> {
        let families = &self.inner().families;
        let presented = Presented { token: &logout.refresh_token, proof: &logout.proof, nonce: &self.nonce };
        let proven = families.prove(presented).await.map_err(|error| error.failure())?;
        families.end(&proven.family).await.map_err(|error| error.failure())?;
        Ok(Done { request: logout.request })
    }
}

fn numbered(request: u32) -> Result<u32, Failure> {
    if request == 0 { Err(refuse(ErrorCode::RequestIdInUse, "a request's id is not 0")) } else { Ok(request) }
}
