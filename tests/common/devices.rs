//! The adapters to test on.

use alexnet::backend::{Engine, Placement};

/// Adapters to test on: all of this machine, or the one that ALEXNET_DEVICES names.
///
/// Empty where there is none, which it says; with ALEXNET_REQUIRE_GPU=1 that is a failure.
pub(crate) fn gpus() -> Vec<Engine> {
    let found = match std::env::var("ALEXNET_DEVICES") {
        Ok(spec) => Placement::open(Some(&spec)).expect("ALEXNET_DEVICES").map_or(vec![], |p| p.engines().to_vec()),
        Err(_) => Engine::all().expect("every adapter opens"),
    };
    let found: Vec<_> = found.into_iter().filter(|engine| matches!(engine, Engine::Gpu(_))).collect();
    if found.is_empty() {
        assert!(
            !required(),
            "ALEXNET_REQUIRE_GPU=1, but there is no graphics adapter to test on; ./setup installs one"
        );
        println!("NOT RUN: no graphics adapter to test on; ./setup installs one");
    }
    found
}

/// Whether a test that cannot run is a failure.
pub(crate) fn required() -> bool {
    std::env::var("ALEXNET_REQUIRE_GPU").is_ok_and(|value| value == "1")
}

/// What `--devices` takes for the best of [`gpus`].
pub(crate) fn gpu_spec() -> Option<String> {
    gpu().map(|_| std::env::var("ALEXNET_DEVICES").unwrap_or_else(|_| "0".into()))
}

/// The best of [`gpus`].
pub(crate) fn gpu() -> Option<Engine> {
    gpus().into_iter().next()
}
