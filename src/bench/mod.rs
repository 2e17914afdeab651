//! Measures a network on its devices: a training step with its parts, its kernels beside what a device can do at most,
//! and what crosses between devices.

mod ceilings;
mod kernels;

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

pub use self::ceilings::{Ceilings, Speed};
pub use self::kernels::{DeviceKernels, KernelRow, KernelRun, KernelTimes, kernels};
use crate::backend::{Backend, BackendError, Detail, Span, Traffic};
use crate::data::{Batch, centre_view};
use crate::program::Pass;
use crate::random::{Purpose, Stream};
use crate::session::{Rates, Session, SessionError};

/// Steps before the first that counts: drivers compile in the first, and the pace of submissions is found in two.
const WARM_UP: usize = 3;

/// A training step: of several the one that is in the middle by its time.
#[derive(Clone, Debug, Serialize)]
pub struct StepTimes {
    /// Images of a step.
    pub images: usize,
    /// Steps measured.
    pub steps: usize,
    /// Seconds of a step, from handing over the images to the end of the update.
    pub step: f64,
    /// Images a second.
    pub images_per_second: f64,
    /// What every device did meanwhile.
    pub devices: Vec<DeviceTimes>,
    /// What crossed between devices.
    pub ways: Vec<Way>,
}

/// What a device did in a step, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceTimes {
    /// Letters of its towers, with commas between.
    pub towers: String,
    /// The device.
    pub device: String,
    /// Its times; absent where it has no clock.
    #[serde(flatten)]
    pub parts: Option<Parts>,
}

/// The step as a device spends it: the three add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parts {
    /// Kernels ran.
    pub compute: f64,
    /// It had nothing to do before something from another device had arrived.
    pub waiting: f64,
    /// Everything else: images and loss on their way between host and device, gaps between submissions.
    pub other: f64,
}

/// One way between two devices.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// Letters of the towers there.
    pub from: String,
    /// And here.
    pub to: String,
    /// Bytes in a step.
    pub bytes: u64,
    /// Times that something was handed over in a step.
    pub exchanges: u64,
    /// Seconds that the host spent on it in a step: waiting until it was there, and copying.
    pub host: f64,
}

/// What crosses between devices for one batch, counted where it crosses.
#[derive(Clone, Debug, Serialize)]
pub struct ExchangeTimes {
    /// Images of the batch.
    pub images: usize,
    /// Forward pass; then all of a training step's gradients, forward and back.
    pub passes: Vec<PassTimes>,
}

/// What a pass sends, with nothing computed in between.
#[derive(Clone, Debug, Serialize)]
pub struct PassTimes {
    /// `forward`, or `forward and backward`.
    pub pass: &'static str,
    /// Seconds for all of it, one exchange after the other.
    pub seconds: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Every way.
    pub ways: Vec<Way>,
}

/// Times `steps` training steps on random images.
///
/// # Errors
/// When a device fails.
pub fn step(session: &mut Session, images: usize, steps: usize) -> Result<StepTimes, SessionError> {
    prepare(session)?;
    let batch = random_batch(session, images);
    for number in 0..WARM_UP {
        run_step(session, &batch, number as u64)?;
    }
    let mut measured = Vec::new();
    for number in 0..steps.max(1) {
        session.cluster_mut().start_clock(Detail::Stretches);
        let begin = Instant::now();
        run_step(session, &batch, (WARM_UP + number) as u64)?;
        // Waits for the update, which the score does not.
        let spans = session.cluster_mut().spans()?;
        let time = begin.elapsed().as_secs_f64();
        let parts: Vec<_> = spans.into_iter().map(|spans| spans.map(|spans| parts(&spans, time))).collect();
        measured.push((time, parts, session.cluster().traffic().clone()));
    }
    // All of one step: medians of its parts, each by itself, would not add up to it.
    measured.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (step, parts, traffic) = measured.swap_remove(measured.len() / 2);
    let device = |((towers, device), parts): ((String, String), Option<Parts>)| DeviceTimes { towers, device, parts };
    let devices = session.cluster().devices().into_iter().zip(parts).map(device).collect();
    let ways = ways(session, &traffic);
    Ok(StepTimes { images, steps, step, images_per_second: images as f64 / step, devices, ways })
}

