//! Keeps submissions short. Some drivers take a device away whose work lasts too long at a stretch, Windows after two
//! seconds, and hand the screen's work through only in between.

use std::ops::Range;
use std::time::Duration;

/// Work that goes to a device in one submission, at most; a single command may take longer.
pub(super) const LONGEST: Duration = Duration::from_millis(500);

/// Runs of a pass in which every command is submitted and waited for by itself. The first also compiles on some
/// drivers, so that the second says more.
const MEASURED_RUNS: usize = 2;

/// What the commands of a pass take.
pub(super) struct Pace {
    /// The least time measured, and how often, for every command.
    commands: Vec<(Duration, usize)>,
}

impl Pace {
    /// For commands of which some do work; the others are not measured and take nothing.
    pub(super) fn new(work: impl Iterator<Item = bool>) -> Self {
        let unknown = |work| if work { (Duration::MAX, 0) } else { (Duration::ZERO, MEASURED_RUNS) };
        Self { commands: work.map(unknown).collect() }
    }

    /// Whether a command has still to be measured.
    pub(super) fn wants(&self, command: usize) -> bool {
        self.commands[command].1 < MEASURED_RUNS
    }

    /// A command was measured.
    pub(super) fn measured(&mut self, command: usize, time: Duration) {
        let (least, runs) = &mut self.commands[command];
        *least = time.min(*least);
        *runs += 1;
    }

    /// What a command takes; nothing where that is not known.
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
    use super::*;

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
}
