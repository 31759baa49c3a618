//! What happens between two steps of a rotation, or of what a rotation comes between: somebody enrols, pushes, rotates as well.
//!
//! Never: a race that is won by luck; whoever carries the frames does the other thing before it carries one.

#![allow(clippy::indexing_slicing, reason = "only JSON values are indexed, which gives null where nothing is")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the frame that it waits for")]

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cloudsync_protocol::{ErrorCode, Frame, Operation, codec};
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::dishonest::Way;
use cloudsync_tests::{CommandLine, DishonestServer, TestNode, Wire};
use serde_json::{Value, json};

type Tested = anyhow::Result<()>;

const ADA: &str = "ada@example.com";

/// Devices on an honest line, and those behind one on which things happen.
struct World {
    _node: TestNode,
    line: DishonestServer,
    near: Arc<CommandLine>,
    far: CommandLine,
}

impl World {
    /// `a` is near and has written `g1`; `b` is far and has read it.
    async fn start() -> anyhow::Result<Self> {
        let node = TestNode::start_in_memory().await?;
        let line = DishonestServer::before(&node, Wire::Ws).await?;
        let near = Arc::new(CommandLine::at(node.url(Wire::Ws)?, node.pin().to_string())?);
        let far = CommandLine::at(line.url(), node.pin().to_string())?;
        near.account(ADA, &["a"])?;
        near.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
        far.sign_in("b", ("login", ADA, PASSWORD), &[])?.ended(0)?;
        far.run("b", &["sync"])?.ended(0)?;
        Ok(Self { _node: node, line, near, far })
    }

    /// Before the first frame of that kind is carried to the node, this is done.
    fn before(&self, which: fn(&Frame) -> bool, work: fn(&CommandLine)) {
        let near = Arc::clone(&self.near);
        self.line.delays(which, move || work(&near));
    }

    /// How often the node refused by that code.
    fn refused(&self, code: ErrorCode) -> usize {
        let is = |frame: &Frame| matches!(frame, Frame::Failure(failure) if failure.code == code);
        self.line.heard().iter().filter(|(way, frame)| *way == Way::ToClient && is(frame)).count()
    }

    fn value(&self, id: &str) -> anyhow::Result<String> {
        Ok(self.near.run("a", &["get", "goal", id])?.ended(0)?.stdout.trim().to_owned())
    }

    fn key_epoch(&self, profile: &str) -> anyhow::Result<u64> {
        let cli = if profile == "a" { &*self.near } else { &self.far };
        let keys: Value = serde_json::from_slice(&std::fs::read(cli.profile(profile).join("keys.json"))?)?;
        keys["account_keys"].as_array().and_then(|keys| keys.last()?["epoch"].as_u64()).context("no account key")
    }
}

