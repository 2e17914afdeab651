//! Helpers of unit tests that need an adapter.

use std::sync::{Mutex, PoisonError};

use super::adapter::{adapters, identity};
use super::device::Device;
use crate::backend::device_names::choose;

/// Held while a device is opened, because some drivers crash when two are at once.
static OPENING: Mutex<()> = Mutex::new(());

/// A device of the first adapter that ALEXNET_DEVICES names, or of the best one; without one a test says that it did
/// not run, or fails with ALEXNET_REQUIRE_GPU=1.
pub(super) fn device() -> Option<Device> {
    let variable = |name: &str| std::env::var(name).ok();
    let found = adapters();
    let named =
        variable("ALEXNET_DEVICES").map(|names| names.split(',').find(|&name| name != "cpu").map(str::to_owned));
    let number = match named {
        Some(name) => name.map(|name| choose(&name, &found.iter().map(identity).collect::<Vec<_>>()).unwrap()),
        None => (!found.is_empty()).then_some(0),
    };
    let Some(number) = number else {
        let missing = "no graphics adapter to test on; ./setup installs one";
        assert!(
            variable("ALEXNET_REQUIRE_GPU").is_none_or(|value| value != "1"),
            "ALEXNET_REQUIRE_GPU=1, but {missing}"
        );
        println!("NOT RUN: {missing}");
        return None;
    };
    let _alone = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Device::open(&found[number]).unwrap())
}
