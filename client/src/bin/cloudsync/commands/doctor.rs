//! `doctor`: what could be wrong between this machine and its server, looked at one by one.
//!
//! Never: anything changed, or a finding kept back because another came first.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use cloudsync_client::carrier::{Address, Trust};
use cloudsync_client::connection::{Connection, Server};
use cloudsync_client::profile::State;
use cloudsync_client::sdk::Client;
use cloudsync_protocol::limits::PROTOCOL_VERSION;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::counted;

/// Edits are stamped by the server's clock, whatever this one says; a token's end is too. More than that is worth a word.
const OFFSET_MS_MAX: u64 = 60_000;

#[derive(Serialize)]
struct DoctorJson {
    version: &'static str,
    /// Of the protocol that this client speaks.
    protocol: u16,
    profile: ProfileJson,
    carriers: Vec<CarrierJson>,
    /// `ok`, or why no session is to be had; nothing where none was asked for.
    session: Option<&'static str>,
    /// Every finding's code, in the order in which it was looked.
    problems: Vec<&'static str>,
}

#[derive(Serialize)]
struct ProfileJson {
    folder: String,
    /// `none`, `unfinished`, `pending`, `signed_in` or `damaged`.
    state: &'static str,
    seq: Option<u64>,
    pending: Option<u64>,
    conflicts: Option<u64>,
    damaged: Option<u64>,
    files: Vec<FileJson>,
}

#[derive(Serialize)]
struct FileJson {
    file: String,
    mode: String,
}

#[derive(Serialize)]
struct CarrierJson {
    address: String,
    /// Whether it is the one that commands use.
    used: bool,
    reachable: bool,
    problem: Option<&'static str>,
    /// Until it was challenged.
    ms: Option<u64>,
    /// How far the server's clock is ahead of this machine's.
    clock_offset_ms: Option<i64>,
    versions: Option<[u16; 2]>,
}

/// What is there, and the failures that were found on the way.
struct Doctor<'a> {
    context: &'a Context,
    found: Vec<Failure>,
}

pub(crate) async fn doctor(context: &Context) -> Result<(), Failure> {
    let mut doctor = Doctor { context, found: Vec::new() };
    let (profile, client) = doctor.profile().await;
    let (mut carriers, mut session) = (Vec::new(), None);
    if !context.offline {
        let mut addresses = doctor.addresses();
        if let Some(client) = &client {
            match client.connect().await {
                Ok(online) => {
                    addresses.extend(offered(online.nodes(), addresses.first()));
                    session = Some("ok");
                    online.close().await;
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    session = Some(failure.code);
                    doctor.found.push(failure);
                }
            }
        }
        for (server, place) in addresses.iter().zip(0..) {
            carriers.push(doctor.carrier(server, place == 0).await);
        }
    }
    let Doctor { mut found, .. } = doctor;
    found.dedup_by_key(|failure| failure.code);
    let problems = found.iter().map(|failure| failure.code).collect();
    let shown = DoctorJson { version: env!("CARGO_PKG_VERSION"), protocol: PROTOCOL_VERSION, profile, carriers, session, problems };
    if context.output.is_json() {
        context.output.json(&shown)?;
    } else {
        context.output.facts(&facts(&shown))?;
    }
    let Some(first) = found.first().cloned() else { return Ok(()) };
    for failure in found.iter().skip(1).map(|failure| context.failure(failure.clone())) {
        context.output.say(&format!("{}: {}\n{}", failure.code, failure.message, failure.help));
    }
    Err(first)
}

