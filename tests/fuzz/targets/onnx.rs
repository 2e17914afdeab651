//! ONNX files, up to the program of their graph for inputs of the shapes that they ask for.

#![no_main]

use std::sync::Arc;

use alexnet::graph::{ElementType, Extent, Given, GraphInput, lower};
use alexnet::interop::onnx;
use libfuzzer_sys::fuzz_target;

/// What an extent becomes that a file leaves open.
const OPEN: usize = 2;
/// Most whole numbers of an input.
const NUMBERS: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(graph) = onnx::parse(bytes) {
        let given = graph.inputs.iter().map(|input| (graph.name(input.value).to_owned(), given(input)));
        let _ = lower(&graph, &given.collect());
    }
});

fn given(input: &GraphInput) -> Given {
    let extent = |extent: &Extent| if let Extent::Known(extent) = extent { *extent } else { OPEN };
    let dims: Vec<usize> = input.dims.as_deref().unwrap_or_default().iter().map(extent).collect();
    if input.elem != ElementType::Integer {
        return Given::Floats(dims);
    }
    let count = dims.iter().try_fold(1, |count: usize, &extent| count.checked_mul(extent)).unwrap_or(NUMBERS);
    Given::Integers { dims, values: Arc::from(vec![OPEN as i64; count.min(NUMBERS)]) }
}
