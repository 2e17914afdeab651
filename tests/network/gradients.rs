//! The backward pass of every layer, inside small networks, against finite differences of the mean loss at f64.
//!
//! Dropout masks are a function of the step, so the loss is one function of the weights. Where a neuron or a maximum
//! switches within the difference the loss has a kink, which shows as one-sided differences that disagree; such a
//! coordinate says nothing and is skipped. Few may be.

use alexnet::ops::LAYERS;
use alexnet::ops::kind::{LayerKind, Place};
use alexnet::program::Pass;
use alexnet::random::{Purpose, Stream, tag};
use alexnet::tensor::NO_LABEL;

use crate::engine::Engine;

const H: f64 = 1e-6;

/// Against the gradient plus the root mean square of its tensor.
const TOLERANCE: f64 = 1e-5;

/// Coordinates tried in each tensor.
const TRIES: usize = 6;

const CLASSES: u32 = 4;

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

/// Compares a few coordinates of every tensor's gradient; gives how many were tried and skipped.
fn check(name: &str, engine: &mut Engine<f64>) -> (usize, usize) {
    let here = engine.loss(Pass::Gradients);
    assert!(here.is_finite() && here > 0.1, "{name}: loss {here}");
    let tensors = engine.lowered.trained.clone();
    let gradients: Vec<Vec<f64>> = tensors.iter().map(|trained| engine.get(trained.gradient.unwrap())).collect();
    let (mut tried, mut skipped) = (0, 0);
    for (trained, gradient) in tensors.iter().zip(gradients) {
        let (values, scale) = (engine.get(trained.value), rms(&gradient));
        assert!(scale > 1e-6, "{name}: the gradient of {} is {scale}, which tests nothing", trained.name);
        let mut at = |index: usize, by: f64| {
            let mut moved = values.clone();
            moved[index] += by;
            engine.set(trained.value, &moved);
            engine.loss(Pass::Gradients)
        };
        let stream = Stream::new(7, Purpose::Test, tag(&trained.name));
        for i in 0..TRIES.min(values.len()) {
            let index = stream.words(i as u64, 0)[0] as usize % values.len();
            let (above, below) = (at(index, H), at(index, -H));
            let (right, left, slope) = ((above - here) / H, (here - below) / H, (above - below) / (2.0 * H));
            let scale = gradient[index].abs() + scale;
            tried += 1;
            // A kink within the difference spoils the slope by half of this.
            if (right - left).abs() > TOLERANCE * scale {
                skipped += 1;
                continue;
            }
            let error = (gradient[index] - slope).abs() / scale;
            assert!(error < TOLERANCE, "{name}: {}[{index}] is {}, the slope {slope}", trained.name, gradient[index]);
        }
        engine.set(trained.value, &values);
    }
    (tried, skipped)
}

