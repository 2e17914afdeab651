//! The end of a run, from which on bars and remaining times are told.

use super::Config;
use crate::checkpoint::State;

/// Length of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Epochs that it begins.
    pub epochs: usize,
    /// Training images of the whole run, an image of each epoch counted anew.
    pub images: u64,
    /// Training images that it has seen.
    pub done: u64,
}

impl Extent {
    /// The extent of the run of `config` on so many training images, which has come as far as `state`.
    pub(super) fn of(config: &Config, images: usize, state: &State) -> Self {
        let (images, batch) = (images.max(1) as u64, config.batch().max(1) as u64);
        let epochs = config.network.train.epochs;
        let done = (state.epoch as u64).saturating_mul(images).saturating_add(state.position as u64);
        let whole = Self { epochs, images: images.saturating_mul(epochs as u64).max(done), done };
        let Some(steps) = config.steps else { return whole };
        let left = steps.saturating_sub(state.step);
        let here = images.saturating_sub(state.position as u64);
        let Some(later) = left.checked_sub(here.div_ceil(batch)).filter(|later| *later > 0) else {
            let begun = usize::from(left > 0 || state.position > 0);
            let images = done + left.saturating_mul(batch).min(here);
            return Self { epochs: epochs.min(state.epoch + begun), images: images.min(whole.images), done };
        };
        let (full, rest) = (later / images.div_ceil(batch), later % images.div_ceil(batch));
        let seen = (done + here).saturating_add(full.saturating_mul(images)).saturating_add((rest * batch).min(images));
        let begun = (state.epoch as u64 + 1).saturating_add(full + u64::from(rest > 0));
        Self { epochs: epochs.min(begun as usize), images: seen.min(whole.images), done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;

    #[test]
    fn steps_may_end_a_run_before_its_epochs() {
        let mut config = Config::new("mini", Model::open("mini").unwrap(), 0);
        (config.network.train.batch, config.network.train.epochs) = (16, 100);
        let mut at = |steps, epoch, position, step| {
            config.steps = steps;
            let Extent { epochs, images, done } =
                Extent::of(&config, 1000, &State { step, epoch, position, ..State::default() });
            (epochs, images, done)
        };
        // An epoch takes 63 steps, of which the last has 8 images.
        assert_eq!(at(None, 0, 0, 0), (100, 100_000, 0));
        assert_eq!(at(Some(100), 0, 0, 0), (2, 1000 + 37 * 16, 0));
        assert_eq!(at(Some(100), 1, 160, 73), (2, 1000 + 37 * 16, 1160));
        assert_eq!(at(Some(63), 0, 0, 0), (1, 1000, 0));
        assert_eq!(at(Some(126), 0, 0, 0), (2, 2000, 0));
        assert_eq!(at(Some(10), 0, 0, 0), (1, 160, 0));
        assert_eq!(at(Some(63), 1, 0, 63), (1, 1000, 1000), "done");
        assert_eq!(at(Some(u64::MAX), 0, 0, 0), (100, 100_000, 0));
    }
}
