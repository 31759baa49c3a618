//! What every command needs: the profile, where its server is, and whether it can be reached.
//!
//! Never: an environment variable read elsewhere.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cloudsync_client::carrier::{Address, Pin, Trust};
use cloudsync_client::connection::{Connection, Server};
use cloudsync_client::profile::{self, Card, Places, Profile, locate};
use cloudsync_client::sdk::{self, Client, Offline, Online, Target};
use zeroize::Zeroizing;

use crate::args::Options;
use crate::failure::{self, Exit, Failure};
use crate::output::Output;
use crate::parked::why_and_how;
use crate::password;

pub(crate) struct Context {
    pub(crate) profile: Profile,
    pub(crate) output: Output,
    pub(crate) offline: bool,
    /// The profile as it was typed, for hints that can be typed.
    typed: Option<String>,
    server: Option<String>,
    pin: Option<String>,
}

/// The profile where none is named.
const PROFILE: &str = "default";
/// From here on it was a wait.
const WAITED: Duration = Duration::from_millis(1500);

/// A client, and its session where the server can be reached.
pub(crate) struct Reached {
    pub(crate) client: Client,
    pub(crate) online: Option<Online>,
}

impl Context {
    pub(crate) fn new(options: Options, output: Output) -> Result<Self, Failure> {
        let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let places = Places { cloudsync_home: var("CLOUDSYNC_HOME"), data_home: var("XDG_DATA_HOME"), home: var("HOME") };
        let given = |text: Option<String>, name: &str| text.or_else(|| std::env::var(name).ok()).filter(|text| !text.is_empty());
        let name = match &options.profile {
            Some(name) => name.clone(),
            None => given(None, "CLOUDSYNC_PROFILE").unwrap_or_else(|| PROFILE.to_owned()),
        };
        let profile = Profile::at(locate(&name, &places)?);
        let opened = profile.make_private();
        if !opened.is_empty() {
            output.say(&format!("others on this machine could read {} of this profile: closed to them now", opened.join(", ")));
        }
        let log_file = options.log_file.or_else(|| var("CLOUDSYNC_LOG_FILE").filter(|path| !path.as_os_str().is_empty()));
        if let Some(path) = log_file {
            crate::log::start(&path)?;
        }
        let (server, pin) = (given(options.server, "CLOUDSYNC_SERVER"), given(options.pin, "CLOUDSYNC_PIN"));
        Ok(Self { profile, output, offline: options.offline, typed: options.profile, server, pin })
    }

    /// The server that the command line names, as text and parsed, with its pin: where none is named, the profile's.
    pub(crate) fn named_server(&self) -> Result<(String, Option<String>, Server), Failure> {
        let Some(text) = &self.server else {
            return Err(Failure::usage("no server is named: give --server quic://host:port (or set CLOUDSYNC_SERVER)"));
        };
        let remembered = || self.profile.signed_in().ok().and_then(|(card, _)| card.pin);
        let pin = self.pin.clone().or_else(remembered);
        Ok((text.clone(), pin.clone(), server(text, pin.as_deref())?))
    }

    /// The address that is tried: as the command line names it, else as the profile remembers it.
    pub(crate) fn address<'a>(&'a self, card: &'a Card) -> &'a str {
        self.server.as_deref().unwrap_or(&card.server)
    }

    /// A failure whose hint's commands can be typed as they stand; where nobody is signed in, with the profiles on which somebody is.
    pub(crate) fn failure(&self, failure: Failure) -> Failure {
        let failure = failure.of_profile(self.typed.as_deref());
        let is_nobodys = failure.exit == Exit::NotSignedIn && matches!(self.profile.signed_in(), Err(profile::Error::NotSignedIn { .. }));
        let others = if is_nobodys { self.profile.others_signed_in() } else { Vec::new() };
        if others.is_empty() {
            return failure;
        }
        Failure { message: format!("{}; signed in here: {}", failure.message, others.join(", ")), ..failure }
    }

    /// A hint whose commands can be typed as they stand.
    pub(crate) fn hint(&self, text: &str) -> String {
        failure::with_profile(text, self.typed.as_deref())
    }

    /// The server that the command line names, else the one that the profile remembers.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let (card, _) = self.profile.signed_in()?;
        let text = self.address(&card);
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
        let begun = Instant::now();
        let reached = async {
            let mut online = client.connect().await?;
            online.catch_up().await?;
            Ok(online)
        };
        let online = self.or_offline(reached.await)?;
        if online.is_none() && begun.elapsed() > WAITED {
            self.output.aside("--offline skips the wait");
        }
        Ok(Reached { client, online })
    }

    /// The client, after reading the log as far as it can be reached.
    pub(crate) async fn reached(&self) -> Result<Client, Failure> {
        let reached = self.reach().await?;
        if let Some(online) = reached.online {
            online.close().await;
        }
        Ok(reached.client)
    }

    /// Says so where edits of this profile are parked.
    pub(crate) async fn mention_conflicts(&self) {
        let Ok(client) = self.client() else { return };
        let Ok(parked) = client.conflicts().await else { return };
        if let Some((why, _)) = why_and_how(&parked) {
            self.output.say(&self.hint(&format!("{why}: see `cloudsync conflicts`")));
        }
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

    /// The password, from where the person said; nobody is asked for it before that server is there and trusted.
    pub(crate) async fn password(&self, stdin: bool, repeat: password::Repeat, server: &Server) -> Result<Zeroizing<String>, Failure> {
        if stdin {
            return password::from_stdin();
        }
        self.is_there(server).await?;
        password::from_terminal(repeat)
    }

    /// Whether that server is there and trusted. The connection is not kept: a server waits less long than people type.
    pub(crate) async fn is_there(&self, server: &Server) -> Result<(), Failure> {
        Connection::open(server).await?.close().await;
        Ok(())
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
