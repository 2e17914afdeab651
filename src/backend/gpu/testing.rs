//! For unit tests that need an adapter.

use super::device::{Device, adapters};

/// A device of the best adapter; without one a test says that it did not run, or fails where it has to.
pub(super) fn device() -> Option<Device> {
    let Some(adapter) = adapters().into_iter().next() else {
        assert!(std::env::var("ALEXNET_REQUIRE_GPU").is_err(), "ALEXNET_REQUIRE_GPU is set, but there is no adapter");
        println!("NOT RUN: no graphics adapter to test on; ./setup installs one");
        return None;
    };
    Some(Device::open(&adapter).unwrap())
}
