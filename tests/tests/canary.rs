//! Zero knowledge (invariant Z1): after everything that a person does by the command line, no content, device name,
//! password, recovery code, key or token is on the server in plain: not in its folder, its log or its metrics; nor, tokens
//! apart, in its memory while it lives, or on a wire without TLS.
//!
//! Never: a command forgotten; what its help lists is what was typed here.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloudsync_client::account;
use cloudsync_client::connection::Connection;
use cloudsync_tests::canary::{Canary, Found, Search};
use cloudsync_tests::command_line::address;
use cloudsync_tests::process::last_words;
use cloudsync_tests::tee::Tee;
use cloudsync_tests::{CommandLine, NodeProcess, Person, Watching, Wire};
use serde_json::Value;

const EMAIL: &str = "canary-email-4d1c@example.com";
const PASSWORD: &str = "canary-password-81b7f2";
const WRONG_PASSWORD: &str = "canary-wrong-password-5e07aa";
/// What the password is changed to, and what the recovery code sets it to.
const NEW_PASSWORD: &str = "canary-new-password-3fd2c8";
const RECOVERED_PASSWORD: &str = "canary-recovered-password-a61b90";
/// Profiles, and by that the names of their devices. The first two stand on one side of a QUIC wire, the third on a tapped one.
const LAPTOP: &str = "canary-laptop-c3a9";
const TABLET: &str = "canary-tablet-90de";
const PHONE: &str = "canary-phone-77f1";
/// Of an account that is deleted.
const GONE: &str = "canary-gone-5f02";
const EMAIL_GONE: &str = "canary-email-gone-90b3@example.com";
/// What records hold: written over QUIC, over the tapped wire, from standard input, in conflict, and from a file.
const CONTENTS: [&str; 5] =
    ["canary-laptop-note-2b6e", "canary-phone-note-d15f", "canary-piped-note-0c48", "canary-parked-note-e39a", "canary-imported-tag-6f70"];

/// A collection: what the server rightly knows, and is found by.
const COLLECTION: &str = "canary-collection-5a17";

