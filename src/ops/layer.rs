//! A layer as the lowering sees it: a rule for shapes, some weights, and two recordings.
//!
//! A layer object is one tower's share: a convolution of 96 filters over two towers is two objects of 48. It never
//! knows devices; it records kernels over slots.

use thiserror::Error;

use super::activation::Activation;
use crate::kernel::{Kernel, Params};
use crate::program::{Recorder, Slot, Tower};

/// Longest side of an image, and largest window and stride, in pixels.
pub const MOST_PIXELS: usize = 16_384;

/// Extents of one tower's maps for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chw {
    /// C: maps, or features of a fully connected layer.
    pub channels: usize,
    /// H: rows of a map.
    pub height: usize,
    /// W: columns of a map.
    pub width: usize,
}

impl Chw {
    /// Maps of a fully connected layer: one pixel each.
    pub const fn flat(maps: usize) -> Self {
        Self { channels: maps, height: 1, width: 1 }
    }

    /// Pixels of one map.
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Numbers for one image.
    pub const fn count(&self) -> usize {
        self.channels * self.pixels()
    }
}

impl std::fmt::Display for Chw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// Distribution of the initial values of a trained tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal numbers with this standard deviation.
    Normal(f32),
    /// One value for all.
    Constant(f32),
}

/// A trained tensor of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSpec {
    /// `weights` or `bias`; a further matrix for another tower's maps is told apart by the lowering.
    pub kind: WeightKind,
    /// Extents of the tensor, the outputs of a group innermost.
    pub shape: Vec<usize>,
    /// Distribution of its initial values.
    pub init: Init,
}

/// Weights and biases have rates of their own, and biases no decay (spec, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightKind {
    /// A matrix over the maps of the layer's input `0`, `1`, …
    Weights(usize),
    /// One value a filter.
    Bias,
}

/// Place of a recording: tower, share of the layer, number of images.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Prefix of slot names, for example `conv1.a`.
    pub name: &'a str,
    /// The layer's name without the tower: what its random numbers are keyed by.
    pub layer: &'a str,
    /// Tower whose slots are declared.
    pub tower: Tower,
    /// Number of towers that share the layer, and index of this share.
    pub share: (usize, usize),
    /// N: images of a batch, a multiple of 8.
    pub images: usize,
    /// Slot of the words that change every step ([`super::step`]).
    pub step: Slot,
    /// Whether gradients of weights are added to what is there, as in all but the first batch of a minibatch.
    pub accumulate: bool,
}

/// Slots of the forward pass that the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// Inputs and their shapes, own tower first.
    pub x: &'a [(Slot, Chw)],
    /// Weights, in the order of [`Layer::weights`].
    pub w: &'a [Slot],
    /// Slot for the gradient of each weight; `None` for a frozen one.
    pub dw: &'a [Option<Slot>],
    /// The output and its shape.
    pub y: (Slot, Chw),
    /// Whether the gradient by an input goes through the ReLU that made it as well: it is 0 where the input is not
    /// positive. Asked of layers alone that take it there, [`Layer::through_relu`].
    pub relu: bool,
    /// Gradient by the input from another tower, to which the layer adds its own. Asked of layers alone that have
    /// several inputs and are [`ThroughRelu::Within`].
    pub sum: Option<Slot>,
}

/// What a layer does with the ReLU that made its input, on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThroughRelu {
    /// Nothing: the ReLU's gradient is taken by itself.
    Apart,
    /// Its own kernel takes the gradient through it, as [`Saved::relu`] says.
    Within,
    /// Its output is its input or 0, and so tells of both gradients: they are that of a ReLU which made the output. It
    /// gives what it is given where [`Saved::relu`] says so.
    Kept,
}

