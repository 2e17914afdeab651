//! Runs programs on wgpu devices; the only room of the crate that uses wgpu.
//!
//! Files use each other along these arrows, which a test keeps free of circles:
//!
//! ```text
//! tune ─→ measure, replay
//!         measure → buffers
//!         replay ─→ buffers, clock, pace
//!                   buffers → pipeline, staging
//!                             clock, pipeline, staging → device
//!                                                        device ─→ choices → cache
//!                                                        device, summary ─→ capacity → adapter
//! ```

pub mod adapter;
mod buffers;
mod cache;
pub mod choices;
mod clock;
pub mod device;
mod measure;
mod capacity;
mod pace;
pub mod pipeline;
mod replay;
mod staging;
pub mod summary;
#[cfg(test)]
mod testing;
pub mod tune;

pub use self::replay::Gpu;
