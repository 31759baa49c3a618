//! Where the log is said to be: heads, positions, timelines.
//!
//! Never: a row changed.

use anyhow::ensure;
use cloudsync_protocol::frame::{Attached, HeadAt};
use cloudsync_protocol::{Cursor, ErrorCode, Failure, Frame, Generation, Seq, TimelineId};
use cloudsync_tests::Wire;
use cloudsync_tests::dishonest::{Way, rows};
use serde_json::json;

use crate::world::{World, shown, timeline};

const FROM_SNAPSHOT: [&str; 2] = ["sync", "--from-snapshot"];

fn attached(change: impl Fn(&mut Attached) + Send + 'static) -> impl FnMut(&mut Frame) + Send + 'static {
    move |frame| {
        if let Frame::Attached(attached) = frame {
            change(attached);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_behind_what_was_read_is_caught() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let read = world.read_to()?;
    world.server.tells(attached(move |attached| attached.head = Seq(read.0 - 1)));
    world.catches("store_rewound", "behind")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_not_there_yet_is_caught() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.put("g3", "3")?;
    world.server.tells(attached(|attached| attached.head = Seq(attached.head.0 + 5)));
    world.catches("protocol", "not whole")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_head_that_is_not_there_yet_is_caught_and_one_of_before_says_nothing() -> anyhow::Result<()> {
    let world = World::without_edit(Wire::Ws).await?;
    let watch = world.cheated.watch("b")?;
    let head = world.read_to()?;
    let timeline = timeline(&world.server)?;
    for at in [Seq(head.0 - 1), head] {
        world.server.says(HeadAt { log: 0, timeline, head: at });
    }
    world.server.says(HeadAt { log: 0, timeline, head: Seq(head.0 + 5) });
    let ran = watch.ended()?;
    ensure!(ran.error_code()? == "protocol" && ran.stderr.contains("not whole"), "{ran:?}");
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_refused_for_nothing_is_named_and_nothing_is_given_up() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    for code in [ErrorCode::StoreRewound, ErrorCode::TimelineUnknown] {
        world.server.answers(move |frame| match frame {
            Frame::Attach(attach) => Some(Failure::new(attach.request, code, "no such row").into()),
            _ => None,
        });
        let named = if code == ErrorCode::TimelineUnknown { "connection_closed" } else { "store_rewound" };
        world.catches(named, "no such row")?;
    }
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_said_to_be_cut_costs_a_snapshot_and_nothing_else() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.put("g3", "3")?;
    world.server.tells(attached(|attached| attached.floor = attached.head));
    let before = shown(&world.cheated, "b")?;
    world.sync()?.ended(0)?;
    let now = shown(&world.cheated, "b")?;
    ensure!(before.iter().all(|record| now.contains(record)), "{before:?}, {now:?}");
    world.goes_on()
}

/// The replica goes where it is led, past the log's end, and there it stays: which of the two it is that lost something it can't know.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_leads_past_the_logs_end_is_named_by_the_log_and_nothing_is_lost() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.server.tells(|frame| {
        if let Frame::SnapshotPage(page) = frame {
            page.start.seq = Seq(page.start.seq.0 + 1000);
            page.resume.iter_mut().for_each(|resume| resume.start = page.start.seq);
        }
    });
    world.catches_by(&FROM_SNAPSHOT, "store_rewound", "")?;
    world.server.behave();
    world.catches("store_rewound", "")?;
    world.log_in("c")?;
    world.cheated.run("c", &["sync"])?.ended(0)?;
    ensure!(shown(&world.cheated, "c")? == shown(&world.honest, "a")?);
    Ok(())
}

/// Another timeline than the log's, which is said to have begun after `fork`: to the client everything is of it, to the node
/// nothing; what was read above the fork is said not to be there, and that record is not.
fn pretend(world: &World, fork: Seq, hidden: Option<&'static str>) -> anyhow::Result<()> {
    let (real, false_one) = (timeline(&world.server)?, TimelineId([0xfa; 16]));
    let lineage = vec![(real, Seq(1)), (false_one, fork.next())];
    let refuses = move |cursor: Cursor| cursor.timeline == real && cursor.seq > fork;
    world.server.does(move |way, mut frame| {
        let refused = match &frame {
            Frame::Attach(attach) if refuses(attach.cursor) => Some(attach.request),
            Frame::Pull(pull) if refuses(pull.from) => Some(pull.request),
            _ => None,
        };
        if let Some(request) = refused.filter(|_| way == Way::ToNode) {
            let mut failure = Failure::new(request, ErrorCode::TimelineUnknown, "of another timeline");
            failure.lineage = lineage.clone().into();
            return vec![(Way::ToClient, failure.into())];
        }
        rows(&mut frame, |rows| rows.retain(|row| row.envelope.check().is_ok_and(|header| Some(header.record.as_str()) != hidden)));
        match &mut frame {
            Frame::Welcome(welcome) => welcome.timeline = false_one,
            Frame::Attach(attach) => attach.cursor.timeline = real,
            Frame::Pull(pull) => pull.from.timeline = real,
            Frame::Snapshot(snapshot) => snapshot.resume.iter_mut().for_each(|resume| resume.timeline = real),
            Frame::Attached(attached) => {
                attached.timeline = false_one;
                attached.generation = Generation(1);
                attached.lineage.clone_from(&lineage);
            }
            Frame::Page(page) => page.timeline = false_one,
            Frame::SnapshotPage(page) => {
                page.start.timeline = false_one;
                page.resume.iter_mut().for_each(|resume| resume.timeline = false_one);
            }
            Frame::Event(event) => event.timeline = false_one,
            Frame::Committed(committed) => committed.timeline = false_one,
            Frame::Pushed(pushed) => pushed.timeline = false_one,
            Frame::HeadAt(head) => head.timeline = false_one,
            _ => {}
        }
        vec![(way, frame)]
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_is_pretended_loses_nothing_and_the_real_one_can_be_gone_back_to() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let (before, read) = (shown(&world.cheated, "b")?, world.read_to()?);
    pretend(&world, Seq(read.0 - 1), None)?;
    world.sync()?.ended(0)?;
    let now = shown(&world.cheated, "b")?;
    ensure!(before.iter().all(|record| now.contains(record)), "{before:?}, {now:?}");
    world.server.behave();
    let ran = world.sync()?.ended(4)?;
    ensure!(ran.error_code()? == "store_rewound" && ran.stderr.contains("before a rewind that was seen"), "{ran:?}");
    ensure!(shown(&world.cheated, "b")? == now);
    world.goes_on_by(&FROM_SNAPSHOT)?;
    ensure!(world.cheated.status("b")?["lost"] == json!(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_pretended_timeline_lacks_is_kept_and_is_there_again_with_the_real_one() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let (before, read) = (shown(&world.cheated, "b")?, world.read_to()?);
    // `g2` stands above it.
    let fork = Seq(read.0 - 2);
    pretend(&world, fork, Some("g2"))?;
    world.sync()?;
    // It is offered again, as what was lost; the log, which never lost it, does not take it twice.
    let kept = world.cheated.run("b", &["conflicts", "--json"])?.ended(0)?.json()?;
    ensure!(world.cheated.status("b")?["lost"] == json!(1) || kept.iter().any(|conflict| conflict["id"] == json!("g2")), "{kept:?}");
    world.server.behave();
    world.sync()?.ended(4)?;
    world.goes_on_by(&FROM_SNAPSHOT)?;
    let now = shown(&world.cheated, "b")?;
    ensure!(before.iter().all(|record| now.contains(record)), "{before:?}, {now:?}");
    Ok(())
}
