//! State dicts of PyTorch: whole archives, whose sums few inputs get past, and pickles beside storages of 64 bytes.

#![no_main]

use alexnet::interop::pth;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = pth::parse(bytes).map(|mut dict| dict.read(|_| true));
    let (storage, pickle) = bytes.split_at(bytes.len().min(64));
    let _ = pth::unpickle(pickle, bytes.len(), |_| Ok(storage.to_vec())).map(|mut dict| dict.read(|_| true));
});