/// Networks that together hold every kind of layer, on 1, 2 and 4 towers.
const NETWORKS: &[(&str, &str)] = &[
    (
        "one tower, most layers",
        r#"input = { channels = 3, size = 12 }
        lrn = { size = 3, k = 1.5, alpha = 0.3, beta = 0.75 }
        pool = { size = 3, stride = 2 }
        layers = [
          { name = "conv1", conv = { filters = 6, size = 3, stride = 2, pad = 1, floor = true }, weights = 0.3, then = ["relu", "lrn", "pool"] },
          { name = "conv2", conv = { filters = 5, size = 2, pad = 1 }, weights = 0.3, then = ["tanh", "lrn_spatial", "average_pool"] },
          { name = "fc3", fc = 7, weights = 0.4, bias = 0.2, then = ["relu", "dropout"] },
          { name = "fc4", fc = 4, weights = 0.5, then = ["softmax"] },
        ]"#,
    ),
    (
        "windows that hang over, padded and gapped pools, neurons of their own",
        r#"input = { channels = 3, size = 12 }
        layers = [
          { name = "conv1", conv = { filters = 5, size = 5, stride = 4 }, weights = 0.2, then = [{ pool = { size = 3, stride = 2, pad = 1 } }, "relu"] },
          { name = "conv2", conv = { filters = 4, size = 3, pad = 2 }, weights = 0.3, then = [{ average_pool = { size = 2, stride = 3, pad = 1 } }, "tanh"] },
          { name = "conv3", conv = { filters = 4, size = 1 }, weights = 0.4, then = [{ dropout = 0.7 }] },
          { name = "fc4", fc = 4, weights = 0.5, then = ["tanh", "softmax"] },
        ]"#,
    ),
    (
        "two towers that meet as the paper's do",
        r#"input = { channels = 3, size = 13 }
        towers = 2
        lrn = { size = 5, k = 2.0, alpha = 0.2, beta = 0.75 }
        pool = { size = 3, stride = 2 }
        layers = [
          { name = "conv1", conv = { filters = 8, size = 4, stride = 2 }, weights = 0.2, then = ["relu", "lrn", "pool"] },
          { name = "conv2", conv = { filters = 8, size = 3, pad = 1 }, sees = "own", weights = 0.3, bias = 0.2, then = ["relu", "lrn"] },
          { name = "conv3", conv = { filters = 6, size = 3, pad = 1 }, sees = "both", weights = 0.3, then = ["relu", "pool"] },
          { name = "fc6", fc = 8, sees = "both", weights = 0.4, bias = 0.3, then = ["relu", "dropout"] },
          { name = "fc7", fc = 8, sees = "both", weights = 0.5, bias = 0.3, then = ["relu", "dropout"] },
          { name = "fc8", fc = 4, sees = "both", on = "a", weights = 0.5, then = ["softmax"] },
        ]"#,
    ),
    (
        "the released code's order",
        r#"input = { channels = 3, size = 21, mean_centred = true }
        towers = 2
        lrn = { size = 5, k = 2.0, alpha = 0.2, beta = 0.75 }
        pool = { size = 3, stride = 2 }
        layers = [
          { name = "conv1", conv = { filters = 8, size = 3, stride = 2 }, weights = 0.3, then = ["lrn", "pool", "relu"] },
          { name = "conv2", conv = { filters = 6, size = 3, pad = 1 }, weights = 0.3, bias = 0.5, then = [
            "relu", "lrn", { lrn_spatial = { size = 3, k = 1.0, alpha = 0.1, beta = 0.75 } }, "pool",
          ] },
          { name = "conv3", conv = { filters = 6, size = 3, pad = 1 }, sees = "both", weights = 0.3, then = ["relu"] },
          { name = "conv4", conv = { filters = 6, size = 3, pad = 1 }, sees = "own", weights = 0.4, bias = 0.4, then = ["relu"] },
          { name = "conv5", conv = { filters = 6, size = 2, pad = 1 }, sees = "own", weights = 0.4, bias = 1, then = ["pool", "relu"] },
          { name = "fc6", fc = 16, sees = "both", weights = 0.5, bias = 1, then = ["relu", "dropout"] },
          { name = "fc8", fc = 4, sees = "both", on = "a", weights = 0.5, then = ["softmax"] },
        ]"#,
    ),
    (
        "four towers, the last rows on one",
        r#"input = { channels = 3, size = 7 }
        towers = 4
        layers = [
          { name = "conv1", conv = { filters = 8, size = 3 }, weights = 0.3, then = ["relu", { lrn = { size = 2, k = 1.0, alpha = 0.5, beta = 0.5 } }] },
          { name = "conv2", conv = { filters = 8, size = 3, stride = 2 }, sees = "both", weights = 0.3, bias = 0.3, then = ["tanh"] },
          { name = "conv3", conv = { filters = 16, size = 2 }, sees = "own", weights = 0.5, then = ["relu", "dropout"] },
          { name = "fc4", fc = 12, sees = "both", on = "a", weights = 0.4, bias = 0.2, then = ["relu", { dropout = 0.8 }] },
          { name = "fc5", fc = 4, on = "a", weights = 0.5, then = ["softmax"] },
        ]"#,
    ),
    (
        "classes over both towers, one output to spare",
        r#"input = { channels = 3, size = 7 }
        towers = 2
        layers = [
          { name = "conv1", conv = { filters = 8, size = 3 }, weights = 0.3, then = ["relu"] },
          { name = "fc2", fc = 8, sees = "both", weights = 0.4, bias = 0.2 },
          { name = "fc3", fc = 5, sees = "both", on = "both", weights = 0.5, then = ["softmax"] },
        ]"#,
    ),
];

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let (mut tried, mut skipped) = (0, 0);
    for (name, text) in NETWORKS {
        let mut engine = Engine::<f64>::new(text, 8);
        engine.feed_all(CLASSES);
        let (here, kinks) = check(name, &mut engine);
        println!("{name}: {here} coordinates, {kinks} at kinks");
        (tried, skipped) = (tried + here, skipped + kinks);
    }
    assert!(tried > 200 && skipped * 10 < tried, "{skipped} of {tried} coordinates lie at kinks");
}

