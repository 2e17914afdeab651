//! The source text itself: rules that no compiler checks.

mod architecture;
mod dependencies;
mod rooms;
