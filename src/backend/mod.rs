//! What runs programs: a wgpu device, or the CPU twins.

mod cluster;
pub mod compare;
pub mod cpu;
pub mod gpu;
pub mod limits;
pub mod parity;
mod placement;
pub mod plan;
pub mod schedule;
mod select;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use half::f16;
use thiserror::Error;

pub use self::cluster::{Cluster, Exchange, Traffic, towers};
pub use self::limits::{Limits, Memory};
pub use self::placement::{Engine, Placement};
pub use self::plan::Footprint;

use crate::program::{Pass, Program, Slot};

/// How far a program is set up on a device.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Runs of kernels that are ready.
    pub done: usize,
    /// Runs of kernels in all.
    pub total: usize,
    /// The kernel that comes next.
    pub kernel: &'static str,
}

/// What is told how far it is.
pub type Watch = dyn Fn(Progress);

/// By run of a kernel, with its shapes: the variants that compute it.
pub type Variants = BTreeMap<String, BTreeSet<String>>;

/// Why a program could not be set up or run.
#[derive(Debug, Error)]
pub enum BackendError {
    /// Nothing answers to this name.
    #[error("no device {wanted}; this machine has {found}")]
    UnknownDevice {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// More than one adapter answers to this name.
    #[error("device {wanted} is ambiguous: {found} match; use the number that `alexnet devices` prints")]
    AmbiguousDevice {
        /// What was asked for.
        wanted: String,
        /// The adapters that match.
        found: String,
    },
    /// `auto` among other entries.
    #[error("auto stands alone: it chooses the devices of all towers; leave the other entries out")]
    AutoNotAlone,
    /// The adapter refused to open.
    #[error("{device} could not be opened: {reason}")]
    Open {
        /// Name of the adapter.
        device: String,
        /// What wgpu said.
        reason: String,
    },
    /// The program needs more than the adapter has.
    #[error("{what} needs {needed}, but {device} allows {allowed}; {fix}")]
    TooLarge {
        /// Slot, kernel or plan.
        what: String,
        /// Its size.
        needed: String,
        /// The device.
        device: String,
        /// The limit and its name.
        allowed: String,
        /// What to do.
        fix: String,
    },
    /// Mixed precision on an adapter without 16-bit floats.
    #[error("{device} has no 16-bit floats in its shaders, which --precision mixed stores maps as; leave it out")]
    NoHalves {
        /// The device.
        device: String,
    },
    /// A kernel did not compile on this adapter.
    #[error("{device}: {reason}")]
    Kernel {
        /// The device.
        device: String,
        /// Kernel, variant and the compiler's message.
        reason: String,
    },
    /// The device stopped answering.
    #[error("{device} was lost ({reason}); what was saved before is intact")]
    Lost {
        /// The device.
        device: String,
        /// What the driver said.
        reason: String,
    },
    /// The device had no memory left for what the plan does not show: drivers and other programs need some too.
    #[error("{device} ran out of memory ({reason}); what was saved before is intact")]
    OutOfMemory {
        /// The device.
        device: String,
        /// What the driver said.
        reason: String,
    },
    /// One of several devices.
    #[error("tower {towers}: {error}")]
    Member {
        /// The letters of its towers.
        towers: String,
        /// What happened there.
        error: Box<BackendError>,
    },
}

impl BackendError {
    /// The same with another fix, where it has one.
    #[must_use]
    pub fn mended(self, better: &str) -> Self {
        match self {
            Self::TooLarge { what, needed, device, allowed, .. } => {
                Self::TooLarge { what, needed, device, allowed, fix: better.into() }
            }
            other => other,
        }
    }
}

/// Contents of a slot on their way to a device.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Floats, to any slot of floats: one of halves rounds them.
    F32(&'a [f32]),
    /// Halves, to a slot of halves.
    F16(&'a [f16]),
    /// Words.
    U32(&'a [u32]),
}

impl Data<'_> {
    /// Number of elements.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// As they lie in memory.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F16(values) => bytemuck::cast_slice(values),
            Self::U32(values) => bytemuck::cast_slice(values),
        }
    }
}

