//! Keeps submissions short. Some drivers reset a device whose work takes too long, Windows after two seconds, and draw
//! the screen only between submissions.

use std::ops::Range;
use std::time::Duration;

/// The longest time that the commands of one submission may take; a single command may take longer.
pub(super) const LONGEST: Duration = Duration::from_millis(500);

/// Runs of a pass in which every command is submitted and waited for by itself. On some drivers the first also
/// compiles, so the second is more accurate.
const MEASURED_RUNS: usize = 2;

/// Measured times of the commands of a pass.
pub(super) struct Pace {
    /// The least time measured and the number of measurements, for every command.
    commands: Vec<(Duration, usize)>,
}

impl Pace {
    /// The pace of commands, of which only those with `work` are measured; the others take no time.
    pub(super) fn new(work: impl Iterator<Item = bool>) -> Self {
        let unknown = |work| if work { (Duration::MAX, 0) } else { (Duration::ZERO, MEASURED_RUNS) };
        Self { commands: work.map(unknown).collect() }
    }

    /// Whether a command still has to be measured.
    pub(super) fn wants(&self, command: usize) -> bool {
        self.commands[command].1 < MEASURED_RUNS
    }

    pub(super) fn measured(&mut self, command: usize, time: Duration) {
        let (least, runs) = &mut self.commands[command];
        *least = time.min(*least);
        *runs += 1;
    }

    /// The time of a command; zero where it is unknown.
    pub(super) fn time(&self, command: usize) -> Duration {
        let (least, runs) = self.commands[command];
        if runs == 0 { Duration::ZERO } else { least }
    }

