//! Mean files: `.binaryproto` and `.npy`.

#![no_main]

use alexnet::interop::{caffe, npy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = caffe::parse_mean(bytes);
    if let Ok(npy::Array::Floats(mean)) = npy::parse(bytes) {
        let _ = caffe::mean_of(&mean);
    }
});