/// Takes in the contents of a slot.
pub type Sink<'a> = dyn FnMut(Data<'_>) -> Result<(), BackendError> + 'a;

/// What a clock tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Stretches of work without a break.
    Stretches,
    /// Every run of a kernel. Devices without a clock are waited for after each, and the host's clock takes its place.
    Commands,
}

/// Work of a device without a break, in seconds since the origin of its clock. A device counts time by itself from the
/// moment on that it was given its first work.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// When it began.
    pub begin: f64,
    /// When it ended.
    pub end: f64,
    /// Whether it could not begin before something from another device had arrived.
    pub received: bool,
    /// The pass that it is part of.
    pub pass: Pass,
    /// What was done, as commands of the pass.
    pub commands: Range<usize>,
}

/// A program, or one device's part of it, set up to run: its slots have memory somewhere.
pub trait Backend {
    /// The program that runs.
    fn program(&self) -> &Program;

    /// Where it runs, for people.
    fn device(&self) -> String;

    /// Sets the contents of `slot`, whose element count `data` must have.
    ///
    /// # Errors
    /// When the device is gone.
    fn write(&mut self, slot: Slot, data: Data<'_>) -> Result<(), BackendError>;

    /// Runs some commands of a pass, in order. Returns when they are queued, not when they are done.
    ///
    /// # Errors
    /// When the device is gone.
    fn run_commands(&mut self, pass: Pass, commands: Range<usize>) -> Result<(), BackendError>;

    /// The contents of a slot of floats or halves, once everything queued is done. A map holds what it says only until its
    /// last reader has run.
    ///
    /// # Errors
    /// When the device is gone.
    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError>;

    /// The contents of a slot of words, as [`Backend::read`] reads floats.
    ///
    /// # Errors
    /// When the device is gone.
    fn read_words(&mut self, slot: Slot) -> Result<Vec<u32>, BackendError>;

    /// Begins to fetch a slot as it is once everything queued so far is done; [`Backend::take`] ends it.
    ///
    /// # Errors
    /// When the device is gone.
    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError>;

    /// Gives `sink` what [`Backend::fetch`] of this slot has fetched, waiting for it if need be; with `keep` it can be
    /// taken once more.
    ///
    /// # Errors
    /// When the device is gone, or `sink` fails.
    fn take(&mut self, slot: Slot, keep: bool, sink: &mut Sink<'_>) -> Result<(), BackendError>;

    /// Whether [`Backend::run_commands`] returns only when all is done.
    fn blocks(&self) -> bool;

    /// What the program takes there.
    fn footprint(&self) -> Footprint;

    /// Bytes that the driver's allocator has given to this device, whatever they are for; `None` where it does not say.
    fn allocated(&self) -> Option<u64>;

    /// Which variants compute the runs of which there are several.
    fn variants(&self) -> Variants {
        Variants::new()
    }

    /// What the host has spent so far on waiting for the device, or on computing in its place.
    fn waited(&self) -> Duration;

    /// Measures from now on when the device works, in seconds since `origin`, and forgets what was measured before.
    fn start_clock(&mut self, detail: Detail, origin: Instant);

    /// Measures no longer.
    fn stop_clock(&mut self);

    /// When it worked since [`Backend::start_clock`], once everything queued is done; `None` where that cannot be
    /// measured.
    ///
    /// # Errors
    /// When the device is gone.
    fn spans(&mut self) -> Result<Option<Vec<Span>>, BackendError>;

    /// Runs a whole pass.
    ///
    /// # Errors
    /// When the device is gone.
    fn run(&mut self, pass: Pass) -> Result<(), BackendError> {
        let all = 0..self.program().commands(pass).len();
        self.run_commands(pass, all)
    }
}
