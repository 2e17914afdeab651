//! Kernels: their declarations, and every variant of each on all engines.

#[expect(dead_code, reason = "kernels run on every adapter")]
#[path = "../common/devices.rs"]
mod devices;

mod parity;
mod precedence;
mod registry;
mod standard;
