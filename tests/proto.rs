//! The messages of protobuf formats in Rust are what prost-build makes of their text: no build needs protoc.

use std::path::Path;

use prost_build::{Config, Module};

/// Texts, and what is made of each.
const MESSAGES: &[(&str, &str)] = &[
    ("assets/proto/onnx.proto", "src/interop/onnx/proto.rs"),
    ("assets/proto/caffe.proto", "src/interop/caffe/proto.rs"),
];

fn generated(text: &Path) -> String {
    let files = protox::compile([text], text.parent()).unwrap();
    let requests = files.file.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file));
    let modules = Config::new().generate(requests.collect()).unwrap();
    modules.into_values().collect()
}

#[test]
fn messages_are_made_of_their_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (text, rust) in MESSAGES {
        let (want, place) = (generated(&root.join(text)), root.join(rust));
        if std::env::var_os("ALEXNET_BLESS").is_some() {
            std::fs::write(&place, &want).unwrap();
        }
        let found = std::fs::read_to_string(&place).unwrap();
        assert!(
            found == want,
            "{rust} is not what {text} says: ALEXNET_BLESS=1 cargo test --test proto writes it anew"
        );
    }
}
