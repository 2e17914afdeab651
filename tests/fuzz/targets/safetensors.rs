//! Checkpoints and other safetensors files.

#![no_main]

use alexnet::checkpoint::Checkpoint;
use alexnet::files::TensorFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = TensorFile::parse(bytes).map(|file| (file.metadata("classes").map(str::to_owned), file.floats()));
    let _ = Checkpoint::parse(bytes);
});
