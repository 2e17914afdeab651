//! Ranks that cut the fully connected layers among them, as threads of this process: against ranks that do not.

use std::path::Path;

use alexnet::net::{Net, Parallel, Precision, WireFormat};
use alexnet::ranks::{Exchange, Format, bytes_of_gather};
use alexnet::tensor::share_of_rows;
use alexnet::train::Launch;
use serde_json::Value;

use crate::devices::spec;
use crate::ranks::{begin, bytes, differences, last, near, resume, run, train};
use crate::runs::tiny;

/// A name, what it changes, and how far losses may be apart then.
type Change = (&'static str, fn(&mut Launch), f64);

/// A run of so many steps in which fully connected layers are cut.
fn hybrid(steps: u64) -> impl Fn(&mut Launch) + Sync {
    move |launch| (launch.config.steps, launch.config.options.parallel) = (Some(steps), Parallel::Hybrid)
}

fn data(steps: u64) -> impl Fn(&mut Launch) + Sync {
    move |launch| (launch.config.steps, launch.config.options.parallel) = (Some(steps), Parallel::Data)
}

#[test]
fn hybrid_ranks_train_as_others_do() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    train(1, &at("one"), begin, &data(10));
    train(1, &at("single"), begin, &hybrid(10));
    assert!(last(&at("one")).tensors == last(&at("single")).tensors, "one rank has nothing to share");
    for ranks in [2, 3, 4] {
        let [first, again] = ["", "-again"].map(|name| at(&format!("{ranks}{name}")));
        train(ranks, &first, begin, &hybrid(10));
        near(&first, &at("one"));
        train(ranks, &again, begin, &|launch| {
            hybrid(10)(launch);
            launch.overlap = false;
        });
        assert!(bytes(&first) == bytes(&again), "{ranks} ranks: the same bits in every run, hidden or not");
    }
}

#[test]
fn hybrid_goes_with_micro_batches_towers_recomputation_and_halves() {
    let place = tempfile::tempdir().unwrap();
    let changes: [Change; 5] = [
        ("micro", |launch| launch.config.options.micro_batch = Some(8), 1e-5),
        ("split", |launch| launch.config.devices = Some("cpu,cpu".into()), 1e-5),
        ("recompute", |launch| launch.config.options.recompute = true, 1e-5),
        ("uneven", |launch| launch.config.network.train.batch = 20, 1e-5),
        // Maps and gradients lose all but 11 bits on their way.
        ("halves", |launch| launch.config.options.exchange = WireFormat::F16, 2e-3),
    ];
    for (name, change, allowed) in changes {
        let at = |kind: &str| place.path().join(format!("{name}-{kind}"));
        train(1, &at("data"), begin, &|launch| {
            data(5)(launch);
            change(launch);
        });
        train(2, &at("hybrid"), begin, &|launch| {
            hybrid(5)(launch);
            change(launch);
        });
        let [loss, weight] = differences(&at("data"), &at("hybrid"));
        assert!(loss < allowed && weight < 10.0 * allowed, "{name}: {loss}, {weight}");
    }
    for device in ["gpu", "gpu,gpu"].into_iter().filter_map(spec) {
        let at = |kind: &str| place.path().join(format!("{}-{kind}", device.replace(',', "-")));
        for (kind, ranks, parallel) in [("data", 1, Parallel::Data), ("hybrid", 2, Parallel::Hybrid)] {
            train(ranks, &at(kind), begin, &|launch| {
                (launch.config.steps, launch.config.options.parallel) = (Some(5), parallel);
                launch.config.devices = Some(device.clone());
            });
        }
        near(&at("data"), &at("hybrid"));
    }
}

