//! The program as a user trains with it: data sets, recipes, checkpoints and what becomes of them.

#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/devices.rs"]
mod devices;
#[path = "../common/tiny.rs"]
mod tiny;

mod augment;
mod datasets;
mod end_to_end;
mod eval;
mod outage;
mod prepare;
#[cfg(feature = "mpi")]
mod ranks;
mod recipe;
mod release;
mod reproduce;
mod resume;
mod same_network;
mod synsets;
mod tune;
