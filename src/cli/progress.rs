//! Log lines and progress bars that do not overwrite each other.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use indicatif_log_bridge::LogWrapper;

use super::output::shown;
use alexnet::backend::SetupProgress;

/// All bars of the program.
pub(super) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// A bar that shows how far a network is set up on a device: kernels are compiled and, the first time, measured.
pub(super) fn preparing() -> impl Fn(SetupProgress) + 'static {
    let shown: RefCell<Option<ProgressBar>> = RefCell::default();
    move |SetupProgress { done, total, kernel }| {
        let mut shown = shown.borrow_mut();
        if done == total {
            shown.take().inspect(ProgressBar::finish_and_clear);
            return;
        }
        let bar = shown.get_or_insert_with(|| {
            // The template is a constant; a slip in it falls back to the default style.
            let style = ProgressStyle::with_template("setting up {bar:30} {pos}/{len} {msg}");
            bars()
                .add(ProgressBar::new(total as u64))
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(done as u64);
        bar.set_message(kernel);
    }
}

/// Starts logging: warnings of everything, what `RUST_LOG` asks for besides; quiet about drivers that explain
/// themselves at length.
pub(super) fn init() {
    let environment = env_logger::Env::default().default_filter_or("warn,wgpu_hal=error,wgpu_core=error");
    let logger = env_logger::Builder::from_env(environment)
        .format(|to, record| {
            let (level, style) = (record.level(), to.default_level_style(record.level()));
            writeln!(to, "[{style}{level:<5}{style:#} {}] {}", record.target(), shown(record.args()))
        })
        .build();
    let level = logger.filter();
    // A second initialisation (in tests) keeps the first logger.
    if LogWrapper::new(bars().clone(), logger).try_init().is_ok() {
        log::set_max_level(level);
    }
}
