//! Checkpoints and other safetensors files.

#![no_main]

use alexnet::checkpoint::{Checkpoint, parse_tensors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_tensors(bytes, "classes");
    let _ = Checkpoint::parse(bytes);
});
