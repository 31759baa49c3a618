//! Edits that were parked while somebody watches, by whichever process of the profile.
//!
//! Never: one told twice.

use std::collections::BTreeSet;

use cloudsync_engine::replica::{Conflict, EditCounts, EditId, Status};
use cloudsync_protocol::Cursor;

use super::Error;
use super::client::Client;

/// Which ones are known.
#[derive(Debug, Default)]
pub(super) struct Parked {
    known: Option<BTreeSet<EditId>>,
    /// Nothing is parked without one of these changing.
    looked_at: Option<(EditCounts, Cursor)>,
}

impl Parked {
    /// Those that were parked since this was asked last; the first time there are none.
    pub(super) async fn new_ones(&mut self, client: &Client, status: &Status) -> Result<Vec<Conflict>, Error> {
        let look_at = (status.edits, status.cursor);
        if self.looked_at == Some(look_at) {
            return Ok(Vec::new());
        }
        let parked = if status.edits.parked == 0 { Vec::new() } else { client.conflicts().await? };
        let known = self.known.replace(parked.iter().map(|conflict| conflict.mine.id).collect());
        self.looked_at = Some(look_at);
        Ok(known.map_or_else(Vec::new, |known| parked.into_iter().filter(|conflict| !known.contains(&conflict.mine.id)).collect()))
    }
}
