//! What stands in a page of the log is not what its devices signed.
//!
//! Never: a trick that only withholds.

use cloudsync_protocol::{Entry, Operation};
use cloudsync_tests::Wire;
use cloudsync_tests::dishonest::{batches, pages};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_under_another_record_is_caught_on_every_wire() -> anyhow::Result<()> {
    for wire in [Wire::Ws, Wire::Wss] {
        let world = World::start(wire).await?;
        world.put_together(&[("g3", "3"), ("g4", "4")])?;
        world.server.tells(|frame| {
            batches(frame, |batch| {
                if let [Operation::Put(one), Operation::Put(other)] = batch.operations.as_mut_slice() {
                    std::mem::swap(&mut one.envelope.body, &mut other.envelope.body);
                }
            });
        });
        world.catches("log_untrusted", "batch ")?;
        world.goes_on()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_in_another_order_are_caught() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.put("g3", "3")?;
    world.put("g4", "4")?;
    world.server.tells(|frame| pages(frame, |entries: &mut Vec<Entry>| entries.reverse()));
    world.catches("protocol", "not whole")?;
    world.goes_on()
}
