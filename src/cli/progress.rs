//! Log lines and progress bars that do not overwrite each other.

use std::sync::OnceLock;

use indicatif::MultiProgress;
use indicatif_log_bridge::LogWrapper;

/// All bars of the program.
pub(super) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Starts logging: warnings of everything, what `RUST_LOG` asks for besides; quiet about drivers that explain
/// themselves at length.
pub(super) fn init() {
    let environment = env_logger::Env::default().default_filter_or("warn,wgpu_hal=error,wgpu_core=error");
    let logger = env_logger::Builder::from_env(environment).format_timestamp(None).build();
    let level = logger.filter();
    // A second initialisation (in tests) keeps the first logger.
    if LogWrapper::new(bars().clone(), logger).try_init().is_ok() {
        log::set_max_level(level);
    }
}
