//! Images in every format that is decoded, up to the square of a network.

#![no_main]

use alexnet::data::Image;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = Image::decode("image", bytes) {
        let _ = image.square("image", 8);
    }
});
