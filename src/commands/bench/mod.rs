//! Measures a network on its devices: a training step with its parts, its kernels beside what a device can do at most,
//! and what crosses between devices.

mod ceilings;
mod exchange;
mod kernels;
mod step;

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

pub use self::ceilings::{Ceilings, Speed};
pub use self::exchange::{ExchangeTimes, PassTimes, exchange};
pub use self::kernels::{DeviceKernels, KernelRow, KernelRun, KernelTimes, kernels};
pub use self::step::{ForwardTimes, LayerTimes, SteadyTimes, StepTimes, step};
use crate::backend::{Backend, BackendError, ClockDetail, Traffic};
use crate::data::{Batch, centre_view};
use crate::program::Pass;
use crate::random::{Purpose, Stream};
use crate::session::{Rates, Session, SessionError};

/// Traffic from one device to another in a step.
#[derive(Clone, Debug, Serialize)]
pub struct Link {
    /// Letters of the sending device's towers.
    pub from: String,
    /// Letters of the receiving device's towers.
    pub to: String,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Copies between devices for one batch.
    pub exchanges: u64,
    /// Seconds that the host spent on them, waiting and copying.
    pub host: f64,
}

fn prepare(session: &mut Session) -> Result<(), SessionError> {
    session.initialise()?;
    let stored = session.net().model.input.stored();
    session.set_mean(&vec![120.0; stored * stored * 3])?;
    // So small that nothing diverges however long it runs; it costs what any other does.
    session.set_rates(Rates { weights: 1e-6, biases: 1e-6, ..Rates::default() })
}

/// A batch of random pixels: kernels are faster on zeros than on images.
fn random_batch(session: &Session, images: usize) -> Batch {
    let input = session.net().model.input;
    let bytes = images * input.stored() * input.stored() * 3;
    let stream = Stream::new(1, Purpose::Test, 0);
    let words = (0..bytes.div_ceil(16)).flat_map(|i| stream.words(i as u64, 0)).flat_map(u32::to_le_bytes);
    Batch {
        images: words.take(bytes).collect(),
        labels: (0..images).map(|i| (i % session.net().classes()) as u32).collect(),
        views: vec![centre_view((input.stored() - input.size) as u32); images],
        indices: (0..images as u32).collect(),
        count: images,
        skipped: Vec::new(),
        next: images,
    }
}

fn ways(session: &Session, traffic: &BTreeMap<(usize, usize), Traffic>) -> Vec<Link> {
    let devices = session.cluster().devices();
    let link = |(&(from, to), traffic): (&(usize, usize), &Traffic)| Link {
        from: devices[from].0.clone(),
        to: devices[to].0.clone(),
        bytes: traffic.bytes,
        exchanges: traffic.exchanges,
        host: traffic.time.as_secs_f64(),
    };
    traffic.iter().map(link).collect()
}

/// Runs of a command that do not count: drivers compile in the first, and engines measure two for themselves.
const UNCOUNTED: usize = 2;

/// Seconds that one command of a pass takes by itself, of `repeats` runs after some that do not count.
fn command_times(
    backend: &mut dyn Backend,
    pass: Pass,
    command: usize,
    repeats: usize,
) -> Result<Vec<f64>, BackendError> {
    (0..UNCOUNTED).try_for_each(|_| backend.run_commands(pass, command..command + 1))?;
    backend.start_clock(ClockDetail::Commands, Instant::now());
    (0..repeats.max(1)).try_for_each(|_| backend.run_commands(pass, command..command + 1))?;
    let spans = backend.spans()?.unwrap_or_default();
    Ok(spans.into_iter().map(|span| span.end - span.begin).collect())
}

/// The median, the upper of two; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 4.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
