//! Files of runs: configurations as text, and metrics.

#![no_main]

use alexnet::runs::Run;
use alexnet::train::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let run = Run::parse(bytes);
    let _ = (run.epoch_steps(), run.drops(), run.device_names());
    let _ = run.validations.iter().map(|metric| run.epochs(metric)).count();
    if let Ok(config) = str::from_utf8(bytes).map_or(Err(()), |text| Config::parse(text).map_err(drop)) {
        let _ = (config.check(), config.job());
    }
});
