//! Runs that several ranks share, as threads of this process: against a run of one, and against each other.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use alexnet::backend::Placement;
use alexnet::checkpoint::Checkpoint;
use alexnet::data::{ImageError, ImageSet, StoredImage};
use alexnet::net::{Job, Net, Precision, WireFormat};
use alexnet::ranks::{Exchange, Format, Ranks};
use alexnet::runs::Run;
use alexnet::session::layout::Layout;
use alexnet::tensor::Tensor;
use alexnet::train::{Config, Launch, Resume, RunSummary};
use serde_json::Value;

use crate::devices::open;
use crate::library::Greys;
use crate::runs::{At, STEPS, tiny};
use crate::trap::{Fault, Operation, Trap};

/// Configures the run of one rank.
pub(crate) type Change<'a> = dyn Fn(&mut Launch) + Sync + 'a;

/// The run of the tiny network on the bundled sample, on the CPU engine, at a rate at which no unit comes down on the
/// other side of its kink for a last bit.
pub(crate) fn begin(folder: &Path, ranks: Ranks) -> Launch {
    let mut launch = Launch::from(Config::new("tiny", tiny(), 0));
    launch.config.network.train.rate = 0.001;
    launch.folder = Some(folder.into());
    launch.config.devices = Some("cpu".into());
    launch.ranks = Arc::new(ranks);
    launch
}

/// Goes on with the run in `folder`.
pub(crate) fn resume(folder: &Path, ranks: Ranks) -> Launch {
    Launch::resume_among(&Arc::new(ranks), folder, &Resume::default()).unwrap()
}

/// What becomes of every one of `count` ranks.
pub(crate) fn run(
    count: usize,
    folder: &Path,
    start: fn(&Path, Ranks) -> Launch,
    change: &Change<'_>,
) -> Vec<Result<RunSummary, String>> {
    let ranks = Ranks::threads(count, None).unwrap();
    thread::scope(|scope| {
        let rank = |ranks: Ranks| {
            scope.spawn(move || {
                let mut launch = start(folder, ranks);
                change(&mut launch);
                let stop = AtomicBool::new(false);
                let trained = launch.prepare(Placement::untuned).and_then(|ready| ready.trainer(&stop)?.run(&mut ()));
                trained.map_err(|error| error.to_string())
            })
        };
        let running: Vec<_> = ranks.into_iter().map(rank).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// The same for ranks that come to their end.
#[track_caller]
pub(crate) fn train(count: usize, folder: &Path, start: fn(&Path, Ranks) -> Launch, change: &Change<'_>) {
    for rank in run(count, folder, start, change) {
        rank.unwrap();
    }
}

pub(crate) fn last(folder: &Path) -> Checkpoint {
    Checkpoint::read(&folder.join("last.safetensors")).unwrap()
}

/// The largest difference between two runs in a loss, and in a weight or an increment.
pub(crate) fn differences(a: &Path, b: &Path) -> [f64; 2] {
    let [steps, others] = [a, b].map(|folder| {
        let run = Run::open(folder).unwrap();
        let last = run.validations.last().copied();
        run.steps.into_iter().chain(last).map(|metric| (metric.step, metric.loss)).collect::<Vec<_>>()
    });
    let numbers = |steps: &[(u64, f64)]| steps.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    assert_eq!(numbers(&steps), numbers(&others));
    let loss = steps.iter().zip(others).map(|((_, a), (_, b))| (a - b).abs()).fold(0.0, f64::max);
    let [a, b] = [a, b].map(last);
    let state = |checkpoint: &Checkpoint| {
        let state = &checkpoint.state;
        (state.step, state.epoch, state.position, state.unvalidated, state.training.images)
    };
    assert_eq!(state(&a), state(&b));
    assert_eq!(a.tensors.keys().collect::<Vec<_>>(), b.tensors.keys().collect::<Vec<_>>());
    let far = |(a, b): (&Tensor, &Tensor)| {
        a.values().iter().zip(b.values()).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
    };
    [loss, a.tensors.values().zip(b.tensors.values()).map(far).fold(0.0, f64::max)]
}

#[track_caller]
pub(crate) fn near(a: &Path, b: &Path) {
    let [loss, weight] = differences(a, b);
    assert!(loss < 1e-5 && weight < 1e-4, "losses differ by {loss}, weights by {weight}");
}

/// Bytes of the last checkpoint.
pub(crate) fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("last.safetensors")).unwrap()
}

#[test]
fn any_number_of_ranks_trains_as_one_does() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    // A whole epoch, its validation, and the beginning of the next.
    let steps: &Change<'_> = &|launch| launch.config.steps = Some(STEPS + 5);
    let alone = |folder: &Path, _: Ranks| begin(folder, Ranks::alone());
    train(1, &at("one"), alone, steps);
    train(1, &at("single"), begin, steps);
    assert!(bytes(&at("one")) == bytes(&at("single")), "a rank without others is no other run");
    for ranks in [2, 3, 4] {
        let [first, again] = ["", "-again"].map(|name| at(&format!("{ranks}{name}")));
        train(ranks, &first, begin, steps);
        near(&first, &at("one"));
        train(ranks, &again, begin, &|launch| (launch.config.steps, launch.overlap) = (Some(STEPS + 5), false));
        assert!(bytes(&first) == bytes(&again), "{ranks} ranks: the same bits in every run, hidden or not");
    }
}

