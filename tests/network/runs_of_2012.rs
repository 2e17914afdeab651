//! Runs of 2012 as model files, value by value: layers as in the released layer files, rates as in their logs.

use std::collections::{BTreeMap, BTreeSet};

use alexnet::net::{Model, Net, Order, Position, Schedule};
use alexnet::ops::layer::{Init, WeightKind};
use alexnet::train::Config;

const LAYERS: &str = include_str!("../fixtures/runs-of-2012/layers.txt");
const RATES: &str = include_str!("../fixtures/runs-of-2012/rates.csv");

/// Layers of a fixture: each line an operation and its numbers.
type Facts = Vec<(String, BTreeMap<String, f64>)>;

fn facts(line: &str) -> (String, BTreeMap<String, f64>) {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap().to_owned();
    let pair = |word: &str| word.split_once('=').map(|(key, value)| (key.to_owned(), value.parse().unwrap()));
    (name, words.map(|word| pair(word).unwrap()).collect())
}

/// Models of the layer files, with their facts.
fn released() -> Vec<(String, Facts)> {
    let mut models: Vec<(String, Facts)> = Vec::new();
    for line in LAYERS.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            Some((model, _)) => models.push((model.to_owned(), Vec::new())),
            None => models.last_mut().unwrap().1.push(facts(line)),
        }
    }
    models
}

/// The same facts of a model file: tower A's share of every layer.
fn ours(name: &str) -> Facts {
    let model = Model::open(name).unwrap();
    let net = Net::new(model.clone()).unwrap();
    let mut all = Facts::new();
    for row in &model.layers {
        let node = net.nodes.iter().find(|node| node.name == row.name).unwrap();
        let specs = node.layer.weights(&node.x);
        let init = |bias: bool| {
            let spec = specs.iter().find(|spec| (spec.kind == WeightKind::Bias) == bias).unwrap();
            f64::from(match spec.init {
                Init::Normal(deviation) => deviation,
                Init::Constant(value) => value,
            })
        };
        let settings = model.settings(&row.head).unwrap();
        let mut numbers: BTreeMap<String, f64> = ["size", "stride", "pad"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), settings.find::<usize>(key)? as f64)))
            .collect();
        let momentum = f64::from(model.train.optimizer.hyper["momentum"]);
        numbers.extend([
            ("outputs".to_owned(), node.y.channels as f64),
            ("inputs".to_owned(), node.x.len() as f64),
            ("deviation".to_owned(), init(false)),
            ("bias".to_owned(), init(true)),
            ("decay".to_owned(), f64::from(node.decay)),
            ("momentum".to_owned(), momentum),
        ]);
        all.push((row.head.name().to_owned(), numbers));
        for stage in &row.then {
            let settings = model.settings(stage).unwrap();
            let numbers = ["size", "stride", "k", "alpha", "beta", "keep"].into_iter().filter_map(|key| {
                let value = settings.find::<usize>(key).map(|value| value as f64);
                Some((key.to_owned(), value.or(settings.find::<f32>(key).map(f64::from))?))
            });
            all.push((stage.name().to_owned(), numbers.collect()));
        }
    }
    all
}

#[test]
fn layers_are_those_of_the_released_layer_files() {
    let released = released();
    assert_eq!(released.len(), 15);
    for (model, wanted) in released {
        let found = ours(&model);
        let names = |facts: &Facts| facts.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&wanted), "{model}");
        for ((name, wanted), (_, found)) in wanted.iter().zip(&found) {
            for (key, wanted) in wanted {
                let found = found.get(key).unwrap_or_else(|| panic!("{model}: {name} has no {key}"));
                assert!(
                    (found - wanted).abs() <= 1e-6 * wanted.abs(),
                    "{model}: {key} of {name} is {found}, not {wanted}"
                );
            }
        }
    }
}

/// A line of the rates' fixture.
struct Change<'a> {
    epoch: f64,
    layer: &'a str,
    values: [Option<f64>; 3],
}

fn changes(model: &str) -> Vec<Change<'static>> {
    let lines = RATES.lines().filter(|line| line.split(',').next() == Some(model));
    let change = |line: &'static str| {
        let parts: Vec<_> = line.split(',').collect();
        let number = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let values = [parts[3], parts[4], parts[5]].map(number);
        Change { epoch: parts[1].parse().unwrap(), layer: parts[2], values }
    };
    lines.map(change).collect()
}

