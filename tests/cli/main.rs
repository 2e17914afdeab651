//! Commands that do not train to an end: what they print, and what they refuse.

#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/devices.rs"]
mod devices;
#[path = "../common/tiny.rs"]
mod tiny;

mod bad_input;
mod bench;
#[cfg(target_os = "linux")]
mod columns;
mod figures;
mod groups;
mod layout;
mod listings;
mod messages;
mod outputs;
#[cfg(unix)]
mod pipes;
mod readme;
mod reports;
#[cfg(unix)]
mod signals;
mod step;
