//! A server together with a device that was revoked, which has every key and the identity of before the rotation.
//!
//! Never: a key of after it in their hands; what honest devices wrote since is tried with those of before.

use anyhow::{Context as _, ensure};
use cloudsync_client::envelope::{Expected, open};
use cloudsync_client::keys::{DeviceKeys, Identity, KeyEpoch, KeyFile, KeyringPin, RecoveryCode};
use cloudsync_client::statement::{RotateFacts, rotate};
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{Authorized, Keyring, Page, RosterPage};
use cloudsync_protocol::statement::{Member, RosterChange};
use cloudsync_protocol::{Entry, Envelope, ErrorCode, Failure, Frame, Hash, Seq};
use cloudsync_tests::dishonest::{DishonestServer, Way, forge};

use crate::revoked::{first_push, more, with_a_revoked_device};
use crate::world::{World, shown};

/// The same, and `b` has read of it; another edit waits.
async fn with_a_device_that_read_it() -> anyhow::Result<(World, KeyFile)> {
    let (world, revoked) = with_a_revoked_device().await?;
    world.sync()?.ended(0)?;
    world.cheated.run("b", &["put", "goal", "mine", "\"b's again\"", "--offline"])?.ended(0)?;
    world.put("g3", "3")?;
    Ok((world, revoked))
}

/// What was shown to somebody who signed in, oldest first.
fn authorized(server: &DishonestServer) -> anyhow::Result<Authorized> {
    let given = server.heard().into_iter().find_map(|(_, frame)| if let Frame::Authorized(given) = frame { Some(given) } else { None });
    given.context("nobody was authorized")
}

/// A device of nobody's, with the keys of the revoked one, and its enrolment by the identity of before.
fn ghost(revoked: &KeyFile) -> anyhow::Result<(KeyFile, RosterChange)> {
    let ghost = KeyFile { device: DeviceKeys::random(), ..revoked.clone() };
    let enrolment = forge::enrolment(revoked, &revoked.secrets.identity, &ghost.device)?;
    Ok((ghost, enrolment))
}

/// Where the rotation stands in a page.
fn rotation_in(frame: &mut Frame) -> Option<(&mut Page, usize)> {
    let Frame::Page(page) = frame else { return None };
    let is_rotation = |entry: &Entry| matches!(entry, Entry::Roster(RosterRow { change: RosterChange::Rotate(_), .. }));
    let at = page.entries.iter().position(is_rotation)?;
    Some((page, at))
}

