//! What runs programs: a wgpu device, or the CPU twins.

mod cluster;
pub mod cpu;
pub mod gpu;
mod placement;
pub mod plan;

use std::ops::Range;

use thiserror::Error;

pub use self::cluster::Cluster;
pub use self::placement::{Engine, Placement};

use crate::program::{Pass, Program, Slot};

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
}

/// Contents of a slot on their way to a device.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Words.
    U32(&'a [u32]),
}

impl Data<'_> {
    /// Number of elements.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }
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

    /// The contents of a float slot, once everything queued is done. A map holds what it says only until its
    /// last reader has run.
    ///
    /// # Errors
    /// When the device is gone.
    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError>;

    /// Begins to fetch a float slot as it is once everything queued so far is done; [`Backend::take`] ends it.
    ///
    /// # Errors
    /// When the device is gone.
    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError>;

    /// What [`Backend::fetch`] of this slot has fetched, waiting for it if need be.
    ///
    /// # Errors
    /// When the device is gone.
    fn take(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError>;

    /// Whether [`Backend::run_commands`] returns only when all is done.
    fn blocks(&self) -> bool;

    /// Bytes allocated on the device.
    fn allocated(&self) -> u64;

    /// Runs a whole pass.
    ///
    /// # Errors
    /// When the device is gone.
    fn run(&mut self, pass: Pass) -> Result<(), BackendError> {
        let all = 0..self.program().commands(pass).len();
        self.run_commands(pass, all)
    }
}
