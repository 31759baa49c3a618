//! How many versions of a record one answer has.
//!
//! Never: what a version says.

use cloudsync_protocol::frame::{History, Versions};
use cloudsync_protocol::limits::HISTORY_ROWS_MAX;
use cloudsync_protocol::{CollectionName, Frame, RecordId, Version};

use super::client::Client;
use super::world::World;
use crate::Options;

/// How many rows it gets, and whether there are more.
async fn asked(client: &mut Client, before: Option<Version>, count: u32) -> (u32, bool) {
    let (collection, record) = (CollectionName::new("timer_session").unwrap(), RecordId::new("one").unwrap());
    let request = client.request();
    client.send(History { request, log: 0, collection, record, before, count });
    let Frame::Versions(Versions { rows, more, .. }) = client.answer(request).await else { panic!("not versions") };
    (u32::try_from(rows.len()).unwrap(), more)
}

#[tokio::test(start_paused = true)]
async fn a_history_has_as_many_versions_as_were_asked_for_up_to_its_limit() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let push = a.batch_of_versions("one", HISTORY_ROWS_MAX + 1);
    let request = push.request;
    a.send(push);
    let answer = a.answer(request).await;
    a.pushed(&answer);
    assert_eq!(asked(&mut a, None, HISTORY_ROWS_MAX).await, (HISTORY_ROWS_MAX, true));
    for larger in [HISTORY_ROWS_MAX + 1, u32::MAX] {
        assert_eq!(asked(&mut a, None, larger).await, (HISTORY_ROWS_MAX, true), "a larger wish is answered with so many");
    }
    assert_eq!(asked(&mut a, None, 0).await, (1, true), "and none with one");
    assert_eq!(asked(&mut a, Some(Version(2)), HISTORY_ROWS_MAX).await, (1, false));
}
