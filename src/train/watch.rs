//! Watches over a run: whether it gets off the ground, and how fast its weights move.

use std::collections::{BTreeMap, VecDeque};

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use serde::{Deserialize, Serialize};

use crate::tensor::Tensor;

/// Steps whose mean loss is looked at.
const WINDOW: usize = 100;

/// Steps that a network may take to get off the ground.
const GRACE: u64 = 500;

/// A loss within this share of chance is chance.
const NEAR: f64 = 0.01;

/// Notices a network that does not begin to learn: its loss stays at ln of the number of classes.
#[derive(Debug)]
pub(super) struct Start {
    chance: f64,
    losses: VecDeque<f64>,
    steps: u64,
    reported: bool,
}

impl Start {
    /// The watch over a run of `classes` classes that has finished `steps` already.
    pub(super) fn new(classes: usize, steps: u64) -> Self {
        Self { chance: (classes as f64).ln(), losses: VecDeque::with_capacity(WINDOW), steps, reported: false }
    }

    /// Takes in the loss of a step; what to say when the run has stalled, once.
    pub(super) fn step(&mut self, loss: f64) -> Option<String> {
        if self.losses.len() == WINDOW {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
        self.steps += 1;
        let mean = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        let stalled =
            self.steps >= GRACE && self.losses.len() == WINDOW && (mean - self.chance).abs() < NEAR * self.chance;
        if self.reported || !stalled {
            return None;
        }
        self.reported = true;
        Some(format!(
            "the loss is still that of guessing, ln of the number of classes = {:.2}, after {} steps: no gradient gets \
             through. Larger initial weights, initial biases of 1 behind ReLU (section 5 of the paper), another --lr or \
             an --init may help",
            self.chance, self.steps
        ))
    }
}

/// Least steps after which a loss should have fallen, on small data sets.
const FEWEST: u64 = 200;

/// Notices a loss, whatever its value, that has not fallen after an epoch's worth of steps: its mean over the last
/// tenth of them is not below that over the first.
#[derive(Debug)]
pub(super) struct Fall {
    /// Steps in all, and in either part that is compared.
    steps: u64,
    part: u64,
    done: u64,
    first: f64,
    last: f64,
}

impl Fall {
    /// The watch over a run whose epochs have `epoch` steps.
    pub(super) fn new(epoch: u64) -> Self {
        let steps = epoch.max(FEWEST);
        Self { steps, part: steps / 10, done: 0, first: 0.0, last: 0.0 }
    }

    /// Takes in the loss of a step; what to say when it has not fallen, once.
    pub(super) fn step(&mut self, loss: f64) -> Option<String> {
        self.done += 1;
        if self.done <= self.part {
            self.first += loss / self.part as f64;
        } else if self.done > self.steps - self.part && self.done <= self.steps {
            self.last += loss / self.part as f64;
        }
        let (first, last, steps) = (self.first, self.last, self.steps);
        (self.done == steps && last > (1.0 - NEAR) * first).then(|| {
            format!(
                "the loss has not fallen in {steps} steps (from {first:.3} to {last:.3}); the usual causes: a learning rate \
                 that is too high or too low (--lr), labels that do not belong to their images, initial weights that let \
                 no gradient through"
            )
        })
    }
}

/// Size of a tensor's numbers and of their movements, as the released code printed them.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Movement {
    /// Mean absolute value of the weights.
    pub weight: f64,
    /// Mean absolute last increment.
    pub increment: f64,
    /// The second by the first.
    pub ratio: f64,
}

/// The movement of every tensor beside which the optimiser's state `increment` tells how far it moved.
pub fn movements(tensors: &BTreeMap<String, Tensor>, increment: Option<&str>) -> BTreeMap<String, Movement> {
    let mean = |tensor: &Tensor| {
        let values = tensor.values();
        values.iter().map(|&v| f64::from(v.abs())).sum::<f64>() / values.len().max(1) as f64
    };
    let movement = |(name, tensor): (&String, &Tensor)| {
        let moved = tensors.get(&format!("{name}.{}", increment?))?;
        let (weight, increment) = (mean(tensor), mean(moved));
        let ratio = if weight > 0.0 { increment / weight } else { 0.0 };
        Some((name.clone(), Movement { weight, increment, ratio }))
    };
    tensors.par_iter().filter_map(movement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_at_chance_is_told_once_and_late() {
        let mut start = Start::new(10, 0);
        let reported: Vec<usize> = (0..2000).filter(|_| start.step(10_f64.ln() + 0.001).is_some()).collect();
        assert_eq!(reported, [GRACE as usize - 1]);
    }

    #[test]
    fn a_run_that_learns_or_diverges_is_not_disturbed() {
        for loss in [1.9, 2.36] {
            let mut start = Start::new(10, 0);
            assert!((0..2000).all(|_| start.step(loss).is_none()));
        }
        // Gone on with: the window has to fill first.
        let mut start = Start::new(10, 10_000);
        let reported = (0..2000).position(|_| start.step(10_f64.ln()).is_some());
        assert_eq!(reported, Some(WINDOW - 1));
    }

    #[test]
    fn a_loss_that_does_not_fall_is_told_once_whatever_its_value() {
        let reported = |epoch: u64, loss: fn(u64) -> f64| {
            let mut fall = Fall::new(epoch);
            (0..3 * epoch + 500).filter(|step| fall.step(loss(*step)).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(reported(1000, |_| 0.7), [999]);
        assert_eq!(reported(10, |step| 2.0 + 0.1 * (step % 7) as f64), [FEWEST - 1], "an epoch of few steps");
        assert_eq!(reported(1000, |step| 5.0 + step as f64), [999], "it rises");
        assert!(reported(1000, |step| 7.0 - 1e-4 * step as f64).is_empty());
    }

    #[test]
    fn movements_are_means_of_what_has_an_increment() {
        let tensor = |values: &[f32]| Tensor::new([values.len()], values.to_vec());
        let tensors = BTreeMap::from([
            ("a.weights".to_owned(), tensor(&[1.0, -3.0])),
            ("a.weights.v".to_owned(), tensor(&[-0.1, 0.3])),
            ("mean".to_owned(), tensor(&[5.0])),
        ]);
        assert!(movements(&tensors, None).is_empty());
        let movements = movements(&tensors, Some("v"));
        assert_eq!(movements.keys().collect::<Vec<_>>(), ["a.weights"]);
        let moved = &movements["a.weights"];
        assert!(
            moved.weight == 2.0 && (moved.increment - 0.2).abs() < 1e-6 && (moved.ratio - 0.1).abs() < 1e-6,
            "{moved:?}"
        );
    }
}
