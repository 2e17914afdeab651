//! The adapters to test on.

use std::sync::{Mutex, PoisonError};

use alexnet::backend::{Engine, Placement};

/// The adapters to test on: those that ALEXNET_DEVICES names, with commas between, or all of this machine.
///
/// Empty where there is none, which it says; with ALEXNET_REQUIRE_GPU=1 that is a failure.
pub(crate) fn gpus() -> Vec<Engine> {
    let found = match named() {
        Some(names) => names.iter().flat_map(|name| open(name).engines().to_vec()).collect(),
        None => one_by_one(|| Engine::all().expect("every adapter opens")),
    };
    if found.is_empty() {
        not_run("no graphics adapter to test on; ./setup installs one");
    }
    found
}

/// The adapters that ALEXNET_DEVICES names.
fn named() -> Option<Vec<String>> {
    let names = std::env::var("ALEXNET_DEVICES").ok()?;
    Some(names.split(',').filter(|&name| name != "cpu").map(Into::into).collect())
}

/// Says that a test did not run, and why; with ALEXNET_REQUIRE_GPU=1 that is a failure.
#[track_caller]
pub(crate) fn not_run(why: &str) {
    let required = std::env::var("ALEXNET_REQUIRE_GPU").is_ok_and(|value| value == "1");
    assert!(!required, "ALEXNET_REQUIRE_GPU=1, but {why}");
    println!("NOT RUN: {why}");
}

/// The first of [`gpus`].
pub(crate) fn gpu() -> Option<Engine> {
    gpus().into_iter().next()
}

/// What `--devices` takes for `pattern`, such as `gpu,cpu`, where `gpu` stands for the first of [`gpus`]; `None` where
/// it is wanted and there is none.
pub(crate) fn spec(pattern: &str) -> Option<String> {
    if !pattern.contains("gpu") {
        return Some(pattern.into());
    }
    gpu()?;
    let first = named().and_then(|names| names.into_iter().next());
    Some(pattern.replace("gpu", first.as_deref().unwrap_or("0")))
}

/// The devices that `spec` names.
#[track_caller]
pub(crate) fn open(spec: &str) -> Placement {
    one_by_one(|| Placement::open(Some(spec))).unwrap().unwrap()
}

/// Opens devices in one thread at a time, because some drivers crash otherwise.
fn one_by_one<T>(open: impl FnOnce() -> T) -> T {
    static OPENING: Mutex<()> = Mutex::new(());
    let _alone = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    open()
}
