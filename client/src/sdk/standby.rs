//! A second session beside one that has fallen silent: whichever speaks goes on.
//!
//! Never: a session of a silent line ended for it while much is under way there, or a silence that it makes longer.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::client::Client;
use super::{Error, Online};
use crate::connection::{Heard, Line, Spoken};

/// Watches one session's line; ends with it.
#[derive(Debug)]
pub(super) struct Standby {
    line: Line,
    spoken: Arc<Spoken>,
    opening: JoinSet<Result<Online, Error>>,
}

impl Standby {
    /// Beside that session.
    pub(super) fn beside(online: &Online) -> Self {
        let (line, spoken, mut opening) = (online.session.line(), Arc::<Spoken>::default(), JoinSet::new());
        opening.spawn(stand_by(online.client.clone(), line.clone(), Arc::clone(&spoken)));
        Self { line, spoken, opening }
    }

    /// The session that takes the place of one that was lost, and why. Where its line fell silent and on the other nobody has
    /// spoken by now, there is none.
    pub(super) async fn take_over(mut self, lost: Error) -> Result<Online, Error> {
        let is_silent = self.line.is_silent();
        if is_silent && !self.spoken.is_so() {
            return Err(lost);
        }
        // One that was given up here, for what its server said, is still open: there is nothing to wait for on it.
        self.line.replace();
        let opened = self.opening.join_next().await.and_then(Result::ok).unwrap_or(Err(Error::Task));
        // What was there first is what is told.
        opened.map_err(|error| if is_silent { lost } else { error })
    }
}

/// Opens a session once the line is silent, or lost; gives it when that line has ended.
async fn stand_by(client: Client, line: Line, spoken: Arc<Spoken>) -> Result<Online, Error> {
    loop {
        line.silent().await?;
        let opened = tokio::select! {
            opened = client.connect_noting(&spoken) => opened,
            // Who speaks again is not replaced.
            () = speaks(&line) => continue,
        };
        if opened.is_ok() && line.is_silent() && line.owes_little() {
            line.replace();
        }
        match line.heard().await {
            Heard::Ended => return opened,
            Heard::Something => {
                if let Ok(online) = opened {
                    online.close().await;
                }
            }
        }
    }
}

async fn speaks(line: &Line) {
    if line.heard().await == Heard::Ended {
        std::future::pending::<()>().await;
    }
}
