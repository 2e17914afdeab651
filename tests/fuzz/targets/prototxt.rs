//! Networks of Caffe as text.

#![no_main]

use alexnet::interop::caffe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = caffe::parse_text(text);
});
