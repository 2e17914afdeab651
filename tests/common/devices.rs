//! The adapters to test on.

use std::sync::{Mutex, OnceLock, PoisonError};

use alexnet::backend::{Engine, Placement};

const NONE: &str = "no graphics adapter to test on; ./setup installs one";

/// The adapters to test on: those that ALEXNET_DEVICES names, with commas between, or all of this machine.
///
/// Empty where there is none, which it says; with ALEXNET_REQUIRE_GPU=1 that is a failure.
pub(crate) fn gpus() -> Vec<Engine> {
    let found = match named() {
        Some(names) => names.iter().flat_map(|name| open(name).engines().to_vec()).collect(),
        None => one_by_one(|| Engine::all().expect("every adapter opens")),
    };
    if found.is_empty() {
        not_run(NONE);
    }
    found
}

/// Whether there is one of [`gpus`], which are opened only once in a process to find out.
fn is_there_a_gpu() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| gpu().is_some());
    if !found {
        not_run(NONE);
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
    if !is_there_a_gpu() {
        return None;
    }
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
