//! Ranks: the processes of one training job, on one machine or several, and what they say to each other.
//!
//! A [`Ranks`] is one process's handle on all of them. A thread of its own moves messages while the process computes:
//! `worker.rs` does one job after the other, in the order in which every rank asks for them, `collective.rs` is what a
//! job sends to whom, in an order that depends on the number of ranks alone, and a `Wire` carries it: MPI (`mpi.rs`,
//! the only place that knows it, behind the feature `mpi`), or channels between threads of one process.
//!
//! Ranks tell each other when one of them fails, and notice one that says nothing any more.

mod collective;
#[cfg(feature = "mpi")]
mod mpi;
mod threads;
mod wire;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use thiserror::Error;

pub use self::collective::{Exchange, Rows, bytes_of_gather, time_of_gather};
pub use self::wire::{Network, NetworkError};
use self::wire::{Slowed, Wire};
use self::worker::{Job, Worker};

/// Why ranks no longer work together.
#[derive(Clone, Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RanksError {
    #[error("{0}")]
    Failed(String),
    #[error("the thread that talks to other ranks could not be started ({0})")]
    Thread(Arc<std::io::Error>),
    #[error("the ranks do not train the same network: give all of them the same program and arguments")]
    Different,
    #[error("the thread that talks to other ranks has ended")]
    Ended,
    #[error("MPI could not be started: {0}")]
    Start(&'static str),
    #[error(
        "{launcher} started {size} processes of this program, which was built without MPI: build it with `cargo build \
         --release --features mpi`, or start it once"
    )]
    Unable { launcher: &'static str, size: usize },
}

/// Number format in which sums travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Floats of 32 bits, as they are.
    Floats,
    /// 16-bit floats times a power of two for each message: half the bytes, 11 bits of precision.
    Halves,
}

/// What the thread of a rank asks and tells the process that it belongs to.
pub struct Watch {
    /// Whether the process was told to stop.
    pub stopping: Box<dyn Fn() -> bool + Send>,
    /// Receives the one message of a job that ends because a rank is gone.
    pub tell: Box<dyn Fn(&str) + Send>,
}

impl Default for Watch {
    /// Nobody stops it, and it tells the log.
    fn default() -> Self {
        Self { stopping: Box::new(|| false), tell: Box::new(|text| log::error!("{text}")) }
    }
}

/// Where a job is, for messages about its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    /// Number of finished steps.
    pub(crate) step: Option<u64>,
    /// How the job can go on.
    pub(crate) advice: String,
}

/// One process's handle on all ranks.
#[derive(Debug)]
pub struct Ranks {
    rank: usize,
    size: usize,
    local: (usize, usize),
    thread: Option<Thread>,
    moment: Arc<Mutex<Moment>>,
    sent: Arc<AtomicU64>,
}

/// The thread that moves a rank's messages.
#[derive(Debug)]
struct Thread {
    jobs: Sender<Job>,
    handle: JoinHandle<()>,
}

/// What a thread says of itself when it has begun.
pub(crate) struct Introduction {
    pub(crate) rank: usize,
    pub(crate) size: usize,
    /// Number of the rank among those of its machine, and theirs.
    pub(crate) local: (usize, usize),
}

/// Numbers that are on their way from other ranks.
#[must_use]
pub struct Pending(Receiver<Result<Vec<f32>, RanksError>>);

impl Pending {
    /// The numbers, waiting for them if need be.
    pub fn wait(self) -> Result<Vec<f32>, RanksError> {
        self.0.recv().unwrap_or(Err(RanksError::Ended))
    }
}

impl Default for Ranks {
    fn default() -> Self {
        Self::alone()
    }
}

impl Ranks {
    /// The only rank of its job.
    pub fn alone() -> Self {
        Self { rank: 0, size: 1, local: (0, 1), thread: None, moment: Arc::default(), sent: Arc::default() }
    }

    /// The handles of `count` ranks that are threads of this process, for tests; messages take as long as they would on
    /// `network`, where one is given.
    pub fn threads(count: usize, network: Option<Network>) -> Result<Vec<Self>, RanksError> {
        let wires = threads::wires(count);
        wires.into_iter().map(|wire| Self::start(move || Ok(wire), network, Watch::default())).collect()
    }

    /// The ranks that an MPI launcher started together with this process; alone where none did. With a `network`
    /// messages take at least as long as they would there.
    pub fn launched(network: Option<Network>, watch: Watch) -> Result<Self, RanksError> {
        let Some((launcher, size)) = wire::launcher() else { return Ok(Self::alone()) };
        #[cfg(feature = "mpi")]
        {
            log::debug!("started by {launcher} with {size} processes");
            Self::start(self::mpi::MpiWire::begin, network, watch)
        }
        #[cfg(not(feature = "mpi"))]
        {
            drop((network, watch));
            if size > 1 { Err(RanksError::Unable { launcher, size }) } else { Ok(Self::alone()) }
        }
    }

