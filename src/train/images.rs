//! Statistics of a run's training images, and the random change of each.

use super::Config;
use crate::checkpoint::{Checkpoint, DEVIATIONS, EIGENVECTORS, MEAN};
use crate::data::{Colours, Draw, Noise, Statistics};
use crate::net::Position;
use crate::session::SessionError;
use crate::tensor::Tensor;

/// Statistics with which the run of a checkpoint began.
pub(super) fn statistics_of(checkpoint: &Checkpoint) -> Result<Statistics, SessionError> {
    let values = |name: &str| match checkpoint.tensors.get(name) {
        Some(tensor) => Ok(tensor.values()),
        None => Err(SessionError::Missing(name.into())),
    };
    let colours = Colours::new(values(EIGENVECTORS)?, values(DEVIATIONS)?);
    let colours = colours.ok_or_else(|| SessionError::Missing(format!("{EIGENVECTORS} [3, 3] or {DEVIATIONS} [3]")))?;
    Ok(Statistics { mean: values(MEAN)?.to_vec(), colours })
}

/// Statistics as tensors of a checkpoint; the mean image is one of `size` x `size` pixels.
pub(super) fn statistics_to(statistics: &Statistics, size: usize) -> [(String, Tensor); 3] {
    let Statistics { mean, colours } = statistics;
    [
        (MEAN.into(), Tensor::new([size, size, 3], mean.clone())),
        (EIGENVECTORS.into(), Tensor::new([3, 3], colours.eigenvectors.as_flattened().to_vec())),
        (DEVIATIONS.into(), Tensor::new([3], colours.deviations.to_vec())),
    ]
}

/// Views of the images in the epoch at `now`.
pub(super) fn draw(config: &Config, now: &Position, colours: &Colours) -> Draw {
    let augment = config.network.train.augment;
    let alpha = augment.colour * config.network.train.schedule.factors(now).colour;
    let noise = if augment.released { Noise::released } else { Noise::paper };
    Draw {
        seed: config.seed,
        epoch: now.epoch as u64,
        border2: config.network.input.border2(),
        crop: augment.crop,
        mirror: augment.mirror,
        together: augment.together(),
        noise: (alpha > 0.0).then(|| noise(colours, alpha)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Augment, Model, Schedule};

    const COLOURS: Colours =
        Colours { eigenvectors: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], deviations: [100.0, 40.0, 20.0] };

    #[test]
    fn the_log_of_2012_ends_the_noise() {
        let mut network = Model::open("alexnet").unwrap();
        network.train.schedule = Schedule::preset("2012").unwrap();
        assert!(Augment::preset("2012", &mut network));
        let config = Config::new("alexnet", network, 5);
        let at = |epoch| draw(&config, &Position { epoch, ..Position::default() }, &COLOURS);
        let first = at(66);
        assert_eq!((first.together, first.border2, first.crop, first.mirror, first.epoch), (32, 32, true, true, 66));
        let noise = first.noise.unwrap();
        assert_eq!((noise.steps[0][0], noise.steps[1][0], noise.gain), (10.0, 0.0, 1.0 / 1.1));
        assert_eq!(at(67).noise, None);
    }

    #[test]
    fn the_papers_noise_goes_by_eigenvalues() {
        let config = Config::new("alexnet", Model::open("alexnet").unwrap(), 5);
        let draw = draw(&config, &Position::default(), &COLOURS);
        let noise = draw.noise.unwrap();
        assert_eq!((draw.together, noise.gain), (1, 1.0));
        assert!((f64::from(noise.steps[0][0]) - 0.1 * 1e4 / 255.0).abs() < 1e-5, "{noise:?}");
    }

    #[test]
    fn statistics_survive_a_checkpoint() {
        let statistics = Statistics { mean: vec![7.0; 12], colours: COLOURS };
        let tensors = statistics_to(&statistics, 2).into();
        let mut checkpoint = Checkpoint { tensors, state: crate::checkpoint::State::default() };
        assert_eq!(statistics_of(&checkpoint).unwrap(), statistics);
        checkpoint.tensors.insert(DEVIATIONS.into(), Tensor::new([2], vec![1.0; 2]));
        assert!(statistics_of(&checkpoint).unwrap_err().to_string().contains("deviations"));
        checkpoint.tensors.remove(DEVIATIONS);
        assert!(statistics_of(&checkpoint).is_err());
    }
}
