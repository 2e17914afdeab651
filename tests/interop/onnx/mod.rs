//! Every operator of ONNX that is understood, with every attribute, on the CPU engine and on all adapters: against the
//! operators' definitions in f64. And files that are refused.

mod elements;
mod file;
mod functions;
mod images;
mod further;
mod maps;
mod products;
mod refused;
mod windows;
mod written;

use alexnet::backend::Engine;
use alexnet::interop::onnx::proto::AttributeProto;
use alexnet::tensor::Tensor;
use file::{File, floats};

use crate::devices;

/// The CPU engine and all adapters.
fn engines() -> Vec<Engine> {
    [vec![Engine::Cpu], devices::gpus()].concat()
}

/// Checks the outputs of `file` on all engines; sums of some hundred products in f32 are off by some 1e-6 of the
/// largest.
#[track_caller]
fn gives(file: &File, inputs: &[(&str, &Tensor)], wanted: &[(Vec<usize>, Vec<f64>)]) {
    for engine in engines() {
        let got = file.run(&engine, inputs);
        assert_eq!(got.len(), wanted.len());
        for (got, (dims, values)) in got.iter().zip(wanted) {
            assert_eq!(got.shape(), dims, "on {}", engine.describe());
            let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            for (at, (&got, want)) in got.values().iter().zip(values).enumerate() {
                let error = (f64::from(got) - want).abs();
                assert!(error <= 1e-5 * most, "{got} instead of {want} at {at} on {}", engine.describe());
            }
        }
    }
}

/// The one node `op` over `inputs`; those in `constants` are initialisers.
fn single(
    opset: i64,
    op: &str,
    tensors: &[(&str, &Tensor)],
    constants: &[&str],
    attributes: Vec<AttributeProto>,
) -> File {
    let names: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
    let mut file = File::new(opset).node(op, &names, &["y"], attributes).outputs(&["y"]);
    for (name, tensor) in tensors {
        let dims: Vec<i64> = tensor.shape().iter().map(|&extent| extent as i64).collect();
        let constant = constants.contains(name);
        file = if constant { file.constant(floats(name, tensor)) } else { file.input(name, &dims) };
    }
    file
}

fn wide(tensor: &Tensor) -> Vec<f64> {
    tensor.values().iter().map(|&value| f64::from(value)).collect()
}

fn exact(tensor: &Tensor) -> (Vec<usize>, Vec<f64>) {
    (tensor.shape().to_vec(), wide(tensor))
}
