//! Gradients of a network on a device, as the original's `--check-grads` checks them: against those of the CPU engine
//! at f64, and against differences of the device's own loss.
//!
//! For a tensor with the gradient g at f64, the loss is computed with the weights moved by ±h along g / |g|. The slope
//! between the two is |g|, where no neuron or maximum switches in between; of four distances the one that agrees best
//! is taken, since a kink spoils the long ones and rounding the short ones.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::CommandError;
use crate::backend::cpu::Cpu;
use crate::backend::{Engine, Placement};
use crate::net::{Job, Model, Net};
use crate::random::{Purpose, Stream, tag};
use crate::session::{Floats, Session, SessionError};
use crate::tensor::Tensor;

/// The original's threshold of a relative error (GC_REL_ERR_THRESH).
pub const TOLERANCE: f64 = 0.02;

/// Changes of the loss, in nats, that the tensor is moved for.
const CHANGES: [f64; 4] = [0.01, 1e-3, 1e-4, 3e-5];

/// Standard deviation of drawn biases.
const BIAS: f64 = 0.1;

/// Step number of the dropout masks.
const STEP: u64 = 0;

/// Gradients of a network on a device.
#[derive(Clone, Debug, Serialize)]
pub struct GradientReport {
    /// Devices of the towers, as `--devices` names them.
    pub device: String,
    /// Images of the minibatch.
    pub images: usize,
    /// Loss on the device, in nats.
    pub loss: f64,
    /// Loss of the twins at 64-bit floats, in nats.
    pub exact_loss: f64,
    /// Tensors in the order of the network.
    pub tensors: Vec<GradientCheck>,
}

/// The gradient of one tensor.
#[derive(Clone, Debug, Serialize)]
pub struct GradientCheck {
    /// Name of the tensor.
    pub name: String,
    /// Euclidean norm of the gradient at f64.
    pub norm: f64,
    /// Norm of the difference between the device's gradient and that at f64, over the norm of the latter.
    pub error: f64,
    /// Difference quotient of the device's loss along the gradient, which is the norm where all is right.
    pub slope: f64,
    /// Relative error of the slope.
    pub slope_error: f64,
}

impl GradientCheck {
    /// Whether both errors are within [`TOLERANCE`].
    pub fn is_right(&self) -> bool {
        self.error < TOLERANCE && self.slope_error < TOLERANCE
    }
}

impl GradientReport {
    /// Count of the tensors whose gradients are wrong.
    pub fn failed(&self) -> usize {
        self.tensors.iter().filter(|tensor| !tensor.is_right()).count()
    }
}

