//! Work of commands beyond their arguments, apart from training ([`crate::train`]) and scoring ([`crate::eval`]).

pub mod bench;
pub mod convert;
pub mod describe;
pub mod run;
pub mod step;
