//! Backends, which run programs: wgpu devices, and the CPU engine made of the kernels' twins.

mod cluster;
mod collect;
pub mod compare;
pub mod cpu;
mod device_names;
pub mod exchange;
#[doc(hidden)]
pub mod gpu;
pub mod limits;
pub mod memory;
pub mod parity;
mod placement;
mod quota;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use half::f16;
use thiserror::Error;

pub use self::cluster::{Arrival, Carrier, Cluster, Traffic, Transfer, towers};
pub use self::collect::GroupSink;
pub use self::limits::{Limits, MemoryPool, Remedy};
pub use self::memory::Footprint;
pub use self::placement::{Engine, Placement};

use crate::program::{Pass, Program, Slot};

/// Progress of setting a program up on a device.
#[derive(Clone, Copy, Debug)]
pub struct SetupProgress {
    /// Runs of kernels that are ready.
    pub done: usize,
    /// Runs of kernels in all.
    pub total: usize,
    /// Name of the kernel that comes next; empty at the end.
    pub kernel: &'static str,
}

/// Callback for the progress of setting a program up.
pub type SetupWatch = dyn Fn(SetupProgress);

/// Names of the variants that compute each run of a kernel, by kernel and parameters.
pub type Variants = BTreeMap<String, BTreeSet<String>>;

/// Why a program could not be set up or run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BackendError {
    #[error("no device {wanted}; this machine has {found}")]
    UnknownDevice { wanted: String, found: String },
    #[error("device {wanted} is ambiguous: {found} match; use the number that `alexnet devices` prints")]
    AmbiguousDevice { wanted: String, found: String },
    #[error(
        "auto stands alone and cannot be combined with other devices: it chooses for every tower; leave the others out"
    )]
    AutoNotAlone,
    #[error("{device} could not be opened: {reason}")]
    Open { device: String, reason: String },
    #[error("{what} needs {needed}, but {device} allows {allowed}; {remedy}")]
    TooLarge { what: String, needed: String, device: String, allowed: String, remedy: Remedy },
    #[error(
        "{device} has no 16-bit floats in its shaders, in which --precision mixed stores maps; leave that option out"
    )]
    NoHalves { device: String },
    #[error("{device}: {reason}")]
    Kernel { device: String, reason: String },
    #[error("{device} was lost ({reason}); what was saved before is intact")]
    Lost { device: String, reason: String },
    #[error(
        "{device} was asked for what it refuses, a fault of this program or of the driver ({reason}); what was saved \
         before is intact; `alexnet check` compares every kernel on it"
    )]
    Refused { device: String, reason: String },
    /// The device had no memory left for what the plan does not show: drivers and other programs need some too.
    #[error("{device} ran out of memory ({reason}); what was saved before is intact")]
    OutOfMemory { device: String, reason: String },
    /// Why nothing comes from other ranks any more.
    #[error("{0}")]
    Across(String),
    #[error("tower {towers}: {error}")]
    Member { towers: String, error: Box<BackendError> },
}

impl BackendError {
    /// The same error with another remedy, where it has any.
    #[must_use]
    pub fn with_remedy(self, remedy: Remedy) -> Self {
        match self {
            Self::TooLarge { what, needed, device, allowed, .. } => {
                Self::TooLarge { what, needed, device, allowed, remedy }
            }
            other => other,
        }
    }
}

/// Contents of a slot on their way to a device.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// 32-bit floats for a slot of floats; a slot of halves rounds them.
    F32(&'a [f32]),
    /// 16-bit floats for a slot of halves.
    F16(&'a [f16]),
    /// 32-bit words for a slot of words.
    U32(&'a [u32]),
}

impl Data<'_> {
    /// Elements of the part.
    pub fn count(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// The elements as bytes, in the machine's order.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F16(values) => bytemuck::cast_slice(values),
            Self::U32(values) => bytemuck::cast_slice(values),
        }
    }
}

