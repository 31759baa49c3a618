//! Devices that nobody of the account enrolled.
//!
//! Never: the identity's own signature; who has that may enrol.

use cloudsync_client::keys::{DeviceKeys, Identity};
use cloudsync_protocol::{Entry, Frame, Seq};
use cloudsync_tests::Wire;
use cloudsync_tests::dishonest::{forge, pages};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_another_identity_enrols_is_caught_in_the_log() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.put("g3", "3")?;
    let change = forge::enrolment(&world.keys("b")?, &Identity::first(), &DeviceKeys::random())?;
    world.server.tells(move |frame| {
        if let Frame::Page(page) = frame {
            page.to = page.to.next();
        }
        pages(frame, |entries| {
            let next = entries.last().map_or(Seq::ZERO, Entry::last).next();
            entries.push(Entry::Roster(forge::roster_row(next, change.clone())));
        });
    });
    world.catches("log_untrusted", "signature")?;
    // What came before it in the page was the log's.
    assert!(crate::world::shown(&world.cheated, "b")?.iter().any(|(id, _)| id == "g3"));
    world.goes_on()
}
