//! Many writes, one wait for the disk: a thread takes what has come in meanwhile, applies it in one transaction and commits it
//! once. Each write has a savepoint of its own, so one that is refused takes nothing else with it.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, Savepoint, Transaction, TransactionBehavior};

use crate::db::doing;
use crate::error::StoreError;

/// Writes that wait. Whoever submits them bounds their bytes.
const WAITING_MAX: usize = 2048;
/// Writes in one transaction, so that the first of them does not wait for ever.
const TOGETHER_MAX: usize = 256;

/// The one writer of a database.
pub(crate) struct Writer {
    jobs: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts writing through `connection`.
    pub(crate) fn start(mut connection: Connection) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || while commit_some(&mut connection, &waiting) {})?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Applies `work` in one of the next transactions and calls `done` with what it gave once that is on disk, or with why
    /// nothing is. Does not block; `done` runs on the writer's thread, or here when too many wait, and must not block either.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Savepoint<'_>) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let job: Box<dyn Job> = Box::new(Pending { work: Some(work), done, worked: None });
        let refused = match &self.jobs {
            Some(jobs) => match jobs.try_send(job) {
                Ok(()) => return,
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
            },
            None => job,
        };
        refused.told(None);
    }
}

impl Drop for Writer {
    /// What was submitted is written before the database is free for another process.
    fn drop(&mut self) {
        self.jobs = None;
        // The last owner may be something a job held, dropped on the writer's own thread.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// Waits for one write, takes those that are there too, commits. False when nobody can submit any more.
fn commit_some(connection: &mut Connection, waiting: &Receiver<Box<dyn Job>>) -> bool {
    let Ok(first) = waiting.recv() else { return false };
    let mut jobs = vec![first];
    jobs.extend(waiting.try_iter().take(TOGETHER_MAX - 1));
    // One cause for many, so each gets its text.
    let lost = commit(connection, &mut jobs).err().map(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    });
    for job in jobs {
        job.told(lost.as_deref());
    }
    true
}

fn commit(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let mut step = step.map_err(doing("begin to write"))?;
    for job in jobs {
        job.apply(&mut step);
        // A full disk rolls everything back by itself; what came before would be acknowledged and lost.
        if step.is_autocommit() {
            return Err(StoreError::NotCommitted { why: "the disk took no more".to_owned() });
        }
    }
    step.commit().map_err(doing("commit writes"))
}

/// One write on its way.
trait Job: Send {
    fn apply(&mut self, step: &mut Transaction<'_>);
    /// With why the transaction was lost, if it was.
    fn told(self: Box<Self>, lost: Option<&str>);
}

struct Pending<T, W, D> {
    work: Option<W>,
    done: D,
    worked: Option<Result<T, StoreError>>,
}

impl<T, W, D> Job for Pending<T, W, D>
where
    T: Send,
    W: FnOnce(&Savepoint<'_>) -> Result<T, StoreError> + Send,
    D: FnOnce(Result<T, StoreError>) + Send,
{
    fn apply(&mut self, step: &mut Transaction<'_>) {
        if let Some(work) = self.work.take() {
            self.worked = Some(within_savepoint(step, work));
        }
    }

    fn told(self: Box<Self>, lost: Option<&str>) {
        let Self { done, worked, .. } = *self;
        done(match (worked, lost) {
            (Some(Ok(_)) | None, Some(why)) => Err(StoreError::NotCommitted { why: why.to_owned() }),
            (Some(worked), _) => worked,
            (None, None) => Err(StoreError::Overloaded),
        });
    }
}

/// An error rolls back what `work` did; dropping the savepoint does that.
fn within_savepoint<T>(
    step: &mut Transaction<'_>,
    work: impl FnOnce(&Savepoint<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let savepoint = step.savepoint().map_err(doing("begin a write"))?;
    let worked = work(&savepoint)?;
    savepoint.commit().map_err(doing("end a write"))?;
    Ok(worked)
}