fn has_no_ghost(world: &World) -> anyhow::Result<()> {
    ensure!(shown(&world.cheated, "b")?.iter().all(|(id, _)| id != "ghost"), "it is believed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_the_identity_of_before_enrols_behind_the_rotation_is_caught() -> anyhow::Result<()> {
    for is_read in [false, true] {
        let (world, revoked) = if is_read { with_a_device_that_read_it().await? } else { with_a_revoked_device().await? };
        let (ghost, enrolment) = ghost(&revoked)?;
        world.server.tells(move |frame| {
            more(frame, |next| Ok(vec![Entry::Roster(forge::roster_row(next, enrolment.clone())), first_push(&ghost, next.next())?]));
        });
        world.catches("log_untrusted", "was replaced")?;
        has_no_ghost(&world)?;
        world.goes_on()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_slipped_in_before_the_rotation_is_out_by_it() -> anyhow::Result<()> {
    let (world, revoked) = with_a_revoked_device().await?;
    let (ghost, enrolment) = ghost(&revoked)?;
    world.server.tells(move |frame| {
        let Some((page, at)) = rotation_in(frame) else { return };
        page.entries.truncate(at + 1);
        let Entry::Roster(rotation) = page.entries.remove(at) else { return };
        let seq = rotation.seq;
        page.entries.push(Entry::Roster(forge::roster_row(seq, enrolment.clone())));
        page.entries.push(Entry::Roster(RosterRow { seq: seq.next(), ..rotation }));
        page.entries.push(first_push(&ghost, seq.next().next()).expect("what has keys can be made"));
        page.to = seq.next().next();
    });
    world.catches("log_untrusted", "was not enrolled")?;
    has_no_ghost(&world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_the_revoked_device_makes_is_caught_by_who_has_read_the_real_one() -> anyhow::Result<()> {
    let (world, revoked) = with_a_device_that_read_it().await?;
    let rows = authorized(&world.server)?.roster;
    let (a, b) = (world.keys("a")?, world.keys("b")?);
    let roster = Roster::from_rows(a.log(), &rows)?;
    let mut members: Vec<Member> = roster.devices().map(|(device, known)| Member { device, enrol: known.enrol }).collect();
    members.push(Member { device: b.device.id, enrol: Hash::default() });
    members.sort_by_key(|member| member.device);
    members.dedup_by_key(|member| member.device);
    let identity = Identity { epoch: 3, ..Identity::first() };
    let facts = RotateFacts {
        keyring: KeyringPin { version: 3, hash: Hash([1; 32]) },
        epoch: KeyEpoch(3),
        recovery: RecoveryCode::random().signing().public(),
        members,
        revoked: Vec::new(),
        client_ts: 1,
    };
    // In the name of `a`, whose key it does not have.
    let by = DeviceKeys { id: a.device.id, ..revoked.device.clone() };
    let change = rotate(&identity, a.log(), &by, facts)?;
    world.server.tells(move |frame| more(frame, |next| Ok(vec![Entry::Roster(forge::roster_row(next, change.clone()))])));
    world.catches("log_untrusted", "")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyring_of_before_or_one_that_no_row_names_is_not_taken_in_the_place_of_the_new_one() -> anyhow::Result<()> {
    let (world, _) = with_a_revoked_device().await?;
    let old = authorized(&world.server)?.keyring;
    let served = old.clone();
    world.server.answers(move |frame| match frame {
        Frame::GetKeyring(asked) => Some(Keyring { request: asked.request, version: 1, keyring: served.clone() }.into()),
        _ => None,
    });
    world.catches("keyring_untrusted", "roster names another one")?;
    world.server.answers(move |frame| match frame {
        Frame::GetKeyring(asked) => Some(Keyring { request: asked.request, version: 2, keyring: old.clone() }.into()),
        _ => None,
    });
    world.catches("keyring_untrusted", "not the one that the roster names")?;
    // Nor does it help to cut the roster.
    world.server.does(|way, frame| match (way, frame) {
        (Way::ToClient, Frame::RosterPage(page)) => vec![(way, RosterPage { roster: Vec::new(), more: true, ..page }.into())],
        (way, frame) => vec![(way, frame)],
    });
    world.catches("server_untrusted", "do not go on")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_for_ever_that_the_key_is_old_ends_by_that_name() -> anyhow::Result<()> {
    let (world, _) = with_a_device_that_read_it().await?;
    world.server.answers(|frame| match frame {
        Frame::Push(push) => Some(Failure::new(push.request, ErrorCode::KeyEpochOld, "says the server").into()),
        _ => None,
    });
    world.catches("key_epoch_old", "shows no newer one")?;
    world.goes_on()
}

/// Every envelope that a frame carries, with where it was committed as far as that is known.
fn envelopes(frame: &Frame) -> Vec<(Option<Seq>, Envelope)> {
    let of_entries = |entries: &[Entry]| {
        let batches = entries.iter().filter_map(|entry| if let Entry::Batch(batch) = entry { Some(batch) } else { None });
        let puts = batches.flat_map(|batch| {
            let at = |(number, operation): (u64, &cloudsync_protocol::Operation)| {
                Some((Some(batch.first.plus(number)), operation.envelope()?.clone()))
            };
            (0..).zip(&batch.operations).filter_map(at).collect::<Vec<_>>()
        });
        puts.collect::<Vec<_>>()
    };
    match frame {
        Frame::Page(page) => of_entries(&page.entries),
        Frame::Event(event) => of_entries(&event.entries),
        Frame::SnapshotPage(page) => page.rows.iter().map(|row| (Some(row.seq), row.envelope.clone())).collect(),
        Frame::Push(push) => push.operations.iter().filter_map(|operation| Some((None, operation.envelope()?.clone()))).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_honest_devices_write_after_the_rotation_opens_with_the_keys_of_the_revoked_one() -> anyhow::Result<()> {
    let (world, revoked) = with_a_revoked_device().await?;
    let row = world.honest.status("a")?["seq"].as_u64().map(Seq).context("a seq")?;
    world.server.forget();
    world.put("g1", "\"from a\"")?;
    world.put("g3", "\"from a, new\"")?;
    world.sync()?.ended(0)?;
    world.cheated.run("b", &["put", "goal", "g1", "\"from b\""])?.ended(0)?;
    world.cheated.run("b", &["sync", "--from-snapshot"])?.ended(0)?;
    let (own, expected) = (world.keys("b")?, Expected::of_log(revoked.log()));
    let (mut before, mut after, mut rotated) = (0, 0, false);
    for (way, frame) in world.server.heard() {
        rotated |= matches!(&frame, Frame::Page(_));
        for (seq, envelope) in envelopes(&frame) {
            if seq.is_some_and(|seq| seq <= row) {
                before += 1;
                continue;
            }
            after += 1;
            ensure!(open(&own.secrets.account, &envelope, &expected).is_ok(), "a member reads it");
            ensure!(open(&revoked.secrets.account, &envelope, &expected).is_err(), "{way:?}: {seq:?} opens with the keys of before");
        }
    }
    ensure!(rotated && before > 0 && after >= 6, "{before} of before, {after} of after: were they seen?");
    world.goes_on()
}

/// Not claimed: a device from which the rotation is withheld goes on under the keys of before, and believes whom they enrol.
#[tokio::test(flavor = "multi_thread")]
async fn not_claimed_a_device_that_has_not_read_the_rotation_believes_the_revoked_one_and_the_honest_log_gives_it_away()
-> anyhow::Result<()> {
    let (world, revoked) = with_a_revoked_device().await?;
    let (ghost, enrolment) = ghost(&revoked)?;
    world.server.tells(move |frame| {
        let Some((page, at)) = rotation_in(frame) else { return };
        let seq = page.entries.get(at).map_or(page.from, Entry::first);
        page.entries.truncate(at);
        page.entries.push(Entry::Roster(forge::roster_row(seq, enrolment.clone())));
        page.entries.push(first_push(&ghost, seq.next()).expect("what has keys can be made"));
        page.to = seq.next();
    });
    let before = shown(&world.cheated, "b")?;
    world.sync()?;
    ensure!(shown(&world.cheated, "b")?.iter().any(|(id, _)| id == "ghost"), "it is believed");
    world.server.behave();
    let ran = world.sync()?.ended(4)?;
    ensure!(ran.error_code()? == "store_rewound", "{ran:?}");
    let kept = shown(&world.cheated, "b")?;
    ensure!(before.iter().all(|record| kept.contains(record)), "{kept:?}");
    Ok(())
}
