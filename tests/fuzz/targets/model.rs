//! Model files, up to the graph of their layers.

#![no_main]

use alexnet::net::{Model, Net};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(model) = Model::parse("model", text) {
        let _ = Net::new(model);
    }
});
