//! A network over two adapters of two drivers. Where the machine has one adapter only, a copy of Mesa's software driver
//! is the second; see `lavapipe`.

use std::path::Path;

use alexnet::backend::gpu::summary::summaries;
use alexnet::net::Model;
use serde_json::Value;

use crate::child::report;
use crate::devices::open;
use crate::lavapipe::{Lavapipe, run_with};
use crate::training::{assert_close, assert_same, assert_trained, gentle, mini, train};

/// Training steps of `mini` in each test.
const STEPS: usize = 20;

/// Names the driver file of another driver, such as another version of Mesa, for the test that needs two unlike ones.
const OTHER_DRIVER: &str = "ALEXNET_OTHER_DRIVER";

/// What the ignored test `name` reports from a machine whose adapters are two equal ones of two drivers.
fn with_two_equal_adapters(name: &str) -> Option<Value> {
    let lavapipe = Lavapipe::find()?;
    let folder = tempfile::tempdir().unwrap();
    Some(run_with(&[&lavapipe.file, &lavapipe.copy_to(folder.path())], name))
}

#[test]
fn two_equal_adapters_are_listed() {
    let Some(adapters) = with_two_equal_adapters("adapters::lists_adapters") else { return };
    let adapters = adapters.as_array().unwrap();
    assert_eq!(adapters.len(), 2, "{adapters:?}");
    assert_eq!(adapters[0], adapters[1]);
    assert!(adapters[0].as_str().unwrap().contains("llvmpipe"), "{adapters:?}");
}

#[test]
#[ignore = "run by two_equal_adapters_are_listed in a process of its own"]
fn lists_adapters() {
    report(listed);
}

/// Name and driver of every adapter, in the order of their numbers.
fn listed() -> Vec<String> {
    summaries()
        .into_iter()
        .map(|adapter| format!("{} ({} {})", adapter.name, adapter.driver, adapter.version))
        .collect()
}

/// Checks that two devices of `specs` give the bits of one; the losses.
fn same_bits(model: &Model, steps: usize, specs: &[&str]) -> Vec<f64> {
    let about = |spec| format!("{} towers on {spec}", model.towers);
    let alone = train(&open("0"), model, steps);
    assert_trained(&about("0"), &alone);
    for &spec in specs {
        let run = train(&open(spec), model, steps);
        assert_eq!(run.device.contains("; tower b"), model.towers > 1, "{}: {}", about(spec), run.device);
        assert_same(&about(spec), &run, &alone);
    }
    alone.losses
}

#[test]
fn mini_on_two_adapters_gives_the_bits_of_one() {
    let Some(losses) = with_two_equal_adapters("adapters::trains_mini") else { return };
    println!("losses {losses}");
}

#[test]
#[ignore = "run by mini_on_two_adapters_gives_the_bits_of_one in a process of its own"]
fn trains_mini() {
    report(|| {
        let losses = [1, 2, 4].map(|towers| same_bits(&mini(towers), STEPS, &["0,1"])); // `placement` has "0,0"
        assert!(losses.iter().all(|losses| losses.last() < losses.first()), "nothing was learnt: {losses:?}");
        losses
    });
}

#[test]
fn alexnet_on_two_adapters_gives_the_bits_of_one() {
    let Some(losses) = with_two_equal_adapters("adapters::trains_alexnet") else { return };
    println!("losses {losses}");
}

#[test]
#[ignore = "run by alexnet_on_two_adapters_gives_the_bits_of_one in a process of its own"]
fn trains_alexnet() {
    report(|| {
        let mut model = Model::open("alexnet").unwrap();
        model.train.batch = 8;
        same_bits(&model, 2, &["0,0", "0,1"]) // the second with the increment of the first
    });
}

/// Checks that two unlike adapters agree, alone and side by side in either order.
fn agree(first: usize, second: usize) {
    let losses = |spec: &str| train(&open(spec), &gentle(), STEPS).losses;
    let want = losses(&first.to_string());
    println!("{first}: {want:?}");
    for spec in [second.to_string(), format!("{first},{second}"), format!("{second},{first}")] {
        let got = losses(&spec);
        println!("{spec}: {got:?}");
        let largest = assert_close(&spec, &got, &want);
        println!("{spec}: at most {largest:.1e} from {first}, relative");
    }
}

#[test]
fn adapters_of_two_drivers_agree() {
    let Some(other) = std::env::var_os(OTHER_DRIVER) else {
        println!("NOT RUN: {OTHER_DRIVER} names no driver file");
        return;
    };
    let Some(lavapipe) = Lavapipe::find() else { return };
    run_with(&[&lavapipe.file, Path::new(&other)], "adapters::trains_on_two_drivers");
}

#[test]
#[ignore = "run by adapters_of_two_drivers_agree in a process of its own"]
fn trains_on_two_drivers() {
    report(|| {
        let names = listed();
        println!("{names:#?}");
        // The loader lists drivers in an order of its own.
        let other = names.iter().position(|name| *name != names[0]);
        agree(0, other.unwrap_or_else(|| panic!("{OTHER_DRIVER}: no two unlike adapters")));
    });
}

#[test]
fn a_gpu_beside_a_software_adapter_agrees_with_the_gpu_alone() {
    let found = summaries();
    let position = |software| found.iter().position(|adapter| (adapter.kind == "software") == software);
    match (position(false), position(true)) {
        (Some(gpu), Some(software)) => agree(gpu, software),
        _ => println!("NOT RUN: needs a hardware and a software adapter"),
    }
}