#[test]
fn micro_batches_towers_and_precisions_go_with_ranks() {
    let place = tempfile::tempdir().unwrap();
    let changes: [(&str, &Change<'_>); 3] = [
        ("micro", &|launch| launch.config.options.micro_batch = Some(16)),
        ("split", &|launch| launch.config.devices = Some("cpu,cpu".into())),
        ("mixed", &|launch| launch.config.options.precision = Precision::Mixed),
    ];
    for (name, change) in changes {
        let at = |ranks: usize| place.path().join(format!("{name}-{ranks}"));
        for ranks in [1, 2] {
            train(ranks, &at(ranks), begin, &|launch| {
                launch.config.steps = Some(20);
                change(launch);
            });
        }
        let [loss, weight] = differences(&at(1), &at(2));
        // A number that falls on the other side of a half's edge moves by a thousandth of itself.
        let allowed = if name == "mixed" { 1e-3 } else { 1e-5 };
        assert!(loss < allowed && weight < 10.0 * allowed, "{name}: {loss}, {weight}");
        assert_eq!(last(&at(1)).state.loss_scale, last(&at(2)).state.loss_scale);
    }
}

#[test]
fn a_step_sends_what_the_ring_sends_and_half_of_it_as_halves() {
    let place = tempfile::tempdir().unwrap();
    for (name, wire, format) in [("f32", WireFormat::F32, Format::Floats), ("f16", WireFormat::F16, Format::Halves)] {
        let folder = place.path().join(name);
        train(2, &folder, begin, &|launch| {
            launch.config.steps = Some(3);
            launch.config.options.exchange = wire;
        });
        let checkpoint = last(&folder);
        // By row: as many numbers as it has weights and biases.
        let mut rows = std::collections::BTreeMap::<&str, u64>::new();
        for (name, tensor) in &checkpoint.tensors {
            if let Some((row, rest)) = name.split_once('.')
                && !rest.ends_with(".momentum")
            {
                *rows.entry(row).or_default() += tensor.values().len() as u64;
            }
        }
        let gradients: u64 = rows.values().map(|&count| Exchange::Sum.bytes(count, 2, format)).sum();
        let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let sent: Vec<u64> = lines.filter_map(|line| line["ranks"]["sent"].as_u64()).collect();
        assert_eq!(sent.len(), 3);
        for sent in sent {
            // Two ranks send as much as each other; a report of 48 bytes and its two lengths besides.
            assert_eq!(sent, gradients / 2 + 48 + 16, "{name}: {rows:?}");
        }
    }
}

/// Every gradient leaves its device and comes back once a step.
#[test]
fn gradients_that_ranks_share_have_staging_memory() {
    let net = Net::new(tiny()).unwrap();
    let limits = open("cpu").limits(1);
    let [one, two] = [1, 2].map(|ranks| {
        let job = Job { ranks, ..Job::training(16 * ranks) };
        Layout::new(&net, &job, &limits).unwrap().shares[0].footprint.clone()
    });
    assert_eq!(two.staging - one.staging, 2 * 4 * net.parameters());
    assert_eq!((two.gradients, two.maps), (one.gradients, one.maps));
}

#[test]
fn a_run_goes_on_with_any_number_of_ranks() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let steps = |steps: u64| move |launch: &mut Launch| launch.config.steps = Some(steps);
    train(1, &at("one"), begin, &steps(12));
    train(4, &at("many"), begin, &steps(4));
    train(1, &at("many"), resume, &steps(8));
    train(4, &at("many"), resume, &steps(12));
    near(&at("one"), &at("many"));
    let refused = run(2, &at("many"), resume, &|launch| launch.config.seed = launch.ranks.rank() as u64);
    assert!(refused.iter().all(|rank| rank.as_ref().is_err_and(|e| e.contains("same program and arguments"))));
    let refused = run(3, &at("few"), begin, &|launch| launch.config.network.train.batch = 2);
    assert!(refused.iter().all(|rank| rank.as_ref().is_err_and(|e| e.contains("3 ranks are more than the 2 images"))));
}