    /// `range` in pieces that take no longer than `longest`, or have only one command that works. One that has to be
    /// measured is the last of its piece, and the only one that works.
    pub(super) fn pieces(&self, range: Range<usize>, longest: Duration) -> Vec<Range<usize>> {
        let mut pieces: Vec<Range<usize>> = Vec::new();
        let mut total = Duration::ZERO;
        for command in range {
            let (time, wanted) = (self.time(command), self.wants(command));
            match pieces.last_mut() {
                Some(piece)
                    if !self.wants(piece.end - 1) && (total.is_zero() || !wanted && total + time <= longest) =>
                {
                    piece.end = command + 1;
                    total += time;
                }
                _ => {
                    pieces.push(command..command + 1);
                    total = time;
                }
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::*;
    use crate::backend::gpu::device::Device;
    use crate::backend::gpu::{Gpu, testing, tune::VariantChoice};
    use crate::backend::{Backend, Data};
    use crate::net::{Job, Model, Net, lower};
    use crate::ops::optimizer::sgd::SGD;
    use crate::ops::step;
    use crate::program::{Pass, Slot};
    use crate::random::{Purpose, Stream};

    fn pace(milliseconds: &[u64]) -> Pace {
        let mut pace = Pace::new(milliseconds.iter().map(|_| true));
        for _ in 0..MEASURED_RUNS {
            for (command, &time) in milliseconds.iter().enumerate() {
                assert!(pace.wants(command));
                pace.measured(command, Duration::from_millis(time));
            }
        }
        pace
    }

    #[test]
    fn pieces_end_before_they_take_too_long() {
        let pace = pace(&[300, 100, 100, 1, 700, 200, 300]);
        let pieces = |range| pace.pieces(range, LONGEST);
        assert_eq!(pieces(0..7), [0..3, 3..4, 4..5, 5..7]);
        assert_eq!(pieces(1..6), [1..4, 4..5, 5..6]);
        assert!(pieces(3..3).is_empty());
    }

    #[test]
    fn what_is_not_measured_goes_by_itself() {
        let mut pace = pace(&[1, 1, 1, 1]);
        assert_eq!(pace.pieces(0..4, LONGEST).len(), 1);
        pace.commands[2] = (Duration::from_millis(1), 1);
        assert_eq!(pace.pieces(0..4, LONGEST), [0..2, 2..3, 3..4]);
    }

    #[test]
    fn what_is_no_work_is_not_measured() {
        let mut pace = Pace::new([true, false, true].into_iter());
        assert_eq!(pace.pieces(0..3, LONGEST), [0..1, 1..3]);
        for command in [0, 2, 0, 2] {
            pace.measured(command, Duration::from_millis(600));
        }
        assert_eq!(pace.pieces(0..3, LONGEST), [0..1, 1..3]);
        assert_eq!(pace.pieces(1..3, LONGEST).len(), 1);
    }

    #[test]
    fn the_least_time_counts() {
        let mut pace = Pace::new([true].into_iter());
        assert_eq!(pace.time(0), Duration::ZERO);
        pace.measured(0, Duration::from_secs(2));
        pace.measured(0, Duration::from_secs(1));
        assert_eq!(pace.time(0), Duration::from_secs(1));
        assert!(!pace.wants(0));
    }

    /// Two steps of `mini` where every command is said to take `time`, or is measured: all weights, and how many
    /// submissions the gradients take.
    fn two_steps(device: &Rc<Device>, time: Option<Duration>) -> (Vec<Vec<f32>>, usize) {
        let net = Net::new(Model::open("mini").unwrap()).unwrap();
        let lowered = lower(&net, &Job::training(8));
        let program = &lowered.program;
        let mut gpu = Gpu::new(device, program.clone(), VariantChoice::Fastest).unwrap();
        for recording in &mut gpu.recordings {
            let work = (0..recording.dispatches.len()).filter(|&command| recording.dispatches[command].is_some());
            for (command, time) in work.filter_map(|command| time.map(|time| (command, time))) {
                (0..MEASURED_RUNS).for_each(|_| recording.pace.measured(command, time));
            }
        }
        let numbers =
            |slot: Slot| Stream::new(1, Purpose::Test, slot.0 as u32).normal_vec(program.slot(slot).count(), 0.1);
        for trained in &lowered.trained {
            gpu.write(trained.value, Data::F32(&numbers(trained.value))).unwrap();
        }
        for updated in &lowered.updated {
            let rule = updated.rule_of(&SGD, &BTreeMap::new(), |_| (0.01, 0.0));
            gpu.write(updated.rule, Data::F32(&rule)).unwrap();
        }
        let stored = lowered.source.stored().unwrap();
        let pixels: Vec<u32> = numbers(stored.pixels).into_iter().map(f32::to_bits).collect();
        gpu.write(stored.pixels, Data::U32(&pixels)).unwrap();
        gpu.write(lowered.labels, Data::U32(&[0, 1, 2, 3, 4, 5, 6, 7])).unwrap();
        for number in 0..2 {
            gpu.write(lowered.step, Data::U32(&step::words(1, number, 8, 0))).unwrap();
            Backend::run(&mut gpu, Pass::Gradients).unwrap();
            Backend::run(&mut gpu, Pass::Update).unwrap();
        }
        let recording = gpu.recordings.iter().find(|recording| recording.pass == Pass::Gradients).unwrap();
        let submissions = recording.pace.pieces(0..recording.dispatches.len(), LONGEST).len();
        (lowered.trained.iter().map(|trained| gpu.read(trained.value).unwrap()).collect(), submissions)
    }

    #[test]
    fn pieces_give_the_bits_of_the_whole() {
        let Some(device) = testing::device().map(Rc::new) else { return };
        let (whole, one) = two_steps(&device, Some(Duration::from_nanos(1)));
        assert!(one == 1 && whole.iter().flatten().all(|weight| weight.is_finite()));
        let (alone, all) = two_steps(&device, Some(LONGEST * 2));
        let (pairs, half) = two_steps(&device, Some(LONGEST / 2));
        assert!(all > 40 && half == all.div_ceil(2), "{all} and {half} pieces");
        let (measured, _) = two_steps(&device, None);
        for (name, pieces) in [("alone", alone), ("in pairs", pairs), ("measured", measured)] {
            let bits =
                |weights: &[Vec<f32>]| weights.iter().flatten().map(|weight| weight.to_bits()).collect::<Vec<_>>();
            assert!(bits(&pieces) == bits(&whole), "commands {name}: other weights");
        }
    }
}