/// Rates of weights and biases of every layer, and the colour noise, as the log has them at some point.
fn logged(model: &str, rows: &[String], at: f64) -> (BTreeMap<String, [f64; 2]>, f64) {
    let (mut rates, mut colour): (BTreeMap<_, _>, _) =
        (rows.iter().map(|row| (row.clone(), [1.0, 1.0])).collect(), 0.0);
    for Change { layer, values: [weights, biases, noise], .. } in
        changes(model).iter().filter(|change| change.epoch <= at && change.layer != "end")
    {
        for (row, now) in &mut rates {
            let meant = layer.split(' ').any(|name| name == row) || (*layer == "*" && now[0] != 0.0);
            let new = [weights, biases].map(|rate| rate.filter(|_| meant));
            *now = [0, 1].map(|i| new[i].unwrap_or(now[i]));
        }
        colour = noise.unwrap_or(colour);
    }
    (rates, colour)
}

fn close(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-5 * wanted.abs()
}

#[test]
fn rates_are_those_of_the_logs() {
    let header = RATES.lines().position(|line| line.starts_with("model,")).unwrap();
    let models: BTreeSet<_> = RATES.lines().skip(header + 1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(models.len(), 15);
    for name in models {
        let network = Model::open(name).unwrap();
        let rows: Vec<_> = network.layers.iter().map(|row| row.name.clone()).collect();
        let end = changes(name).into_iter().find(|change| change.layer == "end");
        let epochs = network.train.epochs;
        assert!(end.is_none_or(|end| end.epoch == epochs as f64), "{name} ends after {epochs} epochs");
        let config = Config::new(name, network, 0);
        // Quarters, just behind their beginning, and every point at which the log changes something.
        let quarters = (0..4 * epochs).map(|quarter| quarter as f64 / 4.0 + 1e-6);
        let points = changes(name).into_iter().filter(|change| change.layer != "end").map(|change| change.epoch + 1e-6);
        for at in quarters.chain(points) {
            let (epoch, within) = (at as usize, at.fract());
            let position = Position { epoch, within, share: at / epochs as f64, ..Position::default() };
            let (rates, frozen) = (config.rates(&position), config.frozen(&position));
            let (wanted, noise) = logged(name, &rows, at);
            for row in &rows {
                let factors = rates.layers.get(row).copied().unwrap_or_default();
                let found = [rates.weights * factors.weights, rates.biases * factors.biases].map(f64::from);
                let good = found.iter().zip(&wanted[row]).all(|(found, wanted)| close(*found, *wanted));
                assert!(good, "{name}, epoch {at}: {row} has {found:?}, not {:?}", wanted[row]);
                assert_eq!(frozen.contains(row), wanted[row] == [0.0; 2], "{name}, epoch {at}: {row}");
            }
            let train = &config.network.train;
            let colour = f64::from(train.augment.colour * train.schedule.factors(&position).colour);
            assert!(close(colour, noise), "{name}, epoch {at}: colour noise is {colour}, not {noise}");
        }
    }
}

/// What the runs share besides: 128 images, biases at twice the rate, the released changes of images in the order of
/// files.
#[test]
fn the_runs_of_imagenet_see_images_as_in_2012() {
    for (name, _) in released().iter().filter(|(name, _)| !name.starts_with("cifar")) {
        let Model { input, train, .. } = Model::open(name).unwrap();
        assert_eq!((input.size, input.stored(), input.mean_centred), (224, 256, true), "{name}");
        let augment = train.augment;
        assert!(augment.crop && augment.mirror && augment.released && augment.colour == 0.1, "{name}");
        assert_eq!((train.batch, train.order), (128, Some(Order::File)), "{name}");
    }
}

/// `--schedule` and the model file are one preset.
#[test]
fn a_schedule_by_name_is_that_of_its_model_file() {
    for (schedule, model) in
        [("paper", "alexnet"), ("2010", "net-145-2010"), ("2012", "alexnet-2012"), ("170", "net-170")]
    {
        assert_eq!(Schedule::preset(schedule).unwrap(), Model::open(model).unwrap().train.schedule, "{schedule}");
    }
}

/// Net 146 on Fall 2011: a linear bottleneck, and classes that both towers share.
#[test]
fn net_146_has_the_classes_of_fall_2011_on_both_towers() {
    let net = Net::new(Model::open("net-146-2011").unwrap()).unwrap();
    assert_eq!(net.classes(), 21_841);
    let last = net.nodes.last().unwrap();
    assert_eq!((last.y.channels, net.towers_of(last).len()), (10_921, 2), "one output to spare");
    assert_eq!(Net::new(Model::open("net-146-2009").unwrap()).unwrap().classes(), 10_184);
}
