//! Options that several commands share, and what they stand for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::progress::preparing;
use alexnet::backend::Placement;
use alexnet::checkpoint::Checkpoint;
use alexnet::commands::convert::Import;
use alexnet::eval::{Preprocessing, colour, image_size, run_devices};
use alexnet::net::model::BUILT_IN;
use alexnet::net::{
    Job, MOST_IMAGES, Model, Named, Net, OptionChanges, Options, Precision, Replacement, WireFormat, near,
};
use alexnet::session::layout::Layout;
use alexnet::session::{open_among, open_devices, place};

/// The parser of an argument that is one of a few names, which the help lists.
pub(super) fn named<T: Named>() -> impl TypedValueParser<Value = T> {
    let names = T::ALL.iter().map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    let value = |name: String| T::ALL.iter().find(|(_, known, _)| *known == name).map(|(value, ..)| *value);
    // The parser in front of it lets no other name through.
    PossibleValuesParser::new(names).try_map(move |name| value(name).ok_or("unknown name"))
}

/// Parses a learning rate, a decay and the like.
pub(super) fn positive(text: &str) -> Result<f32, &'static str> {
    let number = text.parse().ok().filter(|number: &f32| number.is_finite() && *number >= 0.0);
    number.ok_or("expected a number of 0 or more")
}

/// Parses a share of a whole.
pub(super) fn share(text: &str) -> Result<f32, &'static str> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("expected a number from 0 to 1")
}

/// Parses a share in percent.
pub(super) fn percent(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=100.0).contains(share));
    share.ok_or("expected a number of percent, 0 to 100")
}

/// Refuses a path at which nothing is, with the name beside it that may have been meant.
pub(super) fn expect_there(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let wanted = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    match near(&wanted, names.iter().map(String::as_str)) {
        Some(near) => {
            bail!("{}: nothing is there; did you mean {}?", path.display(), path.with_file_name(near).display())
        }
        None => bail!("{}: nothing is there; check the path", path.display()),
    }
}

/// Devices of a command.
#[derive(Debug, Args)]
pub(super) struct On {
    /// An adapter by number, PCI bus id, vendor:device or part of its name (see `alexnet devices`), or cpu; several,
    /// comma-separated, for towers A, B, …; auto: the two best adapters [default: those of the run, else the best
    /// adapter]
    #[arg(long, value_name = "DEVICES")]
    pub(super) devices: Option<String>,
}

impl On {
    pub(super) fn open(&self) -> Result<Placement> {
        Ok(open_devices(self.devices.as_deref())?)
    }

    /// Opens the devices, with a progress bar for a network that is set up there.
    pub(super) fn watched(&self) -> Result<Placement> {
        Ok(self.open()?.watched(preparing()))
    }

    /// The same for the run that `path` belongs to: where no devices are given, those that it was trained on.
    pub(super) fn watched_for(&self, path: &Path) -> Result<Placement> {
        self.watched_among(path, (0, 1))
    }

    /// The same for one of several processes on this machine, by its number and theirs.
    pub(super) fn watched_among(&self, path: &Path, local: (usize, usize)) -> Result<Placement> {
        expect_there(path)?;
        let own = if self.devices.is_none() { run_devices(path)? } else { None };
        if let Some(own) = own {
            match open_among(Some(&own), local) {
                Ok(devices) => return Ok(devices.watched(preparing())),
                Err(error) => log::warn!("{}: trained on {own}, which is not here: {error}", path.display()),
            }
        }
        Ok(open_among(self.devices.as_deref(), local)?.watched(preparing()))
    }
}

/// Devices, batches and precision of a network.
#[derive(Debug, Args)]
pub(super) struct Placed {
    #[command(flatten)]
    pub(super) on: On,
    /// Images computed at once, whose gradients add up to those of the minibatch [default: as many as fit]
    #[arg(long, value_name = "IMAGES", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MOST_IMAGES as u64))]
    pub(super) micro_batch: Option<usize>,
    /// Recompute outputs of ReLU, normalisation and dropout in the backward pass instead of keeping them: less memory
    #[arg(long)]
    pub(super) recompute: bool,
    /// Number format of maps between devices [default: f32]
    #[arg(long, value_name = "FORMAT", value_parser = named::<WireFormat>())]
    pub(super) exchange: Option<WireFormat>,
    /// Floating-point precision [default: f32]
    #[arg(long, value_name = "PRECISION", value_parser = named::<Precision>())]
    pub(super) precision: Option<Precision>,
    /// Do not measure variants: run the first that the device supports
    #[arg(long)]
    pub(super) no_tune: bool,
    /// Compile shaders with checks of every index and loop: slower, to diagnose drivers
    #[arg(long)]
    pub(super) checked: bool,
}

impl Placed {
    /// Opens the devices and lays `net` out on them.
    pub(super) fn open(&self, net: &Net, job: &Job) -> Result<(Placement, Layout)> {
        let (devices, layout) = place(net, job, self.on.devices.as_deref(), (0, 1))?;
        Ok((self.prepare(devices), layout))
    }

    /// `devices` with a progress bar, and with tuning and checks as the arguments say.
    pub(super) fn prepare(&self, devices: Placement) -> Placement {
        let devices = devices.watched(preparing());
        let devices = if self.no_tune { devices.untuned() } else { devices };
        if self.checked { devices.checked() } else { devices }
    }

    /// What the arguments change in the options of a run.
    pub(super) fn changes(&self) -> OptionChanges {
        let Self { micro_batch, recompute, exchange, precision, .. } = *self;
        OptionChanges { micro_batch, recompute, exchange, precision, parallel: None }
    }
}