#[test]
fn a_run_goes_from_one_way_to_the_other_and_back() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    train(1, &at("one"), begin, &data(16));
    train(4, &at("many"), begin, &hybrid(4));
    train(2, &at("many"), resume, &data(8));
    train(3, &at("many"), resume, &hybrid(12));
    train(1, &at("many"), resume, &hybrid(16));
    near(&at("one"), &at("many"));
    // Weights of a file are those of all ranks; a checkpoint within an epoch is whole.
    train(3, &at("begun"), begin, &|launch| {
        hybrid(3)(launch);
        launch.config.init = Some(at("one").to_str().unwrap().into());
        launch.config.save_every = Some("1".parse().unwrap());
        launch.config.freeze = ["conv1".to_owned(), "fc2".to_owned()].into();
    });
    let [one, begun] = [at("one"), at("begun")].map(|folder| last(&folder));
    let trained = |name: &str| name.starts_with("conv") || name.starts_with("fc");
    for (name, tensor) in begun.tensors.iter().filter(|(name, _)| trained(name) && !name.ends_with(".momentum")) {
        let frozen = name.starts_with("conv1") || name.starts_with("fc2");
        assert_eq!(one.tensors[name] == *tensor, frozen, "{name}");
        assert_eq!(one.tensors[name].shape(), tensor.shape());
    }
}

/// What the first rank sends in a step of so many images each: the sums of convolutions, maps and outputs of layers,
/// reports.
fn planned(folder: &Path, ranks: usize, images: usize) -> u64 {
    let net = Net::new(tiny()).unwrap();
    let (size, format) = (ranks as u64, Format::Floats);
    let mut rows = std::collections::BTreeMap::<String, u64>::new();
    for (name, tensor) in last(folder).tensors {
        if let Some((row, rest)) = name.split_once('.')
            && row.starts_with("conv")
            && !rest.ends_with(".momentum")
        {
            *rows.entry(row.to_owned()).or_default() += tensor.values().len() as u64;
        }
    }
    let sums: u64 = rows.values().map(|&count| Exchange::Sum.bytes(count, size, format)).sum();
    let tail = net.tail();
    let maps = &net.nodes[tail - 1];
    // Of every chain each rank but the last sends all of it.
    let mut numbers = 2 * (ranks - 1) * maps.y.count() * net.towers_of(maps).len();
    let layers: Vec<_> = net.nodes[tail..].iter().filter(|node| node.trains()).collect();
    for (index, node) in layers.iter().enumerate() {
        let all_but = |rank: usize| node.y.channels - share_of_rows(node.y.channels, rank, ranks).len();
        // Around a ring the first rank gathers all but the next one's share, and scatters all but its own.
        let rows = all_but(1) + if index + 1 < layers.len() { all_but(0) } else { 0 };
        numbers += ranks * rows * net.towers_of(node).len();
    }
    let reports = bytes_of_gather(4 + 4 * images as u64, size) + bytes_of_gather(48, size);
    (sums + reports) / size + 4 * (numbers * images) as u64
}

#[test]
fn a_step_sends_what_the_plan_says_to_the_byte() {
    let place = tempfile::tempdir().unwrap();
    for ranks in [2, 4] {
        let folder = place.path().join(ranks.to_string());
        train(ranks, &folder, begin, &|launch| {
            hybrid(3)(launch);
            launch.config.network.train.batch = 96;
        });
        let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let sent: Vec<u64> = lines.filter_map(|line| line["ranks"]["sent"].as_u64()).collect();
        assert_eq!(sent, [planned(&folder, ranks, 96 / ranks); 3], "{ranks} ranks");
    }
}

#[test]
fn what_cannot_be_cut_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let refused = |ranks: usize, change: &(dyn Fn(&mut Launch) + Sync)| {
        let ended = run(ranks, &place.path().join("refused"), begin, &|launch| {
            hybrid(1)(launch);
            change(launch);
        });
        ended.into_iter().map(|rank| rank.unwrap_err()).collect::<Vec<_>>().join("\n")
    };
    let said = refused(2, &|launch| launch.config.options.precision = Precision::Mixed);
    assert!(said.contains("--parallel hybrid goes with --precision f32 alone"), "{said}");
    let said = refused(11, &|launch| launch.config.network.train.batch = 88);
    assert!(said.contains("layer fc") && said.contains("units of a tower among 11 ranks"), "{said}");
}