/// Why a layer cannot have the settings or the inputs that a network gives it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LayerError {
    #[error("{layer} needs {expected}; found {found}")]
    Settings { layer: &'static str, expected: String, found: Params },
    #[error("{layer} has no {setting}; write {{ {layer} = … }}")]
    Missing { layer: &'static str, setting: &'static str },
    #[error("{0} has no parameters here or in the model")]
    NotShared(&'static str),
    #[error("expected one input, found {0}")]
    Inputs(usize),
    #[error("expected inputs of one size, found {0} and {1}")]
    Sizes(Chw, Chw),
    #[error("{groups} groups do not divide {maps} maps and {filters} filters of a tower")]
    Groups { groups: usize, maps: usize, filters: usize },
    #[error("its window of {window} is larger than the map of {}×{} with padding {pad}", map.height, map.width)]
    Window { window: usize, map: Chw, pad: usize },
}

/// One tower's share of a layer.
pub trait Layer: Send + Sync + std::fmt::Debug {
    /// Description for listings: `conv 11×11/4, relu`.
    fn describe(&self) -> String;

    /// Shape of the output.
    fn output(&self, x: &[Chw]) -> Result<Chw, LayerError>;

    /// Trained tensors, given the inputs; none unless said.
    fn weights(&self, _x: &[Chw]) -> Vec<WeightSpec> {
        Vec::new()
    }

    /// Groups of maps that its outputs see apart, in one tower; 1 unless said.
    fn groups(&self) -> usize {
        1
    }

    /// Multiply-adds of a forward pass for one image; 0 for layers without weights.
    fn macs(&self, _x: &[Chw], _y: Chw) -> u64 {
        0
    }

    /// Records the forward pass; `training` draws dropout masks.
    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Chw)], w: &[Slot], y: Chw, training: bool) -> Slot;

    /// Activation in the epilogue of the forward pass, through which a gradient goes first on its way back.
    fn activation(&self) -> Activation {
        Activation::Linear
    }

    /// Whether making the output once more costs little beside keeping it until the backward pass.
    fn cheap(&self) -> bool {
        false
    }

    /// What it does on the way back with the ReLU that made its input.
    fn through_relu(&self) -> ThroughRelu {
        ThroughRelu::Apart
    }

    /// Records the gradient by input `i`, given that by the output before the activation.
    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, i: usize) -> Slot;

    /// Records the gradients of weights; there are none unless said.
    fn backward_weights(&self, _r: &mut Recorder, _site: &Site, _saved: &Saved, _dz: Slot) {}
}

/// The first of several inputs, which all have its height and width.
pub fn same_sizes(x: &[Chw]) -> Result<Chw, LayerError> {
    let first = *x.first().ok_or(LayerError::Inputs(0))?;
    match x.iter().find(|maps| (maps.height, maps.width) != (first.height, first.width)) {
        Some(other) => Err(LayerError::Sizes(first, *other)),
        None => Ok(first),
    }
}

/// Declares a map slot of `maps` for a site.
pub fn map_slot(r: &mut Recorder, site: &Site, what: &str, maps: Chw) -> Slot {
    let shape = vec![maps.channels, maps.height, maps.width, site.images];
    r.map(format!("{}.{what}", site.name), shape, crate::program::Home::Tower(site.tower))
}

/// The shape of the one input of a layer that leaves shapes as they are.
pub fn only(x: &[Chw]) -> Result<Chw, LayerError> {
    match x {
        [maps] => Ok(*maps),
        other => Err(LayerError::Inputs(other.len())),
    }
}

/// A layer without weights whose output has the shape of its one input: a kernel `forward` of x and y, and one
/// `backward` of x, dy and dx, both with the same parameters.
#[derive(Debug)]
pub struct Unary {
    /// Description of the layer for listings.
    pub text: String,
    /// Settings, which `params` reads.
    pub settings: Params,
    /// Kernel that reads x and writes y.
    pub forward: &'static Kernel,
    /// Kernel that reads x and dy and writes dx.
    pub backward: &'static Kernel,
    /// Parameters of both kernels from the settings, the maps of one tower and the number of images. Where a switch
    /// `relu` is among them, `backward` makes dx 0 where x is not positive if it is on.
    pub params: fn(&Params, Chw, usize) -> Params,
}

impl Layer for Unary {
    fn describe(&self) -> String {
        self.text.clone()
    }

    fn output(&self, x: &[Chw]) -> Result<Chw, LayerError> {
        only(x)
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Chw)], _: &[Slot], y: Chw, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        r.run(self.forward, (self.params)(&self.settings, y, site.images), &[x[0].0, out]);
        out
    }

    fn cheap(&self) -> bool {
        true
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, _: usize) -> Slot {
        let dx = map_slot(r, site, "dx", saved.y.1);
        let params = (self.params)(&self.settings, saved.y.1, site.images).replaced("relu", saved.relu);
        r.run(self.backward, params, &[saved.x[0].0, dz, dx]);
        dx
    }

    fn through_relu(&self) -> ThroughRelu {
        let params = (self.params)(&self.settings, Chw::flat(1), 8);
        if params.find::<bool>("relu").is_some() { ThroughRelu::Within } else { ThroughRelu::Apart }
    }
}
