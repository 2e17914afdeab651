//! Networks of Caffe with their weights.

#![no_main]

use alexnet::interop::caffe;
use alexnet::net::{Model, Net};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(network) = caffe::parse(bytes) else { return };
    let Ok(mut tensors) = network.tensors() else { return };
    let net = Net::new(Model::open("mini").unwrap()).unwrap();
    let _ = network.agrees_with(&net.model);
    let _ = network.ungroup(&net, &mut tensors);
});
