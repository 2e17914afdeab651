//! One network in two spellings, or over several devices: the same bits.

use std::path::Path;

use alexnet::checkpoint::Checkpoint;
use serde_json::Value;

use crate::cli::Place;

fn model(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
    path.to_str().unwrap().to_owned()
}

/// Losses of the steps and validations of a run of three steps, and its weights by name, as bits.
fn trained(place: &Place, model: &str, devices: &str, out: &str) -> (Vec<u64>, Vec<(String, Vec<u32>)>) {
    let arguments = ["--data", "blobs", "--steps", "3", "--batch", "32", "--seed", "1", "--out", out];
    place.ok(&[&["train", "--model", model, "--devices", devices][..], &arguments].concat());
    let losses = place.metrics(out).iter().filter_map(|metric| metric["loss"].as_f64()).map(f64::to_bits).collect();
    let checkpoint = Checkpoint::read(&place.path(&format!("{out}/last.safetensors"))).unwrap();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    (losses, checkpoint.tensors.into_iter().map(|(name, tensor)| (name, bits(tensor.values()))).collect())
}

/// A fully connected layer is a convolution whose window is its whole map.
#[test]
fn fc_layers_and_convolutions_of_the_whole_map_train_to_the_same_bits() {
    let place = Place::new();
    place.blobs();
    let [fc, conv] = ["fc.toml", "fc-as-conv.toml"].map(|name| trained(&place, &model(name), "cpu", name));
    assert_eq!(fc.0.len(), 4);
    assert_eq!(fc.0, conv.0);
    assert!(fc.1 == conv.1, "weights differ");
    assert!(
        fc.1.iter().any(|(name, _)| name == "fc3.b.weights.a"),
        "{:?}",
        fc.1.iter().map(|t| &t.0).collect::<Vec<_>>()
    );
}

/// `both` is every tower of a network of four: 8 units over them reach a layer of 10 by 80 weights.
#[test]
fn a_layer_that_sees_both_sees_all_of_four_towers() {
    let place = Place::new();
    place.blobs();
    let model = model("both4.toml");
    let described = place.json(&["describe", &model, "--json"]);
    let layers: Vec<_> =
        described["layers"].as_array().unwrap().iter().map(|row| (&row["name"], &row["weights"])).collect();
    assert!(layers.contains(&(&Value::from("fc"), &Value::from(80))), "{layers:?}");
    let [one, four] = ["cpu", "cpu,cpu,cpu,cpu"].map(|devices| trained(&place, &model, devices, devices));
    assert!(one == four);
}
