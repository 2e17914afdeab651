//! Options that several commands share, and what they stand for.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use super::progress::preparing;
use crate::backend::{Engine, Placement};
use crate::eval::{Preprocessing, Viewing, colour};
use crate::net::model::BUILT_IN;
use crate::net::{Exchange, Model, Net, Precision, Replacement};
use crate::session::layout::{Layout, MOST_IMAGES, Request};

/// How to get an adapter where there is none.
pub(super) const INSTALL: &str =
    "run ./setup, or on Debian `apt-get install mesa-vulkan-drivers`, for a software Vulkan driver";

/// What `--devices` takes.
pub(super) const DEVICES: &str = "An adapter by number, PCI bus id, vendor:device or part of its name (see `alexnet \
                                  devices`), or cpu; several with commas between for towers A, B, …; auto: the two \
                                  best adapters [default: the best adapter]";

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

/// Where and how a network is to be trained.
#[derive(Debug, Args)]
pub(super) struct Placed {
    #[arg(long, value_name = "DEVICES", help = DEVICES)]
    pub(super) devices: Option<String>,
    /// Images computed at once, whose gradients add up to those of the minibatch [default: as many as fit]
    #[arg(long, value_name = "IMAGES", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MOST_IMAGES as u64))]
    pub(super) micro_batch: Option<usize>,
    /// Makes outputs of ReLU, normalisation and dropout again in the backward pass instead of keeping them: less memory
    #[arg(long)]
    pub(super) recompute: bool,
    /// How maps travel between devices [default: f32]
    #[arg(long, value_name = "TYPE")]
    pub(super) exchange: Option<Wire>,
    /// With how many digits it is computed [default: f32]
    #[arg(long, value_name = "DIGITS")]
    pub(super) precision: Option<Digits>,
    /// Runs every kernel in its first variant that fits the device, whichever is the fastest
    #[arg(long)]
    pub(super) no_tune: bool,
    /// Compiles shaders with checks of every index and loop: slower, for drivers in doubt
    #[arg(long)]
    pub(super) checked: bool,
}

/// A type that maps travel in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Wire {
    /// As they are
    F32,
    /// As 16-bit floats: half the bytes, lossy
    F16,
}

impl From<Wire> for Exchange {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::F32 => Self::F32,
            Wire::F16 => Self::F16,
        }
    }
}

/// With how many digits a network is computed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Digits {
    /// 32-bit floats
    F32,
    /// 16-bit floats between kernels, 32-bit ones for sums and for what is trained: half the memory, faster on GPUs
    Mixed,
}

impl From<Digits> for Precision {
    fn from(digits: Digits) -> Self {
        match digits {
            Digits::F32 => Self::F32,
            Digits::Mixed => Self::Mixed,
        }
    }
}

impl Placed {
    /// Opens the devices.
    ///
    /// # Errors
    /// As [`open_devices`].
    pub(super) fn open(&self) -> Result<Placement> {
        open_devices(self.devices.as_deref())
    }

    /// `devices` as kernels are to run there.
    pub(super) fn prepare(&self, devices: Placement) -> Placement {
        let devices = devices.watched(preparing());
        let devices = if self.no_tune { devices.untuned() } else { devices };
        if self.checked { devices.checked() } else { devices }
    }

    /// What is not said here is as in `request`.
    pub(super) fn request(&self, request: Request) -> Request {
        Request {
            micro_batch: self.micro_batch.or(request.micro_batch),
            recompute: self.recompute || request.recompute,
            exchange: self.exchange.map_or(request.exchange, Exchange::from),
            precision: self.precision.map_or(request.precision, Precision::from),
            ..request
        }
    }
}

/// Opens devices as [`open_devices`] does and lays `net` out on them. Where none were named and it does not fit the best
/// adapter, it goes to the two best.
///
/// # Errors
/// When it does not fit, or a device does not open.
pub(super) fn place(net: &Net, request: &Request, spec: Option<&str>) -> Result<(Placement, Layout)> {
    let devices = open_devices(spec)?;
    let refused = match Layout::new(net, request, &devices.limits(net.model.towers)) {
        Ok(layout) => return Ok((devices, layout)),
        Err(refused) => refused,
    };
    if spec.is_none() {
        let two = Placement::open(Some("auto"))?.filter(|two| two.engines().len() > 1 && net.model.towers > 1);
        let laid_out =
            two.map(|two| Layout::new(net, request, &two.limits(net.model.towers)).map(|layout| (two, layout)));
        if let Some(Ok(placed)) = laid_out {
            let _ = writeln!(io::stderr(), "{refused}: running on the two best adapters");
            return Ok(placed);
        }
    }
    Err(refused.into())
}

/// How images become inputs of an ONNX file.
#[derive(Debug, Args)]
pub(super) struct Pictured {
    /// Of an ONNX file: subtracted from pixels of 0 to 255 [default: what the file's metadata say]
    #[arg(long, value_name = "R,G,B", value_parser = colour)]
    mean: Option<[f32; 3]>,
    /// Of an ONNX file: what pixels are multiplied with then [default: what the file's metadata say]
    #[arg(long, value_name = "R,G,B", value_parser = colour)]
    scale: Option<[f32; 3]>,
    /// Of an ONNX file: side to which images are scaled before they are cropped [default: what the file's metadata say,
    /// or that of its input]
    #[arg(long, value_name = "PIXELS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    stored: Option<usize>,
}

impl From<Pictured> for Preprocessing {
    fn from(Pictured { mean, scale, stored }: Pictured) -> Self {
        Self { mean, scale, stored }
    }
}

/// Views of an image.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Views {
    /// The centre
    #[value(name = "1")]
    One,
    /// The four corners and the centre, and their mirror images
    #[value(name = "10")]
    Ten,
}

impl From<Views> for Viewing {
    fn from(views: Views) -> Self {
        match views {
            Views::One => Self::Centre,
            Views::Ten => Self::Ten,
        }
    }
}

/// The network of a built-in name or a model file, with stages replaced.
///
/// # Errors
/// When there is none, or it is not a network.
pub(super) fn open_net(model: &str, replaced: &Replaced) -> Result<Net> {
    let mut network = Model::open(model)?;
    replaced.apply(&mut network)?;
    Net::new(network).with_context(|| model.to_owned())
}

/// What is done to a network after it was read.
#[derive(Debug, Default, Args)]
pub(super) struct Replaced {
    /// Has another stage in every layer that has this one, or none: relu=tanh, lrn=none, dropout=none; again for more
    #[arg(long = "replace", value_name = "STAGE=STAGE|none")]
    stages: Vec<Replacement>,
}

impl Replaced {
    /// # Errors
    /// When no layer has the stage.
    pub(super) fn apply(&self, network: &mut Model) -> Result<()> {
        self.stages.iter().try_for_each(|stage| stage.apply(network)).context("--replace")
    }
}

/// Names of the networks that come with the program.
pub(super) fn built_in() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
