//! Messages of protobuf formats in Rust are what prost-build makes of `assets/proto`, so that no build needs protoc.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use alexnet::interop::wire::{self, Schema};
use prost_build::{Config, Module};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};

/// Texts, and the file of Rust that is generated from each.
const MESSAGES: &[(&str, &str)] = &[
    ("assets/proto/onnx.proto", "src/interop/onnx/proto.rs"),
    ("assets/proto/caffe.proto", "src/interop/caffe/proto.rs"),
    ("assets/proto/tensorboard.proto", "src/report/board/proto.rs"),
];

/// Rust for the messages in `text`, whose comments are not repeated.
fn generated(text: &Path) -> String {
    let files = protox::compile([text], text.parent()).unwrap();
    let requests = files.file.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file));
    let modules = Config::new().disable_comments(["."]).generate(requests.collect()).unwrap();
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
            "{rust} is not what {text} says: ALEXNET_BLESS=1 cargo test --test interop proto writes it anew"
        );
    }
}

/// Schemas for estimates of memory are those of the texts.
#[test]
fn fields_that_grow_are_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (text, name, schema) in [
        ("assets/proto/onnx.proto", ".onnx.ModelProto", &wire::ONNX),
        ("assets/proto/caffe.proto", ".caffe.NetParameter", &wire::CAFFE),
        ("assets/proto/caffe.proto", ".caffe.BlobProto", &wire::BLOB),
    ] {
        let path = root.join(text);
        let mut messages = BTreeMap::new();
        for file in protox::compile([&path], path.parent()).unwrap().file {
            flatten(&format!(".{}", file.package()), file.message_type, &mut messages);
        }
        agree(name, schema, &messages, &mut BTreeSet::new());
    }
}

/// Adds all messages, nested ones too, by their full names.
fn flatten(parent: &str, from: Vec<DescriptorProto>, into: &mut BTreeMap<String, DescriptorProto>) {
    for mut message in from {
        let name = format!("{parent}.{}", message.name());
        flatten(&name, std::mem::take(&mut message.nested_type), into);
        into.insert(name, message);
    }
}

/// Checks a message and those in it, each once: a graph can hold graphs.
fn agree<'m>(
    name: &'m str,
    schema: &'static Schema,
    messages: &'m BTreeMap<String, DescriptorProto>,
    seen: &mut BTreeSet<(&'m str, *const Schema)>,
) {
    if !seen.insert((name, schema)) {
        return;
    }
    let fields = &messages[name].field;
    let number = |field: &FieldDescriptorProto| u32::try_from(field.number()).unwrap();
    let is_number =
        |kind| matches!(kind, Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Bool | Type::Enum);
    let grows = |field: &&FieldDescriptorProto| field.label() == Label::Repeated && is_number(field.r#type());
    let numbers: Vec<u32> = fields.iter().filter(grows).map(number).collect();
    assert_eq!(schema.integers, numbers, "{name}");
    let inner: Vec<_> = fields.iter().filter(|field| field.r#type() == Type::Message).collect();
    assert_eq!(schema.messages.len(), inner.len(), "{name}");
    for (field, (known, schema)) in inner.into_iter().zip(schema.messages) {
        assert_eq!(*known, number(field), "{name}");
        agree(field.type_name(), schema, messages, seen);
    }
}
