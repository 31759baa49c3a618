//! A few threads that read, each with a connection of its own: blocking calls stay off the async threads.
//!
//! Never: a write, or a read outside one transaction: what a caller gets is of one moment.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::schema;
use crate::store::ReadError;

/// Reads that wait; beyond, callers wait.
const QUEUE_READS: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct Readers {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Ends when the last thread has.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// Why the threads were not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn start(database: &Path, count: usize) -> Result<Self, StartError> {
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE_READS);
        let (alive, ended) = mpsc::channel(1);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..count.max(1) {
            let mut connection = schema::reader(database)?;
            let (queue, alive) = (Arc::clone(&queue), alive.clone());
            let work = move || {
                // One thread waits for the next job, the others for their turn to wait.
                while let Some(job) = take(&queue) {
                    job(&mut connection);
                }
                drop((connection, alive));
            };
            thread::Builder::new().name(format!("store-read-{number}")).spawn(work)?;
        }
        Ok(Self { jobs: Mutex::new(Some(jobs)), ended: tokio::sync::Mutex::new(ended) })
    }

    /// Runs `read` in a read transaction.
    pub(super) async fn run<T, E>(&self, read: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + Send + 'static,
    {
        let closed = || ReadError::Unavailable("the store is closed".into());
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = match connection.transaction() {
                Ok(transaction) => read(&transaction),
                Err(error) => Err(ReadError::from(error).into()),
            };
            // Whoever asked may have gone.
            let _ = reply.send(result);
        });
        jobs.send(job).await.map_err(|_| closed())?;
        drop(jobs);
        answer.await.map_err(|_| closed())?
    }

    /// Lets what waits be read, then ends the threads.
    pub(super) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.ended.lock().await.recv().await;
    }
}

fn take(queue: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}
