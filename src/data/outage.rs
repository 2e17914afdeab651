//! Reading through outages: a disk that is away for a while makes no broken images.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::ImageError;

/// First wait before an image is read again; every further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);

/// Number of waits, together 64 seconds.
pub(super) const WAITS: u32 = 8;

/// Longest sleep without a look at whether the work is to stop.
const NAP: Duration = Duration::from_millis(50);

/// Outages of one split, shared by the threads that read it.
#[derive(Debug)]
pub(super) struct Outage {
    first: Duration,
    /// Whether the present one has been logged.
    logged: AtomicBool,
}

impl Default for Outage {
    fn default() -> Self {
        Self::waiting(FIRST)
    }
}

impl Outage {
    /// Outages in which the first wait is `first`.
    pub(super) fn waiting(first: Duration) -> Self {
        Self { first, logged: AtomicBool::new(false) }
    }

    /// The result of `attempt`, repeated with growing waits while the image cannot be read and `stop` is not set.
    pub(super) fn endure<T>(
        &self,
        stop: &AtomicBool,
        attempt: impl Fn() -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let mut result = attempt();
        for wait in (0..WAITS).map(|doublings| self.first * (1 << doublings)) {
            let Err(error @ ImageError::Read(..)) = &result else { return result };
            if !self.logged.swap(true, Ordering::Relaxed) {
                log::warn!("{error}; trying again for about a minute");
            }
            if !pause(wait, stop) {
                return result;
            }
            result = attempt();
            if !matches!(result, Err(ImageError::Read(..))) && self.logged.swap(false, Ordering::Relaxed) {
                log::warn!("images can be read again");
            }
        }
        result
    }
}

/// Sleeps for `time`; whether `stop` was not set in the meantime.
fn pause(time: Duration, stop: &AtomicBool) -> bool {
    let begin = Instant::now();
    while let Some(left) = time.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        sleep(left.min(NAP));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;

    /// The result of a reader that fails `failures` times, and its calls.
    fn read(failures: u32, stop: bool) -> (Result<u32, ImageError>, u32) {
        let calls = Cell::new(0);
        let attempt = || {
            calls.set(calls.get() + 1);
            let lost = || ImageError::Read("x.jpg".into(), io::Error::other("the disk is away"));
            if calls.get() > failures { Ok(7) } else { Err(lost()) }
        };
        let result = Outage::waiting(Duration::from_micros(1)).endure(&AtomicBool::new(stop), attempt);
        (result, calls.get())
    }

    #[test]
    fn a_reader_that_fails_for_a_while_is_waited_for() {
        for (failures, calls) in [(0, 1), (1, 2), (WAITS, WAITS + 1)] {
            let (result, called) = read(failures, false);
            assert_eq!((result.unwrap(), called), (7, calls));
        }
        let (result, called) = read(WAITS + 1, false);
        assert_eq!((result.unwrap_err().to_string().as_str(), called), ("x.jpg: cannot be read (the disk is away)", 9));
        assert_eq!(read(3, true).1, 1, "nobody waits for work that is to stop");
        let all: Duration = (0..WAITS).map(|doublings| FIRST * (1 << doublings)).sum();
        assert_eq!(all, Duration::from_millis(63_750));
    }

    #[test]
    fn a_broken_image_is_not_read_again() {
        let calls = Cell::new(0);
        let attempt = || {
            calls.set(calls.get() + 1);
            Err::<(), _>(ImageError::Empty("x.jpg".into()))
        };
        assert!(Outage::default().endure(&AtomicBool::new(false), attempt).is_err() && calls.get() == 1);
    }
}
