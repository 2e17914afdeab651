//! The fully connected layer, `fc`: a convolution whose window is its map (paper, section 3.5). Inputs are taken in
//! their own order `[C][H][W]`, which with images innermost needs no rearranging.

use super::conv::Conv;
use super::kind::{Caffe, LayerKind, Place, Scaling, Setting};
use super::layer::{Chw, LayerError};
use super::onnx::{Form, Subgraph, WEIGHTS, X, Y, int, ints};
use super::weighted::{Contraction, Weighted};

/// `fc`, with the number of its outputs: every output reads every number of the maps.
pub static KIND: LayerKind = LayerKind {
    name: "fc",
    settings: &[Setting::count("outputs")],
    shared: None,
    place: Place::Head {
        outputs: "outputs",
        build: |_, head| Ok(Box::new(Weighted { contraction: FullyConnected, head })),
    },
    scaling: Scaling::Other,
    onnx: |_, shapes| {
        let (x, [weights, bias]) = (shapes.x, WEIGHTS);
        let inputs = &[X, weights, bias];
        if shapes.groups == 1 {
            return Subgraph::new(Form::Features).then("Gemm", inputs, &[Y], vec![("transB", int(1))]);
        }
        // Towers apart: a convolution whose windows are the maps.
        let attributes = vec![("kernel_shape", ints(&[x.height, x.width])), ("group", int(shapes.groups))];
        let subgraph = Subgraph::new(Form::Maps).then("Conv", inputs, &[Y], attributes);
        Subgraph { weights: Some(vec![x.channels, x.height, x.width]), ..subgraph }
    },
    caffe: Caffe::Words(|_, settings, _| format!("fully connected with {} outputs", settings.get::<usize>("outputs"))),
    kernels: &[], // those of `conv`
    examples: &["fc = 8"],
};

/// A product over all numbers of the input.
#[derive(Debug)]
struct FullyConnected;

impl Contraction for FullyConnected {
    fn describe(&self, outputs: usize) -> String {
        format!("fc {outputs}")
    }

    fn output(&self, outputs: usize, _: &[Chw]) -> Result<Chw, LayerError> {
        Ok(Chw::flat(outputs))
    }

    fn window(&self, x: Chw) -> Vec<usize> {
        vec![x.count()]
    }

    fn conv(&self, images: usize, x: Chw, y: Chw) -> Conv {
        Conv::dense(x.count(), y.channels, images)
    }
}
