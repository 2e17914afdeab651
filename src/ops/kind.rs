//! A kind of layer, declared once: its name and settings in model files, how one is built, what it does with a
//! factor of its input, and how other programs' formats write it. [`super::LAYERS`] lists the kinds.

use std::fmt;

use super::activation::Activation;
use super::layer::{Layer, LayerError};
use super::onnx::{Shapes, Subgraph};
use crate::kernel::{Kernel, Params, Value};

/// A kind of layer; compared by its name.
pub struct LayerKind {
    /// Name in model files, and of the nodes of a network behind a dot: `conv1.lrn`.
    pub name: &'static str,
    /// Settings in the order of model files. A single one is written without a table: `dropout = 0.8`.
    pub settings: &'static [Setting],
    /// Key at the top of a model file whose settings hold where a row states none of its own.
    pub shared: Option<&'static str>,
    /// Its place in a row, and how it is built there.
    pub place: Place,
    /// Effect of a factor of its input in evaluation.
    pub scaling: Scaling,
    /// Subgraph of ONNX that computes it in evaluation.
    pub onnx: fn(&Params, &Shapes) -> Subgraph,
    /// Description of the same layer in a network of Caffe; [`caffe_words`] for a layer that Caffe does not have.
    pub caffe: Caffe,
    /// Kernels that come with it, where no kind before it in the list has them.
    pub kernels: &'static [&'static Kernel],
    /// Entries of a row in a model file, `"relu"` or `lrn = { size = 3, … }`, on which tests try every kind.
    pub examples: &'static [&'static str],
}

/// A number that a row states about a layer.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key in model files.
    pub name: &'static str,
    /// Type of its values.
    pub number: Number,
    /// Value where a row leaves it out; `None` where it must not.
    pub default: Option<Value>,
    /// Whether models are written without it where it has the default value, as earlier releases read and wrote them.
    pub unstated: bool,
}

/// The type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A whole number of 0 or more.
    Count,
    /// A real number: a 32-bit float.
    Real,
    /// A switch: `true` or `false`.
    Switch,
}

impl Setting {
    /// A whole number without a default.
    pub const fn count(name: &'static str) -> Self {
        Self::new(name, Number::Count, None)
    }

    /// A whole number, `default` where it is left out.
    pub const fn count_or(name: &'static str, default: u32) -> Self {
        Self::new(name, Number::Count, Some(Value::U32(default)))
    }

    /// A float without a default.
    pub const fn real(name: &'static str) -> Self {
        Self::new(name, Number::Real, None)
    }

    /// A float, `default` where it is left out.
    pub const fn real_or(name: &'static str, default: f32) -> Self {
        Self::new(name, Number::Real, Some(Value::F32(default.to_bits())))
    }

    /// A switch that is off where it is left out.
    pub const fn switch(name: &'static str) -> Self {
        Self::new(name, Number::Switch, Some(Value::Bool(false)))
    }

    /// The same, left out of models that are written where it has the default value.
    #[must_use]
    pub const fn unstated(self) -> Self {
        Self { unstated: true, ..self }
    }

    const fn new(name: &'static str, number: Number, default: Option<Value>) -> Self {
        Self { name, number, default, unstated: false }
    }
}

/// A layer, or what is wrong with its settings.
pub type Built = Result<Box<dyn Layer>, LayerError>;

/// The place of a layer in a row.
#[derive(Clone, Copy)]
pub enum Place {
    /// First, with weights: a row names exactly one such layer. Its output is linear in its input, up to a bias.
    Head {
        /// Setting that counts its outputs, which the towers share.
        outputs: &'static str,
        /// Builds one tower's share.
        build: fn(&Params, Head) -> Built,
    },
    /// A layer without weights, in a row's list `then`.
    Stage {
        /// Builds one tower's share.
        build: fn(&Params) -> Built,
        /// Activation that the layer with weights computes in its stead where it comes first; linear for none.
        epilogue: Activation,
    },
    /// Last in `then` of the last row: the lowering computes it together with the loss.
    Loss,
}

/// Statements of a row about its first layer besides the settings.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Outputs of one tower.
    pub outputs: usize,
    /// Activation in the epilogue.
    pub activation: Activation,
    /// Standard deviation of the initial weights.
    pub weights: f32,
    /// Initial value of all biases.
    pub bias: f32,
}

/// Output of a layer for c x in evaluation, c > 0. Other programs' dropout does nothing in evaluation where this
/// one multiplies, so export moves that factor into the next weights, through the layers between.
#[derive(Clone, Copy)]
pub enum Scaling {
    /// c times what it makes of x: the factor passes.
    Homogeneous,
    /// Dropout: a multiple of x in evaluation, the share that its settings keep; ONNX and Caffe say nothing of it.
    Factor(fn(&Params) -> f32),
    /// Something else: no factor passes, and a network with a dropout before it cannot be exported.
    Other,
}

/// Comparison of a layer with that of a network of Caffe.
#[derive(Clone, Copy)]
pub enum Caffe {
    /// A layer that does nothing in evaluation and is left out.
    Nothing,
    /// Words that name every setting, given those and how many towers it stays inside of, 1 where it reads all; equal
    /// words, equal layers.
    Words(fn(&LayerKind, &Params, usize) -> String),
}

/// Words for [`Caffe::Words`]: the name with every setting.
pub fn caffe_words(kind: &LayerKind, settings: &Params, _towers: usize) -> String {
    format!("{} {settings}", kind.name).trim_end().into()
}

impl LayerKind {
    /// Settings of which `given` states some and the defaults the others.
    pub fn complete(&self, given: &[(&'static str, Value)]) -> Result<Params, &'static str> {
        let value = |setting: &Setting| {
            let stated = given.iter().find(|(name, _)| *name == setting.name).map(|&(_, value)| value);
            stated.or(setting.default).map(|value| (setting.name, value)).ok_or(setting.name)
        };
        self.settings.iter().map(value).collect::<Result<_, _>>().map(Params::new)
    }

    /// The setting that counts the outputs of a layer with weights.
    pub fn outputs(&self) -> Option<&'static str> {
        if let Place::Head { outputs, .. } = self.place { Some(outputs) } else { None }
    }

    /// Whether it is the first layer of a row.
    pub fn is_head(&self) -> bool {
        matches!(self.place, Place::Head { .. })
    }

    /// The key of a setting that a row can state, with its type.
    pub fn setting(&self, name: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

impl PartialEq for LayerKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