/// Five images of eight: the mean is over five, and what lies in the other places does not matter.
#[test]
fn padding_contributes_nothing() {
    for (name, text) in NETWORKS {
        let mut engine = Engine::<f64>::new(text, 8);
        let labels: Vec<u32> = (0..8).map(|n| if n < 5 { n % CLASSES } else { NO_LABEL }).collect();
        let mut outcome = |garbage: u32| {
            engine.feed(&labels, |n| if n < 5 { 0 } else { garbage });
            let loss = engine.loss(Pass::Gradients);
            assert_eq!(engine.get(engine.lowered.loss)[5..], [0.0; 3], "{name}: losses of no image");
            let gradients = engine.lowered.trained.iter().map(|trained| engine.get(trained.gradient.unwrap()));
            (loss, gradients.collect::<Vec<_>>())
        };
        let (first, second) = (outcome(1), outcome(2));
        assert_eq!(first, second, "{name}: other garbage, other gradients");
        engine.feed(&labels, |_| 0);
        let (tried, skipped) = check(name, &mut engine);
        assert!(skipped * 5 < tried, "{name}: {skipped} of {tried} coordinates lie at kinks");
        // And the labelled images do matter.
        engine.feed(&labels, |n| u32::from(n == 4));
        engine.run(Pass::Gradients);
        assert_ne!(engine.get(engine.lowered.trained[0].gradient.unwrap()), first.1[0], "{name}");
    }
}

/// A row's entry in `then`: `"relu"`, or a table with settings.
fn stage(example: &str) -> String {
    if example.starts_with('"') { example.into() } else { format!("{{ {example} }}") }
}

/// Small networks around an example of a kind, on one and two towers: behind other layers, and as the first of its
/// place.
fn networks(kind: &LayerKind, example: &str) -> Vec<String> {
    let network = |towers: usize, rows: &str| {
        format!(
            r#"input = {{ channels = 3, size = 8 }}
            towers = {towers}
            layers = [ {rows}
              {{ name = "last", fc = 4, sees = "both", on = "a", weights = 0.4, bias = 0.1, then = ["softmax"] }},
            ]"#
        )
    };
    let first = |then: &str| {
        format!(
            r#"{{ name = "first", conv = {{ filters = 8, size = 3, pad = 1 }}, weights = 0.3, bias = 0.2, then = [{then}] }},"#
        )
    };
    let rows = match kind.place {
        Place::Head { .. } => {
            let row = |name: &str| {
                format!(r#"{{ name = "{name}", {example}, weights = 0.3, bias = 0.2, then = ["tanh"] }},"#)
            };
            let behind = first(r#""tanh""#) + &row("tried");
            // Three colours make no groups.
            if example.contains("groups") { vec![behind] } else { vec![row("tried"), behind] }
        }
        Place::Stage { .. } => vec![first(&stage(example)), first(&format!("\"tanh\", {}", stage(example)))],
        Place::Loss => vec![first(r#""tanh""#)],
    };
    rows.iter().flat_map(|rows| [1, 2].map(|towers| network(towers, rows))).collect()
}

#[test]
fn every_kind_of_layer_has_the_slopes_of_the_loss() {
    for kind in LAYERS {
        assert!(!kind.examples.is_empty(), "{} has no examples: nothing tries it", kind.name);
        let (mut tried, mut skipped) = (0, 0);
        for example in kind.examples {
            for text in networks(kind, example) {
                let mut engine = Engine::<f64>::new(&text, 8);
                engine.feed_all(CLASSES);
                let (here, kinks) = check(example, &mut engine);
                (tried, skipped) = (tried + here, skipped + kinks);
            }
        }
        assert!(skipped * 5 < tried, "{}: {skipped} of {tried} coordinates lie at kinks", kind.name);
    }
}
