//! Times of a training step and a forward pass: by device, by row of the network, and on the host.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Link, median, prepare, random_batch, ways};
use crate::backend::{ClockDetail, Traffic};
use crate::data::Batch;
use crate::program::{Command, Pass, Phase};
use crate::session::{DeviceTimes, Session, SessionError};

/// Steps before the first that counts: drivers compile in the first, and the pace of submissions is found in two.
const WARM_UP: usize = 3;

/// Steps at most in which every kernel is measured by itself.
const MOST_DETAILED: usize = 5;

/// The training step of median time.
#[derive(Clone, Debug, Serialize)]
pub struct StepTimes {
    /// Images of a step.
    pub images: usize,
    /// Count of measured steps.
    pub steps: usize,
    /// Seconds of a step, from handing over the images to the end of the update.
    pub step: f64,
    /// Images trained on in a second.
    pub images_per_second: f64,
    /// Floating-point operations a second.
    pub flops_per_second: f64,
    /// Seconds of a step in which the host copied images and transfers, encoded and submitted, without those it waited.
    pub host: f64,
    /// The forward pass that scores images.
    pub forward: ForwardTimes,
    /// The step by device.
    pub devices: Vec<DeviceTimes>,
    /// Times of every row of the network by device: medians of further steps, measured kernel by kernel.
    pub layers: Vec<LayerTimes>,
    /// Traffic by pair of devices.
    pub ways: Vec<Link>,
    /// Seconds of every step, in order.
    pub times: Vec<f64>,
    /// As many steps one after the other.
    pub steady: SteadyTimes,
}

/// Training steps in a row, as a run has them: a step is handed over while the one before is computed.
#[derive(Clone, Debug, Serialize)]
pub struct SteadyTimes {
    /// Seconds of a step.
    pub step: f64,
    /// Images trained on in a second.
    pub images_per_second: f64,
    /// Share of the time, 0 to 1, in which each device neither computed nor waited for another, in the order of
    /// [`StepTimes::devices`]; `None` where it has no clock.
    pub idle: Vec<Option<f64>>,
}

/// A forward pass, without dropout masks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ForwardTimes {
    /// Median seconds from handing over the images to the score.
    pub seconds: f64,
    /// Images scored in a second.
    pub images_per_second: f64,
    /// Floating-point operations a second.
    pub flops_per_second: f64,
}

/// The kernels of a row of the network on one device, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTimes {
    /// Letters of the device's towers, with commas between.
    pub towers: String,
    /// Name of the row; `input` for the kernels before the first.
    pub layer: String,
    /// Forward kernels of a training step.
    pub forward: f64,
    /// Backward kernels of a training step.
    pub backward: f64,
    /// Kernels of the update.
    pub update: f64,
    /// Kernels of the pass that scores images.
    pub evaluate: f64,
}

struct Measured {
    time: f64,
    host: f64,
    devices: Vec<DeviceTimes>,
    traffic: BTreeMap<(usize, usize), Traffic>,
}

