//! The five best labels of images, averaged over ten views, by a run folder, a checkpoint or an ONNX file.
//!
//! `cargo run --release --example classify RUN|CHECKPOINT|MODEL.onnx IMAGE...`

use std::path::Path;

use alexnet::eval::{Evaluator, Preprocessing, TestViews};
use alexnet::session::open_devices;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, images @ ..] = &arguments[..] else { return Err("expected a network and images".into()) };
    let images: Vec<&Path> = images.iter().map(Path::new).collect();
    let devices = open_devices(None)?;
    let mut evaluator = Evaluator::open(Path::new(network), &Preprocessing::default(), 8, &devices)?;
    for result in evaluator.classify(&images, TestViews::Ten)? {
        let result = result?;
        println!("{}", result.image);
        for (label, probability) in result.labels {
            println!("  {:5.1} %  {label}", 100.0 * probability);
        }
    }
    Ok(())
}
