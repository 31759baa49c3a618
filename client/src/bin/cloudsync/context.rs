//! What every command needs: the profile, where its server is, and whether it can be reached.
//!
//! Never: an environment variable read elsewhere.

use std::path::PathBuf;

use cloudsync_client::carrier::{Address, Pin, Trust};
use cloudsync_client::connection::Server;
use cloudsync_client::profile::{Places, Profile, locate};
use cloudsync_client::sdk::{self, Client, Offline, Online, Target};
use zeroize::Zeroizing;

use crate::args::Options;
use crate::failure::Failure;
use crate::output::Output;
use crate::password;

pub(crate) struct Context {
    pub(crate) profile: Profile,
    pub(crate) output: Output,
    pub(crate) offline: bool,
    server: Option<String>,
    pin: Option<String>,
}

/// A client, and its session where the server can be reached.
pub(crate) struct Reached {
    pub(crate) client: Client,
    pub(crate) online: Option<Online>,
}

impl Context {
    pub(crate) fn new(options: Options, output: Output) -> Result<Self, Failure> {
        let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let places = Places { cloudsync_home: var("CLOUDSYNC_HOME"), data_home: var("XDG_DATA_HOME"), home: var("HOME") };
        let profile = Profile::at(locate(&options.profile, &places)?);
        let opened = profile.make_private();
        if !opened.is_empty() {
            output.say(&format!("others on this machine could read {} of this profile: closed to them now", opened.join(", ")));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self { profile, output, offline: options.offline, server: given(options.server), pin: given(options.pin) })
    }

    /// The server that the command line names, as text and parsed, with its pin.
    pub(crate) fn named_server(&self) -> Result<(String, Option<String>, Server), Failure> {
        let Some(text) = &self.server else {
            return Err(Failure::usage("no server is named: give --server quic://host:port (or set CLOUDSYNC_SERVER)"));
        };
        Ok((text.clone(), self.pin.clone(), server(text, self.pin.as_deref())?))
    }

    /// The server that the command line names, else the one that the profile remembers.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let (card, _) = self.profile.signed_in()?;
        let text = self.server.as_deref().unwrap_or(&card.server);
        let pin = self.pin.as_deref().or(card.pin.as_deref());
        Ok(Target { server: server(text, pin)? })
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::open(self.profile.clone(), self.target()?)?)
    }

    /// Opens the profile and, unless told not to, a session in which the log is read to its head.
    pub(crate) async fn reach(&self) -> Result<Reached, Failure> {
        let client = self.client()?;
        if self.offline {
            return Ok(Reached { client, online: None });
        }
        let reached = async {
            let mut online = client.connect().await?;
            online.catch_up().await?;
            Ok(online)
        };
        let online = self.or_offline(reached.await)?;
        Ok(Reached { client, online })
    }

    /// Nothing, and a word about it, where the server just can't be reached.
    pub(crate) fn or_offline<T>(&self, result: Result<T, sdk::Error>) -> Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.offline() == Offline::Yes => {
                self.output.aside(&format!("offline: {error}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The password, from where the person said.
    pub(crate) fn password(&self, stdin: bool, repeat: password::Repeat) -> Result<Zeroizing<String>, Failure> {
        if stdin { password::from_stdin() } else { password::from_terminal(repeat) }
    }
}

fn server(text: &str, pin: Option<&str>) -> Result<Server, Failure> {
    let address: Address = text.parse().map_err(Failure::usage)?;
    let trust = match pin {
        Some(pin) => Trust::Pinned(pin.parse::<Pin>().map_err(Failure::usage)?),
        None => Trust::WebRoots,
    };
    Ok(Server { address, trust })
}
