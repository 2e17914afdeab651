//! Kernels as files for other compilers: what is written is standard WGSL, and its index says all that a run needs.

use std::collections::BTreeSet;
use std::path::Path;

use alexnet::commands::shaders::{self, BufferEntry};
use alexnet::kernel::Kernel;
use alexnet::ops::KERNELS;

/// Whether `text` is WGSL without extensions of naga: its attribute, its matrices, its 64-bit integers.
fn is_standard(text: &str) -> bool {
    ["@unroll", "wgpu_cooperative_matrix", "coopLoad", "u64"].iter().all(|word| !text.contains(word))
}

fn extent(buffer: &BufferEntry, expected: bool) -> usize {
    let bytes = match (buffer.element, expected) {
        ("f16", false) => 2,
        ("f32" | "f16", true) => 8,
        _ => 4,
    };
    buffer.count * bytes
}

#[test]
fn shaders_are_written_with_all_that_a_run_needs() {
    let names = ["conv.forward", "pool.max_forward", "bias.backward", "half.pack"];
    let kernels: Vec<&'static Kernel> = KERNELS.iter().copied().filter(|k| names.contains(&k.name)).collect();
    assert_eq!(kernels.len(), names.len());
    let folder = tempfile::tempdir().unwrap();
    let index = shaders::write(folder.path(), &kernels).unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&read("index.json")).unwrap();
    assert_eq!(json["shaders"].as_array().unwrap().len(), index.shaders.len());
    let mut listed: BTreeSet<String> = BTreeSet::from(["index.json".to_owned()]);
    for entry in &index.shaders {
        let text = String::from_utf8(read(&entry.file)).unwrap();
        let bound: BTreeSet<u32> = entry.stages.iter().flat_map(|stage| stage.bindings.iter().copied()).collect();
        for stage in &entry.stages {
            assert!(text.contains(&format!("fn {}(", stage.entry)), "{}", entry.file);
            assert!(stage.workgroups.iter().all(|&count| (1..=65_535).contains(&count)), "{:?}", stage.workgroups);
        }
        assert_eq!(is_standard(&text), !entry.words && !entry.matrix, "{}", entry.file);
        assert_eq!(text.starts_with("enable subgroups;\n"), entry.subgroup_size.is_some(), "{}", entry.file);
        let data = read(&entry.data);
        let scratch = entry.scratch.iter().inspect(|scratch| assert!(scratch.bytes > 0, "{}", entry.file));
        let numbers: BTreeSet<u32> = entry.bindings.iter().map(|buffer| buffer.binding).collect();
        assert_eq!(numbers.len(), entry.bindings.len(), "{}", entry.file);
        assert_eq!(bound, &numbers | &scratch.map(|scratch| scratch.binding).collect(), "{}", entry.file);
        assert_eq!(entry.stages.len(), if entry.scratch.is_some() { 2 } else { 1 }, "{}", entry.file);
        for buffer in &entry.bindings {
            assert!(text.contains(&format!("@group(0) @binding({}) var<storage", buffer.binding)), "{}", entry.file);
            assert!(buffer.given + extent(buffer, false) <= data.len(), "{} {}", entry.data, buffer.name);
            assert!(buffer.expected.is_none_or(|at| at % 8 == 0 && at + extent(buffer, true) <= data.len()));
        }
        assert!(entry.bindings.iter().any(|buffer| buffer.expected.is_some()), "{}", entry.file);
        listed.extend([entry.file.clone(), entry.data.clone()]);
    }
    let found = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(found.map(|file| file.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>(), listed);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder: &Path = &file.path().join("shaders");
    let error = shaders::write(folder, &[]).unwrap_err().to_string();
    assert!(error.contains("shaders: cannot be created"), "{error}");
}
