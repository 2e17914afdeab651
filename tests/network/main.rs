//! Networks as a library computes them: shapes, gradients, and sessions on one device and on several.

#[path = "../common/devices.rs"]
mod devices;
#[path = "../common/tiny.rs"]
mod tiny;

mod adapters;
mod alexnet_step;
mod batches;
mod child;
mod engine;
mod exchange;
mod faults;
mod gradients;
mod groups;
mod hybrid;
mod lavapipe;
mod library;
mod memory;
mod overfit;
mod paper;
mod placement;
mod precision;
mod ranks;
mod runs;
mod runs_of_2012;
mod towers;
mod trainer;
mod training;
mod trap;
