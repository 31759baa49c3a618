//! Someone with an account and a device, signed in through the SDK.
//!
//! Never: keys that more than one test knows.

use cloudsync_client::account::{Enrolment, Password, Registration, Tokens, login};
use cloudsync_client::carrier::Trust;
use cloudsync_client::connection::{Connection, Events, Server, Session};
use cloudsync_client::keys::KeyFile;
use cloudsync_client::sdk::LogIn;
use cloudsync_client::sdk::probe::Probe;

use anyhow::Context as _;
use cloudsync_protocol::DeviceId;

use crate::node::{TestNode, Wire};

/// What everybody's password is.
pub const PASSWORD: &str = "correct horse battery staple";

/// A signed-in device.
#[derive(Debug)]
pub struct Person {
    /// The account's address.
    pub email: String,
    /// The device's keys and the account's.
    pub keys: KeyFile,
    /// The device's tokens.
    pub tokens: Tokens,
}

fn password() -> anyhow::Result<Password> {
    Password::new(PASSWORD).context("a password")
}

/// What signs a device of that name in through a profile.
pub fn log_in_as(server: &Server, email: &str, device: &str) -> anyhow::Result<LogIn> {
    let pin = if let Trust::Pinned(pin) = &server.trust { Some(pin.to_string()) } else { None };
    Ok(LogIn {
        address: server.address.to_string(),
        pin,
        server: server.clone(),
        email: email.to_owned(),
        password: password()?,
        device: device.to_owned(),
        instead_of: None,
        probe: Probe::default(),
    })
}

const fn named(name: &str) -> Enrolment<'_> {
    Enrolment { name, instead_of: None }
}

impl Person {
    /// Registers an account and enrols its first device.
    pub async fn register(node: &TestNode, wire: Wire, email: &str) -> anyhow::Result<Self> {
        Self::register_at(&node.server(wire)?, email).await
    }

    /// The same, wherever the node is.
    pub async fn register_at(server: &Server, email: &str) -> anyhow::Result<Self> {
        let connection = Connection::open(server).await?;
        let registration = Registration::prepare(&connection, email, &password()?).await?;
        let authorization = registration.create(&connection).await?;
        let keys = registration.keys().clone();
        let tokens = authorization.enrol(&connection, &keys, named("first")).await?;
        connection.close().await;
        Ok(Self { email: email.to_owned(), keys, tokens })
    }

    /// Another device of the same account.
    pub async fn log_in_again(&self, node: &TestNode, wire: Wire) -> anyhow::Result<Self> {
        self.log_in_again_at(&node.server(wire)?).await
    }

    /// The same, wherever the node is.
    pub async fn log_in_again_at(&self, server: &Server) -> anyhow::Result<Self> {
        let connection = Connection::open(server).await?;
        let authorization = login(&connection, &self.email, &password()?).await?;
        let keys = authorization.new_device();
        let tokens = authorization.enrol(&connection, &keys, named("another")).await?;
        connection.close().await;
        Ok(Self { email: self.email.clone(), keys, tokens })
    }

    /// Another device in the place of one, which is revoked by that.
    pub async fn log_in_instead_of(&self, node: &TestNode, wire: Wire, leaving: DeviceId) -> anyhow::Result<Self> {
        let connection = Connection::open(&node.server(wire)?).await?;
        let authorization = login(&connection, &self.email, &password()?).await?;
        let keys = authorization.new_device();
        let tokens = authorization.enrol(&connection, &keys, Enrolment { instead_of: Some(leaving), ..named("in its place") }).await?;
        connection.close().await;
        Ok(Self { email: self.email.clone(), keys, tokens })
    }

    /// Opens a session.
    pub async fn open(&self, node: &TestNode, wire: Wire) -> anyhow::Result<(Session, Events)> {
        let connection = Connection::open(&node.server(wire)?).await?;
        Ok(connection.hello(&self.keys.device, &self.tokens.access_token).await?)
    }
}