/// A value with a canary in it more than once, so that one at least stands within a page of a database.
fn note(text: &str) -> String {
    format!(r#"{{"text":"{text} {text}","again":"{text}"}}"#)
}

/// A person's devices: two on QUIC, one on a wire that somebody listens on.
struct Devices {
    quic: CommandLine,
    tapped: CommandLine,
}

impl Devices {
    /// Every command that signs somebody in, those that are refused included; gives the recovery code.
    fn sign_in(&self) -> anyhow::Result<String> {
        let registered = self.quic.sign_in(LAPTOP, ("register", EMAIL, PASSWORD), &[])?.ended(0)?.last()?;
        self.tapped.sign_in(PHONE, ("login", EMAIL, PASSWORD), &[])?.ended(0)?;
        self.quic.sign_in(TABLET, ("login", EMAIL, WRONG_PASSWORD), &[])?.ended(4)?;
        self.tapped.sign_in(TABLET, ("login", EMAIL, WRONG_PASSWORD), &[])?.ended(4)?;
        self.quic.sign_in(TABLET, ("register", EMAIL, PASSWORD), &[])?.ended(4)?;
        self.quic.sign_in(TABLET, ("login", EMAIL, PASSWORD), &[])?.ended(0)?;
        Ok(registered["recovery_code"].as_str().context("no recovery code")?.to_owned())
    }

    /// Every command that writes or reads, while another device watches, and goes on to.
    fn work(&self) -> anyhow::Result<[Watching; 2]> {
        let watches = [self.quic.watch(TABLET)?, self.tapped.watch(PHONE)?];
        self.quic.run(LAPTOP, &["put", "note", "n1", &note(CONTENTS[0])])?.ended(0)?;
        self.tapped.run(PHONE, &["put", "note", "n2", &note(CONTENTS[1])])?.ended(0)?;
        let mut piped = self.tapped.command(PHONE, &["put", "note", "n3", "-"]).stdin(Stdio::piped()).spawn()?;
        piped.stdin.take().context("no standard input")?.write_all(note(CONTENTS[2]).as_bytes())?;
        ensure!(piped.wait()?.success(), "put from standard input");
        self.conflict("n4", &["put", "note", "n4", &note(CONTENTS[3]), "--onto", "current"])?;
        self.conflict("n5", &["conflicts", "drop", "note", "n5"])?;
        self.conflict("n6", &["conflicts", "keep", "note", "n6"])?;
        self.import()?;
        for (cli, profile) in [(&self.quic, LAPTOP), (&self.tapped, PHONE)] {
            for command in [
                &["get", "note", "n2"][..],
                &["list", "--deleted"],
                &["policy", COLLECTION, "last_write_wins"],
                &["put", COLLECTION, "n1", &note(CONTENTS[1])],
                &["delete", "note", "n1"],
                &["status"],
                &["status", "--check"],
                &["doctor"],
                &["completions", "bash"],
                &["export", "--format", "csv", "--deleted"],
                &["export", "--format", "json"],
                &["export", "--format", "jsonl", "note"],
                &["export", "--format", "pomodoro"],
                &["sync"],
                &["sync", "--from-snapshot"],
                &["conflicts", "list"],
                &["devices", "list"],
            ] {
                cli.run(profile, command)?.ended(0)?;
            }
        }
        for watch in &watches {
            ensure!(watch.change()?.to_string().contains(CONTENTS[0]), "what was put was not shown");
        }
        Ok(watches)
    }

    /// The laptop's edit is overtaken by the phone's, parked, and settled as told.
    fn conflict(&self, id: &str, settle: &[&str]) -> anyhow::Result<()> {
        self.quic.run(LAPTOP, &["put", "note", id, &note(CONTENTS[3]), "--offline"])?.ended(0)?;
        self.tapped.run(PHONE, &["put", "note", id, &note(CONTENTS[1])])?.ended(0)?;
        self.quic.run(LAPTOP, &["sync"])?.ended(5)?;
        self.quic.run(LAPTOP, &["conflicts", "list"])?.ended(0)?;
        self.quic.run(LAPTOP, settle)?.ended(0)?;
        Ok(())
    }

    fn import(&self) -> anyhow::Result<()> {
        let file = self.quic.home().join("sessions.csv");
        let rows: String = (1..=20).map(|row| format!("\"@{}\",\"3\",{row},1,2012-02-29,2,1\n", CONTENTS[4])).collect();
        std::fs::write(&file, format!("X.words,word_cnt,description,DONE,date,estimate,actual\n{rows}"))?;
        let file = file.to_str().context("a path")?;
        self.quic.run(LAPTOP, &["import", "--format", "pomodoro", file])?.ended(0)?;
        self.tapped.run(PHONE, &["import", "--format", "pomodoro", file])?.ended(0)?;
        let listed = self.tapped.run(PHONE, &["list", "timer_session"])?.ended(0)?;
        ensure!(listed.stdout.contains(CONTENTS[4]), "the import holds the canary: {}", listed.stdout);
        Ok(())
    }

    /// Another password, on each wire: by the one in force and by the code, refused ones included.
    fn change_passwords(&self, code: &str) -> anyhow::Result<()> {
        self.quic.change_password(LAPTOP, (WRONG_PASSWORD, NEW_PASSWORD))?.ended(4)?;
        self.quic.change_password(LAPTOP, (PASSWORD, NEW_PASSWORD))?.ended(0)?;
        self.tapped.change_password(PHONE, (NEW_PASSWORD, PASSWORD))?.ended(0)?;
        self.quic.recover(LAPTOP, (EMAIL, code, NEW_PASSWORD), &[])?.ended(0)?;
        self.tapped.recover(PHONE, (EMAIL, code, RECOVERED_PASSWORD), &[])?.ended(0)?;
        Ok(())
    }

    /// That no command was left out.
    fn did_everything(&self) -> anyhow::Result<()> {
        let commands = self.quic.commands()?;
        ensure!(commands.len() > 18, "these are not all commands: {commands:?}");
        let forgotten: Vec<_> = commands.iter().filter(|words| !self.quic.has_typed(words) && !self.tapped.has_typed(words)).collect();
        ensure!(forgotten.is_empty(), "no secret was given to {forgotten:?}");
        Ok(())
    }

    /// Other keys on each wire, a device that goes, and an account; gives what is secret since.
    fn leave(&self) -> anyhow::Result<Vec<Canary>> {
        let mut canaries = Vec::new();
        for (cli, profile) in [(&self.quic, LAPTOP), (&self.tapped, PHONE)] {
            let rotated = cli.rotate(profile, RECOVERED_PASSWORD, &[])?.ended(0)?.last()?;
            canaries.extend(recovery_code(&rotated)?);
            canaries.extend(self.keys(profile)?);
        }
        let revoked = self.quic.revoke(LAPTOP, (TABLET, RECOVERED_PASSWORD))?.ended(0)?.last()?;
        canaries.extend(recovery_code(&revoked)?);
        self.quic.run(TABLET, &["sync"])?.ended(7)?;
        self.tapped.run(PHONE, &["logout"])?.ended(0)?;
        for cli in [&self.quic, &self.tapped] {
            let registered = cli.sign_in(GONE, ("register", EMAIL_GONE, PASSWORD), &[])?.ended(0)?.last()?;
            canaries.extend(recovery_code(&registered)?);
            cli.run(GONE, &["put", "note", "n1", &note(CONTENTS[0])])?.ended(0)?;
            cli.delete_account(GONE, WRONG_PASSWORD)?.ended(4)?;
            cli.delete_account(GONE, PASSWORD)?.ended(0)?;
        }
        canaries.extend(self.keys(LAPTOP)?);
        Ok(canaries)
    }

    /// The keys of a profile, as raw bytes.
    fn keys(&self, profile: &str) -> anyhow::Result<Vec<Canary>> {
        let cli = if profile == PHONE { &self.tapped } else { &self.quic };
        let file: Value = serde_json::from_slice(&std::fs::read(cli.profile(profile).join("keys.json"))?)?;
        let pairs = ["device_signing", "device_agreement", "identity_signing", "identity_sharing"];
        let secrets = pairs.map(|pair| (pair, &file[pair]["secret"])).into_iter();
        let account_keys =
            file["account_keys"].as_array().context("no account keys")?.iter().map(|of_epoch| ("account_key", &of_epoch["key"]));
        secrets
            .chain([("record_id_key", &file["record_id_key"])])
            .chain(account_keys)
            .map(|(name, hex)| {
                let hex = hex.as_str().with_context(|| format!("no {name}"))?;
                let digits =
                    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair)?, 16).map_err(anyhow::Error::from));
                Ok(Canary::bytes(name, &digits.collect::<anyhow::Result<Vec<u8>>>()?))
            })
            .collect()
    }
}

