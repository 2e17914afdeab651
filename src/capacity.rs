//! Which batch fits a device: asked of plans alone, before anything is opened or allocated.

use serde::Serialize;

use crate::backend::plan::Plan;
use crate::net::{Net, lower};
use crate::program::Program;

/// Most images in a batch: far more than a minibatch of SGD is of use with.
pub const MOST_IMAGES: usize = 1 << 16;

/// WGSL wants whole groups of images.
const GROUP: usize = 8;

/// A batch that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Images, a multiple of 8.
    pub batch: usize,
    /// Bytes that training with this batch allocates.
    pub bytes: u64,
}

/// The largest batch that `net` can be trained with where a binding has at most `limit` bytes; `None` when not even
/// the smallest fits. Memory is another matter: a device tells its limits, but not how much of it is there.
#[must_use]
pub fn largest_batch(net: &Net, limit: u64) -> Option<Capacity> {
    let program = |batch| lower(net, batch, true).program;
    let batch = largest(MOST_IMAGES / GROUP, |groups| fits(&program(groups * GROUP), limit))? * GROUP;
    Some(Capacity { batch, bytes: Plan::new(&program(batch), limit).bytes() })
}

fn fits(program: &Program, limit: u64) -> bool {
    program.largest_binding().is_none_or(|slot| program.slot(slot).bytes() <= limit)
}

/// The largest of 1 ..= `most` that `fits`, which holds up to some number and not beyond: doubling, then bisection.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    if !fits(1) {
        return None;
    }
    let (mut good, mut bad) = (1, most + 1);
    while good * 2 < bad {
        if fits(good * 2) {
            good *= 2;
        } else {
            bad = good * 2;
        }
    }
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;

    #[test]
    fn doubling_and_bisection_find_the_last_that_fits() {
        for most in [1, 2, 3, 7, 8, 100] {
            for last in 1..=most {
                assert_eq!(largest(most, |n| n <= last), Some(last), "{last} of {most}");
            }
            assert_eq!(largest(most, |_| false), None);
        }
    }

    /// The input, 3·224² floats an image, is the largest map; 128 MiB hold 222 of it, 216 in groups of 8. The
    /// largest weights are one tower's half of fc6, 72 MiB.
    #[test]
    fn alexnet_is_bound_by_its_input() {
        let net = Net::new(Model::open("alexnet").unwrap()).unwrap();
        let found = largest_batch(&net, 128 << 20).unwrap();
        assert_eq!(found.batch, 216);
        assert!(found.bytes > 3 * 4 * net.parameters());
        assert_eq!(largest_batch(&net, 32 << 20), None);
        assert_eq!(largest_batch(&net, u64::MAX).unwrap().batch, MOST_IMAGES);
    }
}
