//! Wires: what carries messages from rank to rank, and how it is slowed down to measure what a slower one would do.

use std::cell::Cell;
use std::str::FromStr;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Purpose of a message between ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Part of a job of all ranks.
    Data,
    /// Sign of life, without content.
    Beat,
    /// A rank cannot go on; the text says why.
    Failure,
    /// A rank has nothing more to say.
    Leave,
}

/// A message that has arrived.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) from: usize,
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// Carrier of messages between ranks. Those from one rank to another arrive in order.
pub(super) trait Wire {
    /// Number of this rank.
    fn rank(&self) -> usize;

    /// Number of ranks in the job.
    fn size(&self) -> usize;

    /// Number of this rank among those of its machine, and how many those are.
    fn local(&self) -> (usize, usize);

    /// Name of this machine.
    fn host(&self) -> String;

    /// Sends a message; calls `meanwhile` again and again until it has left, in which others must be received.
    fn send(&self, to: usize, kind: Kind, bytes: &[u8], meanwhile: &mut dyn FnMut());

    /// The next message that has arrived, if there is one; calls `meanwhile` while it comes in.
    fn receive(&self, meanwhile: &mut dyn FnMut()) -> Option<Message>;

    /// Takes the memory of a message for later ones; drops it unless said.
    fn reuse(&self, bytes: Vec<u8>) {
        drop(bytes);
    }

    /// Ends the processes of all ranks, where they are processes.
    fn abort(&self);
}

/// Speed of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Bytes in a second, in each direction.
    pub bandwidth: f64,
    /// Time of the shortest message from one rank to another.
    pub latency: Duration,
}

/// Text that is no speed of a network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("found {0:?}, expected bits a second and the time of a message, like 10Gbit/s,20us")]
pub struct NetworkError(String);

impl Network {
    /// Time that a message of so many bytes takes.
    pub fn time(&self, bytes: u64) -> Duration {
        self.latency + Duration::from_secs_f64(bytes as f64 / self.bandwidth)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads a bandwidth and a latency: `10Gbit/s,20us`.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let refuse = || NetworkError(text.into());
        let (speed, latency) = text.split_once(',').ok_or_else(refuse)?;
        let speed = speed.trim().strip_suffix("bit/s").ok_or_else(refuse)?;
        let units = [('G', 1e9), ('M', 1e6), ('k', 1e3)];
        let found = units.iter().find_map(|(unit, factor)| Some((speed.strip_suffix(*unit)?, *factor)));
        let (digits, factor) = found.unwrap_or((speed, 1.0));
        let bits = digits.trim().parse::<f64>().ok().map(|number| number * factor);
        let bits = bits.filter(|bits| (1.0..=1e18).contains(bits)).ok_or_else(refuse)?;
        let latency = humantime::parse_duration(latency.trim()).map_err(|_| refuse())?;
        Some(latency).filter(|latency| latency.as_secs() < 3600).ok_or_else(refuse)?;
        Ok(Self { bandwidth: bits / 8.0, latency })
    }
}

/// A wire that takes at least as long as a network would: each message of a job leaves when those before it have been
/// on the wire for as long as their bytes take there, and the sender waits for the time of its own.
pub(super) struct Slowed<W> {
    wire: W,
    network: Network,
    /// When the wire is free again.
    free: Cell<Option<Instant>>,
}

impl<W> Slowed<W> {
    pub(super) fn new(wire: W, network: Network) -> Self {
        Self { wire, network, free: Cell::new(None) }
    }
}

impl<W: Wire> Wire for Slowed<W> {
    fn rank(&self) -> usize {
        self.wire.rank()
    }

    fn size(&self) -> usize {
        self.wire.size()
    }

    fn local(&self) -> (usize, usize) {
        self.wire.local()
    }

    fn host(&self) -> String {
        self.wire.host()
    }

    fn send(&self, to: usize, kind: Kind, bytes: &[u8], meanwhile: &mut dyn FnMut()) {
        if kind == Kind::Data {
            let now = Instant::now();
            let arrives = self.free.get().map_or(now, |free| free.max(now)) + self.network.time(bytes.len() as u64);
            while Instant::now() < arrives {
                meanwhile();
            }
            self.free.set(Some(arrives));
        }
        self.wire.send(to, kind, bytes, meanwhile);
    }

    fn receive(&self, meanwhile: &mut dyn FnMut()) -> Option<Message> {
        self.wire.receive(meanwhile)
    }

    fn reuse(&self, bytes: Vec<u8>) {
        self.wire.reuse(bytes);
    }

    fn abort(&self) {
        self.wire.abort();
    }
}

/// Variables by which launchers tell a process how many there are.
const LAUNCHERS: &[(&str, &str)] = &[
    ("mpirun (Open MPI)", "OMPI_COMM_WORLD_SIZE"),
    ("mpiexec (MPICH)", "PMI_SIZE"),
    ("an MPI launcher", "MPI_LOCALNRANKS"),
];

/// The launcher that started this process among others, with their number; `None` where it was started by itself. A
/// launcher of PMIx (Slurm's) gives a rank and no number.
pub(super) fn launcher() -> Option<(&'static str, usize)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    let told = LAUNCHERS.iter().find_map(|(launcher, name)| Some((*launcher, number(name)?)));
    told.or_else(|| number("PMIX_RANK").map(|_| ("srun (PMIx)", number("SLURM_NTASKS").unwrap_or(1))))
}