/// Times what crosses between devices for one batch, `repeats` times.
///
/// # Errors
/// When a device fails.
pub fn exchange(session: &mut Session, repeats: usize) -> Result<ExchangeTimes, SessionError> {
    let mut passes = Vec::new();
    for (name, pass) in [("forward", Pass::Evaluate), ("forward and backward", Pass::Gradients)] {
        session.cluster_mut().exchange_all(pass)?;
        let (mut times, mut traffic) = (Vec::new(), BTreeMap::new());
        for _ in 0..repeats {
            session.cluster_mut().start_clock(Detail::Stretches);
            let begin = Instant::now();
            session.cluster_mut().exchange_all(pass)?;
            times.push(begin.elapsed().as_secs_f64());
            traffic.clone_from(session.cluster().traffic());
        }
        let (seconds, ways) = (median(times), ways(session, &traffic));
        let bytes: u64 = ways.iter().map(|way| way.bytes).sum();
        passes.push(PassTimes { pass: name, seconds, bytes_per_second: bytes as f64 / seconds, ways });
    }
    Ok(ExchangeTimes { images: session.images(), passes })
}

fn prepare(session: &mut Session) -> Result<(), SessionError> {
    session.initialise()?;
    let stored = session.net().model.input.stored();
    session.set_mean(&vec![120.0; stored * stored * 3])?;
    // So small that nothing diverges however long it runs; it costs what any other does.
    session.set_rates(Rates { weights: 1e-6, biases: 1e-6, momentum: 0.9, ..Rates::default() })
}

fn run_step(session: &mut Session, batch: &Batch, number: u64) -> Result<(), SessionError> {
    session.gradients(batch, number)?;
    session.update()?;
    session.score().map(drop)
}

/// Random bytes: zeros would be faster than the real thing.
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

/// A step of `time` seconds as the device spent it that worked at these times.
fn parts(spans: &[Span], time: f64) -> Parts {
    let compute: f64 = spans.iter().map(|span| span.end - span.begin).sum();
    let gaps = spans.windows(2).filter(|pair| pair[1].received).map(|pair| (pair[1].begin - pair[0].end).max(0.0));
    let waiting = gaps.fold(0.0, |sum, gap| sum + gap);
    Parts { compute, waiting, other: (time - compute - waiting).max(0.0) }
}

fn ways(session: &Session, traffic: &BTreeMap<(usize, usize), Traffic>) -> Vec<Way> {
    let devices = session.cluster().devices();
    let way = |(&(from, to), traffic): (&(usize, usize), &Traffic)| Way {
        from: devices[from].0.clone(),
        to: devices[to].0.clone(),
        bytes: traffic.bytes,
        exchanges: traffic.exchanges,
        host: traffic.time.as_secs_f64(),
    };
    traffic.iter().map(way).collect()
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
    backend.start_clock(Detail::Commands);
    (0..repeats.max(1)).try_for_each(|_| backend.run_commands(pass, command..command + 1))?;
    let spans = backend.spans()?.unwrap_or_default();
    Ok(spans.into_iter().map(|span| span.end - span.begin).collect())
}

/// The middle one, or the upper of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_computing_waiting_and_the_rest() {
        let span = |begin, end, received| Span { begin, end, received, pass: Pass::Gradients, commands: 0..1 };
        // Three gaps: of one the exchange is the reason, and two spans overlap.
        let spans = [span(1.0, 2.0, true), span(2.5, 3.0, true), span(4.0, 5.0, false), span(4.5, 6.0, true)];
        assert_eq!(parts(&spans, 8.0), Parts { compute: 4.0, waiting: 0.5, other: 3.5 });
        assert_eq!(parts(&[], 1.0), Parts { compute: 0.0, waiting: 0.0, other: 1.0 });
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 4.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
