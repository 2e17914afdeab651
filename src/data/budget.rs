//! Memory of large decoded images, of which all threads together keep to one budget.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number of bytes that threads share; each waits until its image fits beside those of the others.
pub(super) struct Budget {
    /// Bytes in all. An image larger than that is in memory alone.
    most: u64,
    used: Mutex<u64>,
    returned: Condvar,
}

/// Part of a budget that one image has, returned when it is dropped.
pub(super) struct Share<'b> {
    budget: &'b Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `most` bytes, none of them in use.
    pub(super) const fn new(most: u64) -> Self {
        Self { most, used: Mutex::new(0), returned: Condvar::new() }
    }

    /// Waits until `bytes` fit, or no others are in use.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let mut used = self.used();
        while *used > 0 && used.saturating_add(bytes) > self.most {
            used = self.returned.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used = used.saturating_add(bytes);
        Share { budget: self, bytes }
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut used = self.budget.used();
        *used = used.saturating_sub(self.bytes);
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    /// Threads that each hold images of many sizes one after another, some larger than the budget.
    #[test]
    fn threads_together_keep_to_the_budget_and_all_get_their_turn() {
        const MOST: u64 = 100;
        let (budget, held, most) = (Budget::new(MOST), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for first in 0..6 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for bytes in (0..200).map(|i| (first * 37 + i * 53) % 140) {
                        let _share = budget.take(bytes);
                        let together = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(together <= MOST.max(bytes), "{together} bytes at a time");
                        most.fetch_max(together, Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((*budget.used(), held.into_inner()), (0, 0));
        assert!(most.into_inner() > MOST, "an image larger than the budget was alone");
    }

    #[test]
    fn images_that_fit_are_in_memory_together() {
        let budget = Budget::new(100);
        let shares = [40, 60].map(|bytes| budget.take(bytes)); // would wait for ever were it one at a time
        assert_eq!(*budget.used(), 100);
        drop(shares);
        drop(budget.take(u64::MAX));
        assert_eq!(*budget.used(), 0);
    }
}
