//! Convolutions in groups against PyTorch in float64, whose numbers tests/caffe_groups.py writes.

use std::collections::BTreeMap;

use alexnet::files::write_tensors;
use alexnet::interop::read_weights;
use alexnet::tensor::Tensor;
use serde_json::Value;

use crate::cli::Place;
use crate::devices;

const MODEL: &str = include_str!("../fixtures/groups/groups.toml");
const EXPECTED: &str = include_str!("../fixtures/groups/groups.json");

const IMAGES: usize = 8;

/// Numbers of -0.5 to 0.5 with 24 bits that stand for nothing, the same in tests/caffe_groups.py.
fn mixed(tensor: u32, count: usize) -> Vec<f32> {
    let number = |index: u32| {
        let mut h = (index + tensor * 1_000_003).wrapping_mul(0x9E37_79B9);
        for (factor, shift) in [(0x85EB_CA6B, 16), (0xC2B2_AE35, 13)] {
            h = (h ^ h >> shift).wrapping_mul(factor);
        }
        ((h ^ h >> 16) >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (1..=count as u32).map(number).collect()
}

/// Weights under Caffe's names.
fn weights() -> BTreeMap<String, Tensor> {
    let shapes: [(&str, &[usize]); 4] =
        [("conv1", &[16, 3, 5, 5]), ("conv2", &[128, 8, 3, 3]), ("conv3", &[12, 32, 3, 3]), ("fc4", &[10, 108])];
    let mut weights = BTreeMap::new();
    for (number, (name, shape)) in (0..).zip(shapes) {
        let read: usize = shape[1..].iter().product();
        let scale = (24.0 / read as f64).sqrt().log2().floor().exp2() as f32;
        let values = mixed(2 * number, shape.iter().product()).iter().map(|value| scale * value).collect();
        weights.insert(format!("{name}.weight"), Tensor::new(shape, values));
        weights.insert(format!("{name}.bias"), Tensor::new([shape[0]], mixed(2 * number + 1, shape[0])));
    }
    weights
}

fn batch() -> Vec<u8> {
    let images: Vec<u8> =
        mixed(100, IMAGES * 3 * 15 * 15).into_iter().flat_map(|pixel| (4.0 * pixel).to_le_bytes()).collect();
    let labels: Vec<u8> = (0..IMAGES as i64).flat_map(|n| (n * 7 % 10).to_le_bytes()).collect();
    let view = |dtype, shape, bytes| safetensors::tensor::TensorView::new(dtype, shape, bytes).unwrap();
    let tensors = [
        ("images", view(safetensors::Dtype::F32, vec![IMAGES, 3, 15, 15], &images)),
        ("labels", view(safetensors::Dtype::I64, vec![IMAGES], &labels)),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn three_steps_in_groups_are_those_of_pytorch_in_64_bits() {
    let place = Place::new();
    place.write("groups.toml", MODEL);
    place.write("batch", batch());
    write_tensors(&place.path("weights"), &weights(), None).unwrap();
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let command = ["step", "--model", "groups.toml", "--weights", "weights", "--batch", "batch", "--no-dropout"];
    let options = ["--lr", "0.05", "--momentum", "0.9", "--decay", "0", "--steps", "3"];
    let runs = [("cpu", "f32", 1e-5, 1e-4), ("gpu", "f32", 1e-5, 1e-4), ("cpu", "mixed", 1e-2, 2e-2)];
    for (pattern, precision, loss, gradient) in runs {
        let Some(spec) = devices::spec(pattern) else { continue };
        let out = format!("{pattern}.{precision}");
        let more = ["--devices", &spec, "--precision", precision, "--no-tune", "--out", &out];
        place.ok(&[&command[..], &options, &more].concat());
        let out = read_weights(&place.path(&out)).unwrap().tensors;
        for (step, want) in expected["loss"].as_array().unwrap().iter().map(number).enumerate() {
            let got = f64::from(out["loss"].values()[step]);
            assert!((got / want - 1.0).abs() < loss, "{spec}, {precision}: loss {got} of step {step}, not {want}");
        }
        for (name, want) in expected["gradients"].as_object().unwrap() {
            let got: Vec<f64> = out[name].values().iter().map(|&value| f64::from(value)).collect();
            let norm = got.iter().map(|value| value * value).sum::<f64>().sqrt();
            let probe: f64 = got.iter().zip(mixed(7, got.len())).map(|(got, probe)| got * f64::from(probe)).sum();
            for (got, want) in [norm, probe].into_iter().zip(want.as_array().unwrap()) {
                let error = (got - number(want)).abs() / norm;
                assert!(error < gradient, "{spec}, {precision}: {name}: {got}, not {want}");
            }
        }
    }
}
