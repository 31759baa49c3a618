//! Two devices of one account: `a` on an honest line, `b` behind a server that lies.
//!
//! Never: a claim of a test's own.

use anyhow::{Context as _, ensure};
use cloudsync_client::keys::KeyFile;
use cloudsync_protocol::{Frame, Seq, TimelineId};
use cloudsync_tests::{CommandLine, DishonestServer, Ran, TestNode, Wire};
use serde_json::{Value, json};

/// The account's address.
pub(crate) const ADA: &str = "ada@example.com";

/// The devices, and what is between them.
pub(crate) struct World {
    /// The real one, as long as this is.
    pub(crate) node: TestNode,
    /// What `b` takes for it.
    pub(crate) server: DishonestServer,
    /// Where `a` is.
    pub(crate) honest: CommandLine,
    /// Where `b` is.
    pub(crate) cheated: CommandLine,
}

/// What a profile shows: id, value.
pub(crate) type Shown = Vec<(String, Value)>;

impl World {
    /// `a` wrote `g1` and `g2`, `b` has read them, and an edit of `b`'s waits.
    pub(crate) async fn start(wire: Wire) -> anyhow::Result<Self> {
        let world = Self::without_edit(wire).await?;
        world.cheated.run("b", &["put", "goal", "mine", "\"b's\"", "--offline"])?.ended(0)?;
        Ok(world)
    }

    /// The same, and nothing waits.
    pub(crate) async fn without_edit(wire: Wire) -> anyhow::Result<Self> {
        let node = TestNode::start_in_memory().await?;
        let server = DishonestServer::before(&node, wire).await?;
        let honest = CommandLine::at(node.url(Wire::Ws)?, node.pin().to_string())?;
        let cheated = CommandLine::at(server.url(), node.pin().to_string())?;
        let world = Self { node, server, honest, cheated };
        world.honest.account(ADA, &["a"])?;
        world.put("g1", "1")?;
        world.put("g2", "1")?;
        world.log_in("b")?;
        world.sync()?.ended(0)?;
        Ok(world)
    }

    /// Makes a profile behind the server a device of the account.
    pub(crate) fn log_in(&self, profile: &str) -> anyhow::Result<Ran> {
        self.cheated.sign_in(profile, ("login", ADA, cloudsync_tests::command_line::PASSWORD), &[])?.ended(0)
    }

    /// `a` writes a record.
    pub(crate) fn put(&self, id: &str, value: &str) -> anyhow::Result<()> {
        self.honest.run("a", &["put", "goal", id, value])?.ended(0).map(drop)
    }

    /// `a` writes several records by one push.
    pub(crate) fn put_together(&self, records: &[(&str, &str)]) -> anyhow::Result<()> {
        for (id, value) in records {
            self.honest.run("a", &["put", "goal", id, value, "--offline"])?.ended(0)?;
        }
        self.honest.run("a", &["sync"])?.ended(0).map(drop)
    }

    /// `b` reads and sends.
    pub(crate) fn sync(&self) -> anyhow::Result<Ran> {
        self.cheated.run("b", &["sync", "--json"])
    }

    /// How far `b` has read.
    pub(crate) fn read_to(&self) -> anyhow::Result<Seq> {
        Ok(Seq(self.cheated.status("b")?["seq"].as_u64().context("a seq")?))
    }

    /// The keys of a device.
    pub(crate) fn keys(&self, profile: &str) -> anyhow::Result<KeyFile> {
        let cli = if profile == "a" { &self.honest } else { &self.cheated };
        Ok(KeyFile::from_bytes(&std::fs::read(cli.profile(profile).join("keys.json"))?)?)
    }

    /// `sync` of `b` ends so; everything that it had is there, and the edit waits.
    pub(crate) fn catches(&self, code: &str, words: &str) -> anyhow::Result<()> {
        self.catches_by(&["sync"], code, words)
    }

    /// That command of `b` ends so; everything that it had is there, and the edit waits.
    pub(crate) fn catches_by(&self, command: &[&str], code: &str, words: &str) -> anyhow::Result<()> {
        let (before, read) = (shown(&self.cheated, "b")?, self.read_to()?);
        let ran = self.cheated.run("b", &[command, &["--json"]].concat())?;
        ensure!(ran.error_code()? == code, "{code} was due: {ran:?}");
        let exit = match code {
            "protocol" => 1,
            "unreachable" | "connection_closed" => 3,
            "replica_differs" => 6,
            _ => 4,
        };
        ensure!(ran.code == Some(exit) && ran.stderr.contains(words), "{exit}, `{words}`: {ran:?}");
        self.keeps(&before, read)
    }

    /// Nothing of that was lost or went back, and the edit waits.
    pub(crate) fn keeps(&self, before: &Shown, read: Seq) -> anyhow::Result<()> {
        let now = shown(&self.cheated, "b")?;
        ensure!(before.iter().all(|record| now.contains(record)), "{before:?} became {now:?}");
        ensure!(self.read_to()? >= read, "the cursor went back from {read}");
        let status = self.cheated.status("b")?;
        ensure!(status["pending"] == json!(1) && status["damaged"] == json!(0), "the edit waits: {status}");
        Ok(())
    }

    /// The server is honest again: `b` reads on by `sync`, its edit arrives, and both show the same.
    pub(crate) fn goes_on(&self) -> anyhow::Result<()> {
        self.goes_on_by(&["sync"])
    }

    /// The same by that command.
    pub(crate) fn goes_on_by(&self, command: &[&str]) -> anyhow::Result<()> {
        self.server.behave();
        self.cheated.run("b", command)?.ended(0)?;
        self.cheated.run("b", &["sync"])?.ended(0)?;
        self.honest.run("a", &["sync"])?.ended(0)?;
        let (a, b) = (shown(&self.honest, "a")?, shown(&self.cheated, "b")?);
        ensure!(a == b, "`a` shows {a:?}, `b` {b:?}");
        let status = self.cheated.status("b")?;
        ensure!(status["pending"] == json!(0) && status["damaged"] == json!(0), "{status}");
        let checked = self.cheated.run("b", &["status", "--check", "--json"])?.ended(0)?.last()?;
        ensure!(checked["check"]["differences"] == json!([]), "{checked}");
        Ok(())
    }
}

/// What a profile shows without a server.
pub(crate) fn shown(cli: &CommandLine, profile: &str) -> anyhow::Result<Shown> {
    let listed = cli.run(profile, &["list", "--offline", "--json"])?.ended(0)?.json()?;
    listed.into_iter().map(|record| Ok((record["id"].as_str().context("an id")?.to_owned(), record["value"].clone()))).collect()
}

/// The log's timeline, as the node told it.
pub(crate) fn timeline(server: &DishonestServer) -> anyhow::Result<TimelineId> {
    let told = |(_, frame)| if let Frame::Welcome(welcome) = frame { Some(welcome.timeline) } else { None };
    server.heard().into_iter().find_map(told).context("nobody was welcomed")
}