fn rotate(near: &CommandLine) {
    let rotated = near.rotate("a", PASSWORD, &[]).expect("it runs");
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_a_rotation_overtakes_is_wrapped_anew_and_goes_through_as_the_same_push() -> Tested {
    let world = World::start().await?;
    world.line.forget();
    world.before(|frame| matches!(frame, Frame::Push(_)), rotate);
    world.far.run("b", &["put", "goal", "g2", "2"])?.ended(0)?;
    assert_eq!((world.refused(ErrorCode::KeyEpochOld), world.key_epoch("b")?), (1, 2));
    let pushes =
        world.line.heard().into_iter().filter_map(|(_, frame)| if let Frame::Push(push) = frame { Some(push.signed) } else { None });
    let pushes: Vec<_> = pushes.collect();
    assert_eq!(pushes.len(), 2);
    assert_eq!(pushes.first(), pushes.last(), "statement and signature are the same");
    assert_eq!((world.value("g1")?, world.value("g2")?), ("1".into(), "2".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_that_a_rotation_overtakes_begins_anew_by_itself() -> Tested {
    let world = World::start().await?;
    world.before(|frame| matches!(frame, Frame::Enrol(_)), rotate);
    world.far.sign_in("c", ("login", ADA, PASSWORD), &[])?.ended(0)?;
    assert_eq!(world.refused(ErrorCode::TicketInvalid) + world.refused(ErrorCode::IdentityOld), 1);
    world.far.run("c", &["put", "goal", "g2", "2"])?.ended(0)?;
    assert_eq!((world.key_epoch("c")?, world.value("g2")?), (2, "2".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_enrols_while_a_rotation_is_under_way_is_asked_about_first() -> Tested {
    let world = World::start().await?;
    world.before(
        |frame| matches!(frame, Frame::SecretFinish(_)),
        |near| {
            let joined = near.sign_in("c", ("login", ADA, PASSWORD), &[]).expect("it runs");
            assert_eq!(joined.code, Some(0), "{joined:?}");
        },
    );
    let refused = world.far.rotate("b", PASSWORD, &[])?.ended(4)?;
    assert_eq!((refused.error_code()?, world.key_epoch("b")?), ("roster_moved".into(), 1));
    assert!(!world.far.profile("b").join("rotation.json").exists(), "what can never count is forgotten");
    world.far.rotate("b", PASSWORD, &[])?.ended(0)?;
    world.near.run("c", &["put", "goal", "g2", "2"])?.ended(0)?;
    assert_eq!(world.value("g2")?, "2", "it is a member, and has the keys");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rotations_at_once_one_counts_and_the_other_says_what_was_not_done() -> Tested {
    let world = World::start().await?;
    world.near.sign_in("c", ("login", ADA, PASSWORD), &[])?.ended(0)?;
    world.before(|frame| matches!(frame, Frame::SecretFinish(_)), rotate);
    let refused = world.far.revoke("b", ("c", PASSWORD))?.ended(4)?;
    assert_eq!(refused.error_code()?, "keyring_conflict");
    assert!(refused.stderr.contains("still enrolled: c"), "{}", refused.stderr);
    world.near.run("c", &["put", "goal", "g2", "2"])?.ended(0)?;
    world.far.revoke("b", ("c", PASSWORD))?.ended(0)?;
    assert_eq!((world.key_epoch("b")?, world.value("g2")?, world.key_epoch("a")?), (3, "2".into(), 3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_devices_that_revoke_each_other_the_first_stays_and_the_other_is_out() -> Tested {
    let world = World::start().await?;
    world.before(
        |frame| matches!(frame, Frame::SecretFinish(_)),
        |near| {
            let revoked = near.revoke("a", ("b", PASSWORD)).expect("it runs");
            assert_eq!(revoked.code, Some(0), "{revoked:?}");
        },
    );
    let refused = world.far.revoke("b", ("a", PASSWORD))?;
    ensure!(refused.code == Some(4) || refused.code == Some(7), "{refused:?}");
    assert_eq!(world.far.run("b", &["sync", "--json"])?.ended(7)?.error_code()?, "device_revoked");
    assert_eq!((world.value("g1")?, world.key_epoch("a")?), ("1".into(), 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_pushes_while_it_is_revoked_is_revoked_after_that_push() -> Tested {
    let world = World::start().await?;
    world.near.sign_in("c", ("login", ADA, PASSWORD), &[])?.ended(0)?;
    world.before(
        |frame| matches!(frame, Frame::SecretFinish(_)),
        |near| {
            let pushed = near.run("c", &["put", "goal", "late", "7"]).expect("it runs");
            assert_eq!(pushed.code, Some(0), "{pushed:?}");
        },
    );
    world.far.revoke("b", ("c", PASSWORD))?.ended(0)?;
    assert_eq!((world.refused(ErrorCode::RevokeLastDiffers), world.value("late")?), (1, "7".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_records_are_wrapped_anew_by_pushes_of_at_most_80_kb_each() -> Tested {
    let world = World::start().await?;
    let file = world.far.home().join("sessions.csv");
    let rows: String = (1..=1100).map(|row| format!("\"@a\",\"3\",{row},1,2012-02-29,2,1\n")).collect();
    std::fs::write(&file, format!("X.words,word_cnt,description,DONE,date,estimate,actual\n{rows}"))?;
    let import = ["import", "--format", "pomodoro", file.to_str().context("a path")?];
    world.far.run("b", &import)?.ended(0)?;
    world.line.forget();
    world.far.rotate("b", PASSWORD, &[])?.ended(0)?;
    let (mut items, mut pushes) = (0, 0);
    for (_, frame) in world.line.heard() {
        let Frame::Push(push) = &frame else { continue };
        for operation in &push.operations {
            let Operation::Rewrap(rewrap) = operation else { anyhow::bail!("only wraps are pushed") };
            items += rewrap.items().count();
        }
        let bytes = codec::encode(&frame).len();
        ensure!(bytes <= 80_000, "{bytes} B");
        pushes += 1;
    }
    assert_eq!((items, pushes), (1101, 2), "every record, and `g1`");
    let again = world.far.run("b", &[&import[..], &["--json"]].concat())?.ended(0)?.last()?;
    assert_eq!((&again["imported"], &again["unchanged"]), (&json!(0), &json!(1100)), "rows are found by the names of before");
    let status = world.near.run("a", &["status", "--check", "--json"])?.ended(0)?.last()?;
    assert_eq!((&status["damaged"], &status["check"]["differences"]), (&json!(0), &json!([])), "{status}");
    Ok(())
}
