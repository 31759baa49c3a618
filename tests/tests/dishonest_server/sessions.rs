//! What is said of the session itself, of pushes and of room.
//!
//! Never: a row changed.

use anyhow::ensure;
use cloudsync_protocol::error::{LastPush, RecordIssue, Usage};
use cloudsync_protocol::frame::{Push, Pushed};
use cloudsync_protocol::statement::BatchStatement;
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Frame, Hash, Operation, RecordKey, Seq, TimelineId, UserId, Version, codec};
use cloudsync_tests::Wire;
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::dishonest::Way;
use serde_json::json;

use crate::world::{ADA, World, shown};

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_version_is_refused_before_and_after_hello() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    for versions in [(0, 0), (2, 3)] {
        world.server.tells(move |frame| {
            if let Frame::Challenge(challenge) = frame {
                (challenge.version_min, challenge.version_max) = versions;
            }
        });
        world.catches("protocol", "the server speaks versions")?;
    }
    world.server.tells(|frame| {
        if let Frame::Welcome(welcome) = frame {
            welcome.version = 0;
        }
    });
    world.catches("protocol", "version 0 where only 1 was offered")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_user_or_a_log_of_another_is_refused() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.server.tells(|frame| {
        if let Frame::Welcome(welcome) = frame {
            welcome.user = UserId([7; 16]);
        }
    });
    world.catches("protocol", "session of another user")?;
    world.server.tells(|frame| {
        if let Frame::Attached(attached) = frame {
            attached.id = UserId([7; 16]).into();
        }
    });
    world.catches("store_rewound", "that is log 07")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_said_to_be_revoked_keeps_everything_and_goes_on_when_it_is_let_in() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let (before, read) = (shown(&world.cheated, "b")?, world.read_to()?);
    for code in [ErrorCode::DeviceRevoked, ErrorCode::DeviceUnknown, ErrorCode::AccountErased] {
        world.server.answers(move |frame| matches!(frame, Frame::Hello(_)).then(|| Failure::new(0, code, "so it is said").into()));
        ensure!(world.sync()?.ended(7)?.error_code()? == code.name());
        world.keeps(&before, read)?;
    }
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_sign_a_device_out_and_it_keeps_everything() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let (before, read) = (shown(&world.cheated, "b")?, world.read_to()?);
    let mut is_first = true;
    world.server.does(move |way, mut frame| {
        if matches!(frame, Frame::Hello(_)) && std::mem::take(&mut is_first) {
            return vec![(Way::ToClient, Failure::new(0, ErrorCode::TokenExpired, "past its time").into())];
        }
        if let Frame::Tokens(tokens) = &mut frame {
            "forged".clone_into(&mut tokens.access_token);
            tokens.refresh_token = tokens.refresh_token.chars().rev().collect();
        }
        vec![(way, frame)]
    });
    let ran = world.sync()?.ended(7)?;
    ensure!(["token_invalid", "refresh_invalid"].contains(&ran.error_code()?.as_str()), "{ran:?}");
    world.keeps(&before, read)?;
    world.server.behave();
    let id = world.cheated.status("b")?["device_id"].clone();
    let signed_in = world.cheated.sign_in("b", ("login", ADA, PASSWORD), &[])?.ended(0)?.last()?;
    ensure!(signed_in["device_id"] == id || signed_in["pending"] == json!(1), "{signed_in}");
    world.goes_on()
}

/// The numbers of a push, and the records that it is of.
fn said_of(push: &Push) -> anyhow::Result<(BatchStatement, Vec<RecordKey>)> {
    let keys = push.operations.iter().filter_map(Operation::envelope).map(|envelope| Ok(envelope.check()?.key()));
    Ok((codec::decode(&push.signed.statement)?, keys.collect::<anyhow::Result<_>>()?))
}

