//! Layers in the words of ONNX, as data: operators and constants of one layer over all towers, whose maps
//! `[N][C][H][W]` stand behind each other. Values are named within the layer; who writes a file puts the layer's name
//! before them.

use super::layer::Chw;

/// The layer's input, as an operator reads it.
pub const X: &str = "x";

/// Name that stands for the layer's output.
pub const Y: &str = "y";

/// The weights of a row's first layer, `[K][C/groups][R][S]` or `[K][C·H·W/groups]`, and its bias `[K]`.
pub const WEIGHTS: [&str; 2] = ["weight", "bias"];

/// Form of a layer's input and output in ONNX.
#[derive(Clone, Copy, Debug)]
pub struct Shapes {
    /// Input of one tower.
    pub x: Chw,
    /// Output of one tower.
    pub y: Chw,
    /// Number of towers that share the layer.
    pub towers: usize,
    /// Groups of all towers whose filters read their own maps alone; 1 where they read all.
    pub groups: usize,
}

/// The form of a layer's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Maps of images, `[N][C][H][W]`.
    Maps,
    /// Features of a fully connected layer, `[N][C·H·W]`.
    Features,
    /// Maps or features, whichever there are.
    Any,
}

/// A layer as operators.
#[derive(Clone, Debug, PartialEq)]
pub struct Subgraph {
    /// Form of its input, which is that of its output.
    pub form: Form,
    /// Shape behind `[K]` that the weights get instead of their own.
    pub weights: Option<Vec<usize>>,
    /// Constants that the nodes read.
    pub constants: Vec<Constant>,
    /// Operators in the order of their computation; none for a layer that does nothing.
    pub operators: Vec<Operator>,
}

/// A tensor of floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Name within the layer.
    pub name: String,
    /// Extents of the constant, outermost first.
    pub shape: Vec<usize>,
    /// Values, the last extent innermost.
    pub values: Vec<f32>,
}

/// An operator of ONNX.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// Operator of the node, for example `Conv`.
    pub op: &'static str,
    /// Names of the values it reads.
    pub inputs: Vec<String>,
    /// Names of the values it writes.
    pub outputs: Vec<String>,
    /// Settings by their names.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// The value of an operator's setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number of 64 bits.
    Int(i64),
    /// A list of whole numbers.
    Ints(Vec<i64>),
    /// A float of 32 bits.
    Float(f32),
}

impl Subgraph {
    /// A layer without operators, for input of this form.
    pub const fn new(form: Form) -> Self {
        Self { form, weights: None, constants: Vec::new(), operators: Vec::new() }
    }

    /// A layer of one operator.
    pub fn one(form: Form, op: &'static str, attributes: Vec<(&'static str, Attribute)>) -> Self {
        Self::new(form).then(op, &[X], &[Y], attributes)
    }

    /// The same with one more constant.
    #[must_use]
    pub fn constant(mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Self {
        self.constants.push(Constant { name: name.into(), shape: shape.into(), values });
        self
    }

    /// The same with one more operator.
    #[must_use]
    pub fn then<S: AsRef<str>>(
        mut self,
        op: &'static str,
        inputs: &[S],
        outputs: &[S],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Self {
        let [inputs, outputs] =
            [inputs, outputs].map(|names| names.iter().map(|name| name.as_ref().to_owned()).collect());
        self.operators.push(Operator { op, inputs, outputs, attributes });
        self
    }
}

/// A whole number from a count.
pub fn int(value: usize) -> Attribute {
    Attribute::Int(value as i64)
}

/// A list of whole numbers from counts.
pub fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|&value| value as i64).collect())
}

/// Attributes of square windows with `stride` between them and `pad` pixels before the maps. Behind them stands as much
/// padding as the last window needs, which leaves nothing to how a reader rounds.
pub fn windows(shapes: &Shapes, size: usize, stride: usize, pad: usize) -> Vec<(&'static str, Attribute)> {
    let behind = |x: usize, y: usize| ((y - 1) * stride + size).saturating_sub(x + pad);
    let (x, y) = (shapes.x, shapes.y);
    vec![
        ("kernel_shape", ints(&[size, size])),
        ("strides", ints(&[stride, stride])),
        ("pads", ints(&[pad, pad, behind(x.height, y.height), behind(x.width, y.width)])),
    ]
}
