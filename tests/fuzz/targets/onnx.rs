//! ONNX files.

#![no_main]

use alexnet::interop::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = onnx::parse(bytes);
});