/// That a push is committed, which the node never saw.
fn acknowledgement(push: &Push, timeline: TimelineId, from: Seq) -> Frame {
    let (statement, keys) = said_of(push).expect("a client's push");
    let to = from.plus(keys.len() as u64);
    Pushed { request: push.request, log: 0, device_seq: statement.device_seq, hash: push.signed.hash(), timeline, from, to }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_what_was_not_committed_is_caught_by_a_check_and_at_the_next_push() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let (timeline, head) = (crate::world::timeline(&world.server)?, world.read_to()?);
    world.server.answers(move |frame| if let Frame::Push(push) = frame { Some(acknowledgement(push, timeline, head)) } else { None });
    world.sync()?.ended(0)?;
    let believed = shown(&world.cheated, "b")?;
    ensure!(world.cheated.status("b")?["pending"] == json!(0) && believed.iter().any(|(id, _)| id == "mine"), "it is believed");
    world.server.behave();
    world.put("g3", "3")?;
    let ran = world.cheated.run("b", &["status", "--check", "--json"])?.ended(6)?;
    let difference = &ran.last()?["check"]["differences"][0];
    ensure!((&difference["id"], &difference["difference"]) == (&json!("mine"), &json!("extra")), "{ran:?}");
    world.cheated.run("b", &["put", "goal", "next", "1", "--offline"])?.ended(0)?;
    let ran = world.sync()?.ended(4)?;
    ensure!(ran.error_code()? == "store_rewound", "{ran:?}");
    let kept = shown(&world.cheated, "b")?;
    ensure!(believed.iter().all(|record| kept.contains(record)) && world.cheated.status("b")?["pending"] == json!(1), "{kept:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_another_push_or_place_is_refused() -> anyhow::Result<()> {
    let tricks: [fn(&mut Pushed); 2] = [|pushed| pushed.hash = Hash([7; 32]), |pushed| pushed.to = pushed.to.next()];
    for trick in tricks {
        let world = World::start(Wire::Ws).await?;
        world.server.tells(move |frame| {
            if let Frame::Pushed(pushed) = frame {
                trick(pushed);
            }
        });
        world.catches("protocol", "does not fit it")?;
        // The node has it by now; the next claim says so.
        world.goes_on()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_were_never_made_are_named_a_profile_that_was_rolled_back() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let (before, read) = (shown(&world.cheated, "b")?, world.read_to()?);
    world.server.tells(|frame| {
        if let Frame::Claimed(claimed) = frame {
            claimed.last = LastPush { device_seq: DeviceSeq(9), hash: Hash([7; 32]), seq: Seq(3) };
        }
    });
    ensure!(world.sync()?.ended(7)?.error_code()? == "rolled_back");
    world.keeps(&before, read)?;
    world.server.behave();
    world.cheated.sign_in("b", ("login", ADA, PASSWORD), &[])?.ended(0)?;
    world.goes_on()
}

/// That there is no room for a push.
fn full(frame: &Frame, at: Seq) -> Option<Frame> {
    let Frame::Push(push) = frame else { return None };
    let mut failure = Failure::new(push.request, ErrorCode::QuotaExceeded, "full");
    failure.quota = Some(Box::new(Usage { used: 100, limit: 100, need: 100, at }));
    let (_, keys) = said_of(push).ok()?;
    let issue = |key| RecordIssue { key, code: ErrorCode::QuotaExceeded, current: Version::NONE, current_seq: Seq::ZERO, grows: 100 };
    failure.records = keys.into_iter().map(issue).collect();
    Some(failure.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_room_pauses_edits_and_the_truth_wakes_them() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let (before, read) = (shown(&world.cheated, "b")?, world.read_to()?);
    world.server.does(move |way, mut frame| {
        if let Frame::Attached(attached) = &mut frame {
            attached.quota_bytes = attached.used_bytes;
        }
        match full(&frame, read) {
            Some(failure) => vec![(Way::ToClient, failure)],
            None => vec![(way, frame)],
        }
    });
    let ran = world.sync()?.ended(0)?.last()?;
    ensure!(ran["paused"] == json!("quota") && ran["paused_edits"] == json!(1), "{ran}");
    let now = shown(&world.cheated, "b")?;
    ensure!(before.iter().all(|record| now.contains(record)));
    world.goes_on()
}
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_is_none_parks_the_edit_where_it_can_be_settled() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let read = world.read_to()?;
    world.server.answers(move |frame| {
        let Frame::Push(push) = frame else { return None };
        let mut failure = Failure::new(push.request, ErrorCode::Stale, "overtaken");
        let (_, keys) = said_of(push).ok()?;
        let issue = |key| RecordIssue { key, code: ErrorCode::Stale, current: Version(4), current_seq: read, grows: 0 };
        failure.records = keys.into_iter().map(issue).collect();
        Some(failure.into())
    });
    world.sync()?.ended(5)?;
    let conflicts = world.cheated.run("b", &["conflicts", "list", "--json"])?.ended(0)?.json()?;
    ensure!(conflicts.len() == 1 && conflicts[0]["mine"]["value"] == json!("b's"), "{conflicts:?}");
    world.server.behave();
    world.cheated.run("b", &["put", "goal", "mine", "\"b's\"", "--onto", "current"])?.ended(0)?;
    world.goes_on()
}
