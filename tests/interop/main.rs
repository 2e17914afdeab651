//! Files of other programs, read and written.

#[expect(dead_code, reason = "nothing is trained")]
#[path = "../common/cli.rs"]
mod cli;
#[expect(dead_code, reason = "files run on every adapter")]
#[path = "../common/devices.rs"]
mod devices;
#[path = "../common/tiny.rs"]
mod tiny;

mod checkpoints;
mod formats;
mod onnx;
mod proto;
mod weights;