/// Checks the gradients of `model` with random weights on `images` random images; `progress` gets the tensors that are
/// done, and all.
pub fn check_gradients(
    model: &Model,
    images: usize,
    devices: &Placement,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<GradientReport, CommandError> {
    let job = Job { floats: true, ..Job::training(images) };
    let exact = Placement::from(Engine::Cpu);
    let exact = exact.wrapped(|_, part| Box::new(Cpu::<f64>::new(part.program().clone())));
    let mut session = Session::new(Net::new(model.clone())?, &job, &exact, 0)?;
    let (batch, weights) = (batch(session.net(), images), weights(&session));
    session.load(&weights)?;
    let (exact_loss, exact) = (loss(&mut session, &batch)?, session.gradient_tensors()?);
    drop(session); // numbers at f64 are large
    let mut session = Session::new(Net::new(model.clone())?, &job, devices, 0)?;
    session.load(&weights)?;
    let loss = loss(&mut session, &batch)?;
    let tensors = compare(&mut session, &batch, &weights, &exact, progress)?;
    Ok(GradientReport { device: session.device(), images, loss, exact_loss, tensors })
}

/// Compares the gradients that `session` has with `exact` ones, and with slopes of its loss.
fn compare(
    session: &mut Session,
    batch: &Floats,
    weights: &BTreeMap<String, Tensor>,
    exact: &BTreeMap<String, Tensor>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<GradientCheck>, SessionError> {
    let found = session.gradient_tensors()?;
    let names: Vec<String> = session.lowered().trained.iter().map(|trained| trained.name.clone()).collect();
    let mut tensors = Vec::with_capacity(names.len());
    for (done, name) in names.iter().enumerate() {
        let (Some(gradient), Some(value), Some(found)) = (exact.get(name), weights.get(name), found.get(name)) else {
            return Err(SessionError::Missing(name.clone()));
        };
        let norm = length(gradient.values().iter().copied());
        let error = length(gradient.values().iter().zip(found.values()).map(|(a, b)| a - b)) / norm;
        let mut check = GradientCheck { name: name.clone(), norm, error, slope: 0.0, slope_error: f64::INFINITY };
        for change in CHANGES.iter().filter(|_| norm > 0.0) {
            let slope = slope(session, batch, (name, value, gradient), change / (norm * norm))?;
            let slope_error = (slope - norm).abs() / norm;
            if slope_error < check.slope_error {
                (check.slope, check.slope_error) = (slope, slope_error);
            }
        }
        restore(session, name, value)?;
        tensors.push(check);
        progress(done + 1, names.len());
    }
    Ok(tensors)
}

/// Forward with dropout masks and backward; the mean loss in nats.
fn loss(session: &mut Session, batch: &Floats) -> Result<f64, SessionError> {
    session.gradients_of(batch, STEP)?;
    Ok(session.score()?.means().0)
}

/// Difference quotient of the loss along the gradient of a tensor, moved by ± `by` times that; by a unit of its length.
fn slope(
    session: &mut Session,
    batch: &Floats,
    (name, value, gradient): (&str, &Tensor, &Tensor),
    by: f64,
) -> Result<f64, SessionError> {
    let mut sides = [0.0; 2];
    let mut moved = [0.0; 2];
    for (side, sign) in [1.0, -1.0].into_iter().enumerate() {
        let at = |(w, g): (&f32, &f32)| (f64::from(*w) + sign * by * f64::from(*g)) as f32;
        let values: Vec<f32> = value.values().iter().zip(gradient.values()).map(at).collect();
        // As far as f32 has moved it.
        let along = values.iter().zip(value.values()).zip(gradient.values());
        moved[side] = along.map(|((to, from), g)| f64::from(to - from) * f64::from(*g)).sum();
        restore(session, name, &Tensor::new(value.shape(), values))?;
        sides[side] = loss(session, batch)?;
    }
    let norm = length(gradient.values().iter().copied());
    Ok((sides[0] - sides[1]) / ((moved[0] - moved[1]) / norm))
}

/// Loads the tensor `name`, and leaves all others.
fn restore(session: &mut Session, name: &str, value: &Tensor) -> Result<(), SessionError> {
    let one = BTreeMap::from([(name.to_owned(), value.clone())]);
    session.load_rows(&one, &BTreeSet::new()).map(drop)
}

fn length(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// Random images and labels.
fn batch(net: &Net, images: usize) -> Floats {
    let input = &net.model.input;
    let count = images * input.channels * input.size * input.size;
    let pixels = Stream::new(0, Purpose::Test, tag("images")).normal_vec(count, 1.0);
    let labels = Stream::new(0, Purpose::Test, tag("labels"));
    let label = |n: usize| labels.words(n as u64, 0)[0] % net.classes() as u32;
    Floats {
        images: Tensor::new([images, input.channels, input.size, input.size], pixels),
        labels: (0..images).map(label).collect(),
    }
}

/// Random weights under which maps keep their size from layer to layer, so that no gradient is lost in rounding: of the
/// standard deviation sqrt(2 / inputs of a neuron).
fn weights(session: &Session) -> BTreeMap<String, Tensor> {
    let (net, lowered) = (session.net(), session.lowered());
    let drawn = |trained: &crate::net::Trained| {
        let shape = lowered.program.slot(trained.value).shape.clone();
        let (count, outputs) = (shape.iter().product::<usize>(), shape.last().copied().unwrap_or(1));
        // A neuron that sees both towers has a tensor of weights for each.
        let parts = net.nodes[trained.node].x.len().max(1);
        let sd = if trained.bias { BIAS } else { (2.0 / (parts * count / outputs.max(1)).max(1) as f64).sqrt() };
        let values = Stream::new(1, Purpose::Test, tag(&trained.name)).normal_vec(count, sd);
        (trained.name.clone(), Tensor::new(shape, values))
    };
    lowered.trained.iter().map(drawn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        about = "test"
        input = { channels = 3, size = 12 }
        towers = 2
        lrn = { size = 3, k = 1.5, alpha = 0.3, beta = 0.75 }
        pool = { size = 3, stride = 2 }
        train = { batch = 8, epochs = 1, rate = 0.01 }
        layers = [
          { name = "conv1", conv = { filters = 8, size = 3, pad = 1 }, then = ["relu", "lrn", "pool"] },
          { name = "fc2", fc = 8, sees = "both", then = ["relu", "dropout"] },
          { name = "fc3", fc = 4, sees = "both", on = "a", then = ["softmax"] },
        ]"#;

    #[test]
    fn gradients_of_a_right_device_pass_and_those_of_a_wrong_one_fail() {
        let model = Model::parse("test", TEXT).unwrap();
        let devices = Placement::from(Engine::Cpu);
        let right = check_gradients(&model, 8, &devices, &mut |_, _| ()).unwrap();
        assert_eq!((right.failed(), right.tensors.len()), (0, 13), "{:?}", right.tensors);
        assert!((right.loss - right.exact_loss).abs() < 1e-5 && right.loss > 0.1, "{right:?}");
        // A device that computes the exponent of the normalisation wrongly.
        let other = Model::parse("test", &TEXT.replace("0.75", "0.5")).unwrap();
        let job = Job { floats: true, ..Job::training(8) };
        let set_up = |model| Session::new(Net::new(model).unwrap(), &job, &devices, 0).unwrap();
        let [mut right, mut wrong] = [model, other].map(set_up);
        let (batch, weights) = (batch(right.net(), 8), weights(&right));
        for session in [&mut right, &mut wrong] {
            session.load(&weights).unwrap();
            loss(session, &batch).unwrap();
        }
        let exact = right.gradient_tensors().unwrap();
        let checks = compare(&mut wrong, &batch, &weights, &exact, &mut |_, _| ()).unwrap();
        assert!(checks.iter().any(|check| !check.is_right()), "{checks:?}");
    }
}