/// A network as it would be trained, for commands that only look at its steps.
#[derive(Debug, Args)]
pub(super) struct Trial {
    #[command(flatten)]
    pub(super) replaced: Replaced,
    /// Images in a minibatch [default: the model's training batch]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MOST_IMAGES as i64))]
    batch: Option<u32>,
    #[command(flatten)]
    pub(super) placed: Placed,
}

impl Trial {
    /// The training of `net`.
    pub(super) fn job(&self, net: &Net) -> Job {
        let images = self.batch.map_or(net.model.train.batch, |batch| batch as usize);
        Job::training(images).with(Options::DEFAULT.changed(self.placed.changes()))
    }
}

/// What the file of a network does not say: preprocessing of an ONNX file's images, the network of mere weights.
#[derive(Clone, Debug, Args)]
pub(super) struct Pictured {
    /// For weights of other programs (.pth, .safetensors, .caffemodel): their network, a model file or built-in one
    #[arg(long)]
    model: Option<String>,
    /// For ONNX files: means subtracted from pixels of 0 to 255, or one for all colours [default: the file's metadata]
    #[arg(long, value_name = "R,G,B", value_parser = colour, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,
    /// For ONNX files: factors applied after that [default: the file's metadata]
    #[arg(long, value_name = "R,G,B", value_parser = colour, allow_hyphen_values = true)]
    scale: Option<[f32; 3]>,
    /// For ONNX files: side to which images are scaled before they are cropped [default: the file's metadata, or its
    /// input's side]
    #[arg(long, value_name = "PIXELS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    stored: Option<usize>,
    /// For ONNX files: extents of their images, where the file leaves them open: 224 or 192x256, height first
    #[arg(long, value_name = "HxW", value_parser = image_size)]
    size: Option<[usize; 2]>,
    /// For ONNX files: name of the output with the scores of classes, where there are several
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Take a damaged checkpoint as it is
    #[arg(long)]
    no_verify: bool,
}

impl From<Pictured> for Preprocessing {
    fn from(Pictured { mean, scale, stored, size, output, .. }: Pictured) -> Self {
        Self { mean, scale, stored, size, output }
    }
}

impl Pictured {
    /// Of weights of other programs, or of a checkpoint that may be damaged.
    pub(super) fn of_weights(model: Option<String>, no_verify: bool) -> Self {
        Self { model, mean: None, scale: None, stored: None, size: None, output: None, no_verify }
    }

    /// Checkpoints that `import` makes of weights in `paths`, or that are taken as they are, by their paths; what is a
    /// run, a checkpoint or an ONNX file is read as usual, and not among them.
    pub(super) fn imported(&self, paths: &[PathBuf]) -> Result<BTreeMap<PathBuf, Checkpoint>> {
        let mut imported = BTreeMap::new();
        for path in paths {
            imported.extend(self.import(path)?.map(|checkpoint| (path.clone(), checkpoint)));
        }
        anyhow::ensure!(
            self.model.is_none() || !imported.is_empty(),
            "--model: {} says its network itself: leave --model out",
            paths.first().map_or_else(String::new, |path| path.display().to_string())
        );
        Ok(imported)
    }

    /// The same of one path; `None` for what is read as usual.
    pub(super) fn imported_one(&self, path: &PathBuf) -> Result<Option<Checkpoint>> {
        Ok(self.imported(std::slice::from_ref(path))?.remove(path))
    }

    fn import(&self, path: &Path) -> Result<Option<Checkpoint>> {
        let has =
            |known: &[&str]| path.extension().is_some_and(|extension| known.iter().any(|known| extension == *known));
        let Some(model) = &self.model else {
            if self.no_verify && !has(&["onnx"]) {
                return Ok(Some(Checkpoint::read_unverified(&Checkpoint::locate(path))?));
            }
            let weights = has(&["pth", "pt", "tar", "caffemodel"]);
            anyhow::ensure!(
                !weights,
                "{}: holds weights alone; say --model, their network: torchvision for PyTorch's AlexNet",
                path.display()
            );
            return Ok(None);
        };
        if has(&["onnx"]) || path.is_dir() || Checkpoint::read_unverified(path).is_ok() {
            return Ok(None);
        }
        let mut model = Model::open(model)?;
        model.input.scale = self.scale.unwrap_or(model.input.scale);
        model.input.stored = self.stored.or(model.input.stored);
        let mean = self.mean;
        let (file, classes, mean_file, prototxt, missing) = (path.into(), None, None, None, None);
        let (under, sha256) = (None, None);
        let imported = Import { file, model, classes, mean, mean_file, prototxt, missing, under, sha256 }.read()?;
        for words in imported.words {
            log::warn!("{}: {words}", path.display());
        }
        Ok(Some(imported.checkpoint))
    }
}

/// The network of a built-in name or a model file, with stages replaced.
pub(super) fn open_net(model: &str, replaced: &Replaced) -> Result<Net> {
    let mut network = Model::open(model)?;
    replaced.apply(&mut network)?;
    Net::new(network).with_context(|| model.to_owned())
}

/// Changes to a network after it was read.
#[derive(Debug, Default, Args)]
pub(super) struct Replaced {
    /// Replace or remove a stage in all layers: relu=tanh, lrn=none, dropout=none; can be repeated
    #[arg(long = "replace", value_name = "STAGE=STAGE|none")]
    pub(super) stages: Vec<Replacement>,
}

impl Replaced {
    pub(super) fn apply(&self, network: &mut Model) -> Result<()> {
        self.stages.iter().try_for_each(|stage| stage.apply(network)).context("--replace")
    }
}

/// Names of the networks that come with the program.
pub(super) fn built_in() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
