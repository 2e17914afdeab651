//! Options that several commands share, and what they stand for.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::backend::{Engine, Placement};
use crate::checkpoint::Checkpoint;
use crate::eval::Evaluator;
use crate::net::model::BUILT_IN;
use crate::net::{Model, Net};

/// How to get an adapter where there is none.
pub(super) const INSTALL: &str =
    "run ./setup, or on Debian `apt-get install mesa-vulkan-drivers`, for a software Vulkan driver";

/// Opens what `--devices` names, or the best adapter. A machine without any runs on the CPU engine, and says so.
///
/// # Errors
/// When nothing answers to the name, or it does not open.
pub(super) fn open_devices(spec: Option<&str>) -> Result<Placement> {
    if let Some(devices) = Placement::open(spec).context("--devices")? {
        return Ok(devices);
    }
    // A closed stderr is no reason to stop.
    let _ = writeln!(io::stderr(), "no graphics adapter; running on cpu ({INSTALL})");
    Ok(Engine::Cpu.into())
}

/// The checkpoint that `path` stands for, ready to evaluate batches of `batch` images, and its number of steps.
///
/// # Errors
/// When the checkpoint is damaged or does not fit its network, or the network the device.
pub(super) fn open_evaluator(path: &Path, batch: usize, devices: Option<&str>) -> Result<(Evaluator, u64)> {
    let path = Checkpoint::locate(path);
    let checkpoint = Checkpoint::read(&path)?;
    let devices = open_devices(devices)?;
    let evaluator = Evaluator::new(&checkpoint, batch, &devices).with_context(|| path.display().to_string())?;
    Ok((evaluator, checkpoint.state.step))
}

/// The network of a built-in name or a model file.
///
/// # Errors
/// When there is none, or it is not a network.
pub(super) fn open_net(model: &str) -> Result<Net> {
    Net::new(Model::open(model)?).with_context(|| model.to_owned())
}

/// Names of the networks that come with the program.
pub(super) fn built_in() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