impl Doctor<'_> {
    async fn profile(&mut self) -> (ProfileJson, Option<Client>) {
        let folder = self.context.profile.folder();
        let state = match self.context.profile.state() {
            Ok(State::Fresh) => "none",
            Ok(State::Unfinished(_)) => "unfinished",
            Ok(State::Pending(..)) => "pending",
            Ok(State::SignedIn(..)) => "signed_in",
            Err(_) => "damaged",
        };
        let opened = self.context.client();
        let (client, status) = match opened {
            Ok(client) => match client.status().await {
                Ok(status) => (Some(client), Some(status)),
                Err(error) => {
                    self.found.push(error.into());
                    (None, None)
                }
            },
            Err(failure) => {
                self.found.push(failure);
                (None, None)
            }
        };
        if let Some(damaged) = status.as_ref().map(|status| status.damaged).filter(|damaged| *damaged > 0) {
            let message = format!("{} of this profile do not open", counted(damaged, "record"));
            let help = "`cloudsync list` shows which: write them again, their next version replaces them";
            self.found.push(Failure::new(Exit::Damage, "records_damaged", message, help));
        }
        let files = self.files();
        let edits = status.as_ref().map(|status| status.edits);
        let shown = ProfileJson {
            folder: folder.display().to_string(),
            state,
            seq: status.as_ref().map(|status| status.cursor.seq.0),
            pending: edits.map(|edits| edits.pending()),
            conflicts: edits.map(|edits| edits.parked),
            damaged: status.map(|status| status.damaged),
            files,
        };
        (shown, client)
    }

    /// The folder and what is in it, with modes.
    fn files(&mut self) -> Vec<FileJson> {
        let folder = self.context.profile.folder();
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut paths: Vec<_> = entries.chain([folder.to_owned()]).filter(|path| path.exists()).collect();
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let Ok(mode) = path.symlink_metadata().map(|metadata| metadata.permissions().mode() & 0o7777) else { continue };
            if mode & 0o077 != 0 {
                let message = format!("{} has mode {mode:04o}: others on this machine could read it", path.display());
                let help = format!("`chmod go= {}`", path.display());
                self.found.push(Failure::new(Exit::Damage, "profile_open", message, help));
            }
            let name = if path == folder { "." } else { path.file_name().and_then(|name| name.to_str()).unwrap_or("?") };
            files.push(FileJson { file: name.to_owned(), mode: format!("{mode:04o}") });
        }
        files
    }

    /// Where commands connect, first; none where no server is known.
    fn addresses(&mut self) -> Vec<Server> {
        match self.context.target() {
            Ok(target) => vec![target.server],
            Err(_) => match self.context.named_server() {
                Ok((_, _, server)) => vec![server],
                Err(failure) => {
                    self.found.push(failure);
                    Vec::new()
                }
            },
        }
    }

    async fn carrier(&mut self, server: &Server, used: bool) -> CarrierJson {
        let begun = Instant::now();
        let opened = Connection::open(server).await;
        let ms = u64::try_from(begun.elapsed().as_millis()).ok();
        let address = server.address.to_string();
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => {
                let failure = Failure::from(error);
                let problem = Some(failure.code);
                self.found.push(failure);
                return CarrierJson { address, used, reachable: false, problem, ms: None, clock_offset_ms: None, versions: None };
            }
        };
        let offset_ms = connection.clock_offset_ms();
        let versions = [connection.challenge().version_min, connection.challenge().version_max];
        connection.close().await;
        if offset_ms.unsigned_abs() > OFFSET_MS_MAX {
            let is = if offset_ms > 0 { "behind" } else { "ahead of" };
            let message = format!("this machine's clock is {} s {is} the one of {address}", offset_ms.unsigned_abs() / 1000);
            let help = "edits are stamped by the server's clock all the same: set this one";
            self.found.push(Failure::new(Exit::Refused, "clock_off", message, help));
        }
        CarrierJson { address, used, reachable: true, problem: None, ms, clock_offset_ms: Some(offset_ms), versions: Some(versions) }
    }
}

/// What the node says that it, and others of its cluster, are reached at.
fn offered(nodes: &[String], used: Option<&Server>) -> Vec<Server> {
    let trust = used.map_or(Trust::WebRoots, |used| used.trust);
    let addresses = nodes.iter().filter_map(|text| text.parse::<Address>().ok());
    let others = addresses.filter(|address| used.is_none_or(|used| used.address != *address));
    others.map(|address| Server { address, trust }).collect()
}

fn facts(shown: &DoctorJson) -> Vec<(&'static str, String)> {
    let profile = &shown.profile;
    let mut facts = vec![
        ("version", format!("{}, protocol {}", shown.version, shown.protocol)),
        ("profile", format!("{} ({})", profile.folder, profile.state)),
    ];
    let modes: Vec<String> = profile.files.iter().map(|file| format!("{} {}", file.file, file.mode)).collect();
    facts.push(("files", modes.join(", ")));
    if let (Some(seq), Some(pending), Some(conflicts)) = (profile.seq, profile.pending, profile.conflicts) {
        facts.push(("replica", format!("read to {seq}, {pending} pending, {}", counted(conflicts, "conflict"))));
    }
    for carrier in &shown.carriers {
        let how = match (carrier.problem, carrier.ms, carrier.clock_offset_ms, carrier.versions) {
            (None, Some(ms), Some(offset), Some([min, max])) => format!("{ms} ms, clock {offset:+} ms, protocol {min} to {max}"),
            (problem, ..) => problem.unwrap_or("not reached").to_owned(),
        };
        facts.push(("carrier", format!("{}: {how}", carrier.address)));
    }
    facts.push(("session", shown.session.unwrap_or("not asked for").to_owned()));
    facts.push(("problems", if shown.problems.is_empty() { "none".to_owned() } else { shown.problems.join(", ") }));
    facts
}