/// Times `steps` training steps, as many in a row and as many forward passes on random images; tells `progress` how
/// many steps and passes of all are done.
pub fn step(
    session: &mut Session,
    images: usize,
    steps: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<StepTimes, SessionError> {
    let (steps, detailed) = (steps.max(1), steps.clamp(1, MOST_DETAILED));
    let (all, mut done) = (2 * WARM_UP + 3 * steps + detailed, 0);
    let mut more = |count: usize| {
        done += count;
        progress(done, all);
    };
    prepare(session)?;
    let batch = random_batch(session, images);
    for _ in 0..WARM_UP {
        train(session, &batch)?;
        more(1);
    }
    let mut measured = Vec::new();
    for _ in 0..steps {
        measured.push(measure(session, &batch)?);
        more(1);
    }
    let times = measured.iter().map(|step| step.time).collect();
    // All numbers are of one step: medians of each would not add up.
    measured.sort_by(|a, b| a.time.total_cmp(&b.time));
    let Measured { time, host, devices, traffic } = measured.swap_remove(measured.len() / 2);
    let steady = steady(session, &batch, steps)?;
    more(steps);
    let forward = forward(session, &batch, steps, &mut more)?;
    let layers = layers(session, &batch, detailed, &mut more)?;
    Ok(StepTimes {
        images,
        steps,
        step: time,
        images_per_second: images as f64 / time,
        flops_per_second: training_flops(session, images) as f64 / time,
        host,
        forward,
        devices,
        layers,
        ways: ways(session, &traffic),
        times,
        steady,
    })
}

/// Times `steps` steps without a wait for the score of the last one.
fn steady(session: &mut Session, batch: &Batch, steps: usize) -> Result<SteadyTimes, SessionError> {
    let begin = Instant::now();
    session.start_measuring(begin);
    for _ in 0..steps {
        session.gradients(batch, 0)?;
        session.update()?;
    }
    session.score()?;
    let (time, devices) = session.device_times(begin)?;
    let idle = devices.into_iter().map(|device| device.parts.map(|parts| parts.other / time)).collect();
    let step = time / steps as f64;
    Ok(SteadyTimes { step, images_per_second: batch.count as f64 / step, idle })
}

/// Runs a training step to its score; its update may still be running.
fn train(session: &mut Session, batch: &Batch) -> Result<(), SessionError> {
    session.gradients(batch, 0)?;
    session.update()?;
    session.score().map(drop)
}

fn evaluate(session: &mut Session, batch: &Batch) -> Result<(), SessionError> {
    session.evaluate(batch)?;
    session.score().map(drop)
}

fn measure(session: &mut Session, batch: &Batch) -> Result<Measured, SessionError> {
    session.start_measuring(Instant::now());
    let (begin, waited) = (Instant::now(), session.cluster().waited());
    train(session, batch)?;
    let host = worked(begin.elapsed(), session.cluster().waited().saturating_sub(waited));
    // Waits for the update, for which the score does not.
    let (time, devices) = session.device_times(begin)?;
    Ok(Measured { time, host, devices, traffic: session.cluster().traffic().clone() })
}

/// Seconds of `elapsed` without those `waited`.
fn worked(elapsed: Duration, waited: Duration) -> f64 {
    elapsed.saturating_sub(waited).as_secs_f64()
}

fn forward(
    session: &mut Session,
    batch: &Batch,
    repeats: usize,
    more: &mut dyn FnMut(usize),
) -> Result<ForwardTimes, SessionError> {
    let mut times = Vec::new();
    for number in 0..WARM_UP + repeats {
        let begin = Instant::now();
        evaluate(session, batch)?;
        times.extend((number >= WARM_UP).then(|| begin.elapsed().as_secs_f64()));
        more(1);
    }
    let (seconds, images) = (median(times), batch.count);
    let flops = session.lowered().program.flops(Pass::Evaluate) * images.div_ceil(session.images()) as u64;
    let [images_per_second, flops_per_second] = [images as f64 / seconds, flops as f64 / seconds];
    Ok(ForwardTimes { seconds, images_per_second, flops_per_second })
}

/// Floating-point operations of a step with `images` images, in as many batches as that takes.
fn training_flops(session: &Session, images: usize) -> u64 {
    let (program, further) = (&session.lowered().program, images.div_ceil(session.images()) as u64 - 1);
    program.flops(Pass::Gradients) + further * program.flops(Pass::Accumulate) + program.flops(Pass::Update)
}

/// Place of a number in [`LayerTimes`]: member, row and column.
type Place = (usize, String, Column);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Column {
    Forward,
    Backward,
    Update,
    Evaluate,
}

/// Medians of `repeats` steps and forward passes in which every kernel is measured.
fn layers(
    session: &mut Session,
    batch: &Batch,
    repeats: usize,
    more: &mut dyn FnMut(usize),
) -> Result<Vec<LayerTimes>, SessionError> {
    let mut sums: BTreeMap<Place, Vec<f64>> = BTreeMap::new();
    for _ in 0..repeats {
        for (place, seconds) in detailed(session, batch)? {
            sums.entry(place).or_default().push(seconds);
        }
        more(1);
    }
    session.cluster_mut().stop_clock();
    let mut rows: Vec<String> = vec!["input".into()];
    rows.extend(session.net().model.layers.iter().map(|row| row.name.clone()));
    rows.push("update".into());
    let mut all = Vec::new();
    for (member, (towers, _)) in session.cluster().devices().into_iter().enumerate() {
        for layer in &rows {
            let time = |column| sums.get(&(member, layer.clone(), column)).cloned().map_or(0.0, median);
            let [forward, backward, update, evaluate] =
                [Column::Forward, Column::Backward, Column::Update, Column::Evaluate].map(time);
            let times =
                LayerTimes { towers: towers.clone(), layer: layer.clone(), forward, backward, update, evaluate };
            all.extend(Some(times).filter(|_| forward + backward + update + evaluate > 0.0));
        }
    }
    Ok(all)
}

/// Sums over the kernels of a step and a forward pass.
fn detailed(session: &mut Session, batch: &Batch) -> Result<BTreeMap<Place, f64>, SessionError> {
    session.cluster_mut().start_clock(ClockDetail::Commands, Instant::now());
    train(session, batch)?;
    evaluate(session, batch)?;
    let spans = session.cluster_mut().spans()?;
    let mut sums = BTreeMap::new();
    for (member, span) in
        spans.into_iter().enumerate().flat_map(|(i, spans)| spans.into_iter().flatten().map(move |s| (i, s)))
    {
        let Command::Run { label, .. } = &session.cluster().part(member).commands(span.pass)[span.commands.start]
        else {
            continue;
        };
        let column = match (span.pass, label.phase) {
            (Pass::Evaluate, _) => Column::Evaluate,
            (_, Phase::Forward) => Column::Forward,
            (_, Phase::Backward) => Column::Backward,
            (_, Phase::Update) => Column::Update,
        };
        *sums.entry((member, label.layer.to_string(), column)).or_default() += span.end - span.begin;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_waited_all_the_time_did_not_work() {
        let [long, short] = [Duration::from_secs(3), Duration::from_secs(1)];
        assert_eq!(worked(long, short), 2.0);
        assert_eq!(worked(short, long), 0.0);
    }
}
