//! A profile that is signed in to a server that does not answer, and the command line on it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use cloudsync_client::account::Tokens;
use cloudsync_client::keys::{AccountSecrets, DeviceKeys, KeyFile, KeyringPin};
use cloudsync_client::profile::{Card, Profile};
use cloudsync_client::replica::{Access, Store, StoreError};
use cloudsync_engine::replica::{Me, Replica};
use cloudsync_protocol::UserId;
use serde_json::Value;

/// Nobody listens there.
pub(crate) const SERVER: &str = "ws://127.0.0.1:1";

pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Every line of standard output as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The error object on standard error.
    pub(crate) fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_else(|| panic!("nothing on standard error: {self:?}"));
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))["error"].clone()
    }

    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Home {
    /// Without a profile.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With the profile `a`, signed in.
    pub(crate) fn signed_in() -> Self {
        let home = Self::empty();
        let user = UserId([7; 16]);
        let keys = KeyFile { secrets: AccountSecrets::first(user), device: DeviceKeys::random(), keyring: KeyringPin::default() };
        let me = Me {
            log: keys.log(),
            device: keys.device.id,
            signing: keys.device.signing.public(),
            identity: keys.secrets.identity.signing.public(),
            identity_epoch: keys.secrets.identity.epoch,
        };
        let profile = Profile::at(home.profile());
        let _lock = profile.lock().unwrap();
        profile.write_keys(&keys).unwrap();
        let tokens = Tokens {
            access_token: "a".into(),
            access_expires_ts: u64::MAX >> 1,
            refresh_token: "r".into(),
            refresh_expires_ts: u64::MAX >> 1,
        };
        let store = Store::open_or_create(&profile.replica()).unwrap();
        store
            .transact(Access::WriteSignedOut, |tables| {
                Replica::enrolled_anew(tables, &me).map_err(|error| StoreError::Unavailable(error.to_string()))?;
                tables.sign_in(&tokens).map_err(StoreError::from)
            })
            .unwrap();
        let card = Card { server: SERVER.into(), pin: None, email: "ada@example.com".into(), user, device: "laptop".into() };
        profile.write_card(&card).unwrap();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the profile `a` is.
    pub(crate) fn profile(&self) -> PathBuf {
        self.folder.path().join("profiles/a")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloudsync"));
        command.env_clear().env("CLOUDSYNC_HOME", self.folder.path()).args(["--profile", "a"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        self.run(&["status", "--offline", "--json"]).done().json().remove(0)
    }
}

/// Sends a signal by its name.
pub(crate) fn signal(process: &Child, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), process.id().to_string()]).status().unwrap().success());
}

/// The letter of a process's state (proc(5)).
pub(crate) fn state(process: &Child) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}
