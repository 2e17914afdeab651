//! Pictures and pages of runs: learning curves, filters, mistakes, placement. Nothing here trains.
//!
//! A [`Chart`] or anything else that is drawn becomes a [`Picture`], a list of marks, which is written as SVG or as
//! PNG, or put on a [`Page`], one HTML file that asks for nothing else.

mod about;
mod board;
mod chart;
mod compare;
mod confusion;
mod content;
mod curves;
mod filters;
mod mistakes;
mod page;
mod picture;
mod placement;
mod png;
mod reproduced;
mod smooth;
mod svg;

pub use self::about::about;
pub use self::board::Board;
pub use self::chart::{Chart, Scale, Series, short};
pub use self::compare::compare;
pub use self::confusion::confusion;
pub use self::content::{Content, Depth, Images, Network, ReportError};
pub use self::curves::{Curve, Over, chart, names};
pub use self::filters::{Contrast, FilterError, Filters, filters_over_training};
pub use self::mistakes::Shown;
pub use self::page::{Block, Page, Part};
pub use self::picture::{Picture, Pixels, stacked};
pub use self::placement::placement;
pub use self::png::png_file;
pub use self::reproduced::reproduced;
pub use self::svg::svg_file;