/// Somebody whose tokens are known, renewed and used; and one that is refused.
async fn tokens(node: &NodeProcess) -> anyhow::Result<Vec<Canary>> {
    let mut canaries = Vec::new();
    for wire in Wire::ALL {
        let server = node.server(wire)?;
        let mut person = Person::register_at(&server, &format!("canary-{}@example.com", wire.scheme())).await?;
        for _ in 0..2 {
            let connection = Connection::open(&server).await?;
            let tokens = account::refresh(&connection, &person.keys.device, &person.tokens.refresh_token).await?;
            let before = std::mem::replace(&mut person.tokens, tokens);
            let (session, _events) = connection.hello(&person.keys.device, &before.access_token).await?;
            session.claim().await?;
            for tokens in [&before, &person.tokens] {
                let (_, signature) = tokens.access_token.rsplit_once('.').context("a JWT")?;
                let refresh = URL_SAFE_NO_PAD.decode(&tokens.refresh_token)?;
                canaries.extend([
                    Canary::text("access token", &tokens.access_token),
                    Canary::text("access token's signature", signature),
                    Canary::text("refresh token", &tokens.refresh_token),
                    Canary::bytes("refresh token's sum", refresh.last_chunk::<32>().context("a sum")?),
                ]);
            }
        }
        let (claims, _) = person.tokens.access_token.rsplit_once('.').context("a JWT")?;
        let forged = format!("{claims}.{}", URL_SAFE_NO_PAD.encode([7; 384]));
        let connection = Connection::open(&server).await?;
        ensure!(connection.hello(&person.keys.device, &forged).await.is_err(), "a forged token opened a session");
        let connection = Connection::open(&server).await?;
        let refused = account::refresh(&connection, &person.keys.device, "canary-refresh-token-18c4").await;
        ensure!(refused.is_err(), "a forged refresh token was honoured");
        canaries.extend([Canary::text("forged access token", &forged), Canary::text("forged refresh token", "canary-refresh-token-18c4")]);
    }
    Ok(canaries)
}

/// A recovery code as it is shown, and as some type it.
fn code(shown: &str) -> [Canary; 2] {
    [Canary::text("recovery code", shown), Canary::text("recovery code without dashes", &shown.replace('-', ""))]
}

/// That of a command that shows one.
fn recovery_code(told: &Value) -> anyhow::Result<[Canary; 2]> {
    Ok(code(told["recovery_code"].as_str().context("no recovery code")?))
}

fn none(found: &BTreeSet<Found>) -> anyhow::Result<()> {
    ensure!(found.is_empty(), "in plain on the server or the wire: {found:#?}");
    Ok(())
}