    /// Starts the thread of a rank, on the wire that `connect` opens there.
    fn start<W: Wire + 'static>(
        connect: impl FnOnce() -> Result<W, RanksError> + Send + 'static,
        network: Option<Network>,
        watch: Watch,
    ) -> Result<Self, RanksError> {
        let (moment, sent): (Arc<Mutex<Moment>>, Arc<AtomicU64>) = Default::default();
        let ((jobs, todo), (to_us, begun)) = (channel(), channel());
        let (of_thread, counter) = (Arc::clone(&moment), Arc::clone(&sent));
        let work = move || {
            let wire: Box<dyn Wire> = match connect() {
                Ok(wire) => match network {
                    Some(network) => Box::new(Slowed::new(wire, network)),
                    None => Box::new(wire),
                },
                Err(error) => return drop(to_us.send(Err(error))),
            };
            let introduction = Introduction { rank: wire.rank(), size: wire.size(), local: wire.local() };
            if to_us.send(Ok(introduction)).is_ok() {
                Worker::new(wire, watch, of_thread, counter).run(&todo);
            }
        };
        let handle = Builder::new().name("ranks".into()).spawn(work).map_err(|e| RanksError::Thread(e.into()))?;
        let Introduction { rank, size, local } = begun.recv().unwrap_or(Err(RanksError::Ended))?;
        Ok(Self { rank, size, local, thread: Some(Thread { jobs, handle }), moment, sent })
    }

    /// Number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of ranks in the job.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this is the rank that writes and talks.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Number of this rank among those of its machine, and how many those are.
    pub fn local(&self) -> (usize, usize) {
        self.local
    }

    /// Bytes that this rank has sent to others for its jobs.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Notes after how many steps the job is, for messages.
    pub fn at(&self, step: u64) {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner).step = Some(step);
    }

    /// Notes how the job could go on after a failure, for messages.
    pub fn advise(&self, advice: &str) {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner).advice = advice.into();
    }

    /// What every rank gives, in the order of the ranks.
    pub fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, RanksError> {
        if self.thread.is_none() {
            return Ok(vec![own]);
        }
        self.ask(|reply| Job::Gather { own, reply })
    }

    /// What the first rank gives; what others give is dropped.
    pub fn broadcast(&self, own: Vec<u8>) -> Result<Vec<u8>, RanksError> {
        if self.thread.is_none() {
            return Ok(own);
        }
        self.ask(|reply| Job::Broadcast { own, reply })
    }

    /// Begins an exchange of numbers, which every rank begins in the same order as others: the same bits wherever they
    /// arrive.
    pub fn exchange(&self, exchange: Exchange, values: Vec<f32>, format: Format) -> Result<Pending, RanksError> {
        let (reply, receiver) = channel();
        match &self.thread {
            None => drop(reply.send(Ok(values))),
            Some(thread) => {
                let job = Job::Numbers { values, exchange, format, reply };
                thread.jobs.send(job).map_err(|_| RanksError::Ended)?;
            }
        }
        Ok(Pending(receiver))
    }

    /// Tells all ranks that this one cannot go on. Their jobs fail from then on.
    pub fn fail(&self, why: &str) {
        if let Some(thread) = &self.thread {
            let _ = thread.jobs.send(Job::Fail(why.into()));
        }
    }

    /// Ends all processes of the job, in a failure that has been told; waits for the first rank to do so.
    pub fn abort(&self) {
        if let Some(Thread { jobs, handle }) = &self.thread {
            let _ = jobs.send(Job::Abort);
            while !handle.is_finished() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn ask<T>(&self, job: impl FnOnce(Sender<Result<T, RanksError>>) -> Job) -> Result<T, RanksError> {
        let (reply, receiver) = channel();
        let thread = self.thread.as_ref().ok_or(RanksError::Ended)?;
        thread.jobs.send(job(reply)).map_err(|_| RanksError::Ended)?;
        receiver.recv().unwrap_or(Err(RanksError::Ended))
    }
}

impl Drop for Ranks {
    /// Says good-bye to the others; in a panic the others learn of it.
    fn drop(&mut self) {
        if let Some(Thread { jobs, handle }) = self.thread.take() {
            let last = if std::thread::panicking() { Job::Fail("the program panicked".into()) } else { Job::End };
            let _ = jobs.send(last);
            drop(jobs);
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests;