/// Callback that receives the contents of a slot.
pub type Sink<'a> = dyn FnMut(Data<'_>) -> Result<(), BackendError> + 'a;

/// The unit of work that a clock measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockDetail {
    /// Stretches of work without a break.
    Stretches,
    /// Every run of a kernel. Devices without a clock are waited for after each, and the host's clock takes its place.
    Commands,
}

/// Work of a device without a break, in seconds since the origin of its clock. The device's own clock is aligned with
/// the host's when the device gets its first work.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Time of the beginning.
    pub begin: f64,
    /// Time of the end.
    pub end: f64,
    /// Whether it had to wait for data from another device.
    pub received: bool,
    /// The pass it is part of.
    pub pass: Pass,
    /// The commands of the pass that ran.
    pub commands: Range<usize>,
}

/// A program, or one device's part of it, set up to run, with memory for its slots.
pub trait Backend {
    /// The program that runs.
    fn program(&self) -> &Program;

    /// Name of the device, for messages.
    fn device(&self) -> String;

    /// Sets the contents of `slot`, whose element count `data` must have.
    fn write(&mut self, slot: Slot, data: Data<'_>) -> Result<(), BackendError>;

    /// Queues some commands of a pass, in order; returns before they are done.
    fn run_commands(&mut self, pass: Pass, commands: Range<usize>) -> Result<(), BackendError> {
        self.run_commands_unless(pass, commands, &AtomicBool::new(false)).map(drop)
    }

    /// The same as long as `stop` is not raised, for which it looks between the commands, or what it submits of them at
    /// once; whether all are queued.
    fn run_commands_unless(
        &mut self,
        pass: Pass,
        commands: Range<usize>,
        stop: &AtomicBool,
    ) -> Result<bool, BackendError>;

    /// The contents of a slot of floats or halves, once everything queued is done. A map keeps its contents only until
    /// its last reader has run.
    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError>;

    /// The contents of a slot of words, as [`Backend::read`] reads floats.
    fn read_words(&mut self, slot: Slot) -> Result<Vec<u32>, BackendError>;

    /// Begins to fetch a slot as it is once everything queued so far is done; [`Backend::take`] ends it.
    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError>;

    /// Passes the contents that [`Backend::fetch`] fetched to `sink`, waiting for them if need be; with `keep` they can
    /// be taken once more.
    ///
    /// # Errors
    /// When the device is gone, or `sink` fails.
    fn take(&mut self, slot: Slot, keep: bool, sink: &mut Sink<'_>) -> Result<(), BackendError>;

    /// Whether [`Backend::run_commands`] returns only when all is done.
    fn blocks(&self) -> bool;

    /// Whether all is done when [`Backend::run_commands`] returns, or nearly: software drivers compute while they
    /// submit.
    fn done_when_queued(&self) -> bool {
        self.blocks()
    }

    /// Memory that the program takes on the device, in bytes.
    fn footprint(&self) -> Footprint;

    /// Bytes that the driver's allocator has given to this device; `None` where it keeps no count.
    fn allocated(&self) -> Option<u64>;

    /// The chosen variants of all runs whose kernel has several.
    fn variants(&self) -> Variants {
        Variants::new()
    }

    /// Time that the host has spent waiting for the device, or computing in its place.
    fn waited(&self) -> Duration;

    /// Starts to measure when the device works, in seconds since `origin`; earlier measurements are dropped.
    fn start_clock(&mut self, detail: ClockDetail, origin: Instant);

    /// Stops the clock that [`Backend::start_clock`] started.
    fn stop_clock(&mut self);

    /// The work since [`Backend::start_clock`], once everything queued is done; `None` where the device has no clock.
    fn spans(&mut self) -> Result<Option<Vec<Span>>, BackendError>;

    /// Runs a whole pass.
    fn run(&mut self, pass: Pass) -> Result<(), BackendError> {
        let all = 0..self.program().commands(pass).len();
        self.run_commands(pass, all)
    }
}