/// What the server rightly knows.
fn known() -> Vec<Canary> {
    vec![Canary::text("e-mail address", EMAIL), Canary::text("collection", COLLECTION)]
}

/// Nothing secret in the node's memory, in which what it rightly knows is found.
fn memory_holds_none(node: &NodeProcess, canaries: &[Canary]) -> anyhow::Result<()> {
    let all = [canaries, &known()].concat();
    let found = Search::of(&all).within_memory(node.pid())?;
    let (rightly, secret) = found.into_iter().partition(|found| known().iter().any(|known| known.name() == found.canary));
    none(&secret)?;
    sees(&rightly, "memory")
}

/// That the search finds what the server rightly knows there, each.
fn sees(found: &BTreeSet<Found>, place: &str) -> anyhow::Result<()> {
    for canary in ["e-mail address", "collection"] {
        ensure!(found.iter().any(|found| found.canary == canary), "the {canary} is not found in {place}: {found:?}");
    }
    Ok(())
}

/// That the search finds a file with each canary in each form.
fn the_search_finds(folder: &Path, canaries: &[Canary]) -> anyhow::Result<()> {
    let planted = folder.join("planted");
    std::fs::create_dir(&planted)?;
    let forms = || canaries.iter().flat_map(|canary| canary.forms());
    for (number, form) in forms().enumerate() {
        std::fs::write(planted.join(number.to_string()), [b"before ", form, b" after"].concat())?;
    }
    let places: BTreeSet<String> = Search::of(canaries).within_folder(&planted)?.into_iter().map(|found| found.place).collect();
    ensure!(places.len() == forms().count(), "{} of {} planted canaries were found", places.len(), forms().count());
    Ok(())
}

/// Everything that is to be found nowhere, but for tokens.
fn secrets(devices: &Devices, recovery_code: &str) -> anyhow::Result<Vec<Canary>> {
    let passwords = [PASSWORD, WRONG_PASSWORD, NEW_PASSWORD, RECOVERED_PASSWORD];
    let texts = CONTENTS.into_iter().chain([LAPTOP, TABLET, PHONE, GONE]).chain(passwords);
    let mut canaries: Vec<Canary> = texts.map(|text| Canary::text(text, text)).collect();
    canaries.extend(code(recovery_code));
    for profile in [LAPTOP, PHONE] {
        canaries.extend(devices.keys(profile)?);
    }
    Ok(canaries)
}

async fn prove(folder: &Path) -> anyhow::Result<()> {
    let node = NodeProcess::start_logging(folder, "trace").await?;
    let ((quic, pin), (ws, _)) = (address(&node, Wire::Quic)?, address(&node, Wire::Ws)?);
    let tee = Tee::before(ws.trim_start_matches("ws://").parse()?).await?;
    let devices = Devices { quic: CommandLine::at(quic, pin.clone())?, tapped: CommandLine::at(format!("ws://{}", tee.address()), pin)? };
    let recovery_code = devices.sign_in()?;
    let mut canaries = secrets(&devices, &recovery_code)?;
    let watches = devices.work()?;
    memory_holds_none(&node, &canaries)?;
    for watch in watches {
        watch.end("INT")?;
    }
    devices.change_passwords(&recovery_code)?;
    canaries.extend(devices.leave()?);
    devices.did_everything()?;
    let (search, known) = (Search::of(&canaries), known());
    memory_holds_none(&node, &canaries)?;
    let heard = tee.heard()?.concat();
    none(&search.within("wire", &heard))?;
    sees(&Search::of(&known).within("wire", &heard), "the wire")?;

    let tokens = tokens(&node).await?;
    let metrics = node.metrics().await?;
    ensure!(metrics.contains("cloudsync_store_commit_seconds"), "these are no metrics: {metrics}");
    // Killed, so that the write-ahead log is still there to be searched.
    node.kill().await?;
    ensure!(folder.join("data").join("cloudsync.db-wal").metadata()?.len() > 0, "no write-ahead log was searched");
    canaries.extend(tokens);
    let search = Search::of(&canaries);
    none(&search.within("metrics", metrics.as_bytes()))?;
    none(&search.within_folder(folder)?)?;
    sees(&Search::of(&known).within_folder(&folder.join("data"))?, "the data folder")?;
    the_search_finds(folder, &canaries)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_on_the_server_in_plain_nor_on_an_open_wire() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    if let Err(error) = Box::pin(prove(folder.path())).await {
        bail!("{error:#}\nthe node's last words:\n{}", last_words(folder.path()));
    }
    Ok(())
}