/// Grey images of which some are broken.
struct Broken(Greys);

impl ImageSet for Broken {
    fn labels(&self) -> &[u32] {
        self.0.labels()
    }
    fn name(&self, i: usize) -> String {
        self.0.name(i)
    }
    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        if i % 31 == 4 { Err(ImageError::Empty(self.name(i))) } else { self.0.read(i) }
    }
}

#[test]
fn broken_images_are_left_out_by_all_ranks() {
    let place = tempfile::tempdir().unwrap();
    let train = |ranks: usize| {
        let folder = place.path().join(ranks.to_string());
        let summaries = run(ranks, &folder, begin, &|launch| {
            let classes = (0..10).map(|class| format!("grey {class}")).collect();
            let size = tiny().input.stored();
            let (training, validation) = (Broken(Greys::new(200)), Broken(Greys::new(50)));
            launch.dataset = Some(alexnet::Dataset::new(classes, training, validation, size).unwrap());
            launch.config.max_broken = Some(50.0);
            launch.config.network.train.batch = 32;
        });
        let skipped = |rank: Result<RunSummary, String>| {
            let mut skipped = rank.unwrap().skipped;
            skipped.sort();
            skipped
        };
        (folder, summaries.into_iter().map(skipped).collect::<Vec<_>>())
    };
    let (one, skipped) = train(1);
    assert_eq!(skipped[0].len(), 7, "those of the validation have the names of others");
    for ranks in [2, 3] {
        let (many, of_all) = train(ranks);
        assert!(of_all.iter().all(|of_rank| *of_rank == skipped[0]), "{of_all:?}");
        near(&one, &many);
    }
}

#[test]
fn ranks_stop_together_and_one_that_fails_is_named() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    // The third of them is told to stop after 5 steps.
    let ended: Vec<RunSummary> = thread::scope(|scope| {
        let rank = |ranks: Ranks| {
            let folder = at("stopped");
            scope.spawn(move || {
                let (stop, own) = (AtomicBool::new(false), ranks.rank() == 2);
                let trainer = begin(&folder, ranks).prepare(|devices| devices).unwrap().trainer(&stop).unwrap();
                trainer.run(&mut At { step: 5, act: || stop.store(own, Ordering::Relaxed) }).unwrap()
            })
        };
        let running: Vec<_> = Ranks::threads(3, None).unwrap().into_iter().map(rank).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    assert!(ended.iter().all(|summary| summary.interrupted && summary.steps == 5), "{ended:?}");
    assert_eq!(last(&at("stopped")).state.step, 5);
    // The device of the second fails in the seventh step.
    let errors: Vec<String> = thread::scope(|scope| {
        let rank = |ranks: Ranks| {
            let folder = at("failed");
            scope.spawn(move || {
                let (stop, trap, own) = (AtomicBool::new(false), Rc::new(Trap::default()), ranks.rank() == 1);
                let placed = |devices| trap.hide_in(devices);
                let trainer = begin(&folder, ranks).prepare(placed).unwrap().trainer(&stop).unwrap();
                let act = || {
                    if own {
                        trap.set(Fault { member: 0, operation: Operation::Run, after: 0, out_of_memory: false });
                    }
                };
                trainer.run(&mut At { step: 6, act }).unwrap_err().to_string()
            })
        };
        let running: Vec<_> = Ranks::threads(3, None).unwrap().into_iter().map(rank).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for error in [&errors[0], &errors[2]] {
        for part in ["rank 1 on thread 1", "after step 6", "was lost"] {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
    }
    assert_eq!(last(&at("failed")).state.step, 6, "the first rank's network is well");
}
