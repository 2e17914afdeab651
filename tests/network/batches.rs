//! Micro-batches, kernels in pieces and recomputed maps: how a minibatch is computed is no part of the network, so it
//! must not change the results.

use std::collections::HashMap;

use alexnet::backend::{Limits, Placement};
use alexnet::data::{Batch, NO_LABEL};
use alexnet::net::{Job, Model, Net, NetProgram, Options, lower, model};
use alexnet::program::{Command, Pass, Program, Role};
use alexnet::session::Session;
use alexnet::session::layout::Layout;

use crate::devices::{open, spec};
use crate::engine::Engine;
use crate::training::{Run, assert_same, assert_trained, batches, begin, difference, gentle, mini, train, train_as};

const STEPS: usize = 5;

/// The processor, and the best adapter where there is one.
fn everywhere() -> Vec<Placement> {
    ["cpu", "gpu"].into_iter().filter_map(spec).map(|spec| open(&spec)).collect()
}

/// Checks that losses of `got` are within 1e-5 of those of `want`: rounding alone, which a few steps at a gentle rate
/// do not amplify beyond.
#[track_caller]
fn assert_near(name: &str, got: &Run, want: &Run) {
    let worst = difference(got, want);
    println!("{name}: {worst:.1e}");
    assert!(worst < 1e-5, "{name}: losses {:?}, elsewhere {:?}", got.losses, want.losses);
}

/// Two towers with every kind of layer, which meet where the paper's do.
const ALL_LAYERS: &str = r#"input = { channels = 3, size = 21, mean_centred = true }
    towers = 2
    lrn = { size = 5, k = 2.0, alpha = 0.2, beta = 0.75 }
    pool = { size = 3, stride = 2 }
    layers = [
      { name = "conv1", conv = { filters = 8, size = 3, stride = 2 }, weights = 0.3, then = ["lrn", "pool", "relu"] },
      { name = "conv2", conv = { filters = 8, size = 3, pad = 1 }, weights = 0.3, bias = 0.5, then = [
        "relu", "lrn", { lrn_spatial = { size = 3, k = 1.0, alpha = 0.1, beta = 0.75 } }, "average_pool",
      ] },
      { name = "conv3", conv = { filters = 8, size = 2, pad = 1 }, sees = "both", weights = 0.4, then = ["pool", "relu"] },
      { name = "fc6", fc = 16, sees = "both", weights = 0.5, bias = 1, then = ["relu", "dropout"] },
      { name = "fc7", fc = 16, sees = "both", weights = 0.5, then = ["tanh", { dropout = 0.8 }] },
      { name = "fc8", fc = 10, sees = "both", on = "a", weights = 0.5, then = ["softmax"] },
    ]"#;

/// Gradients, by name, of a minibatch with `labels`, computed `images` at once; twice, so that leftovers would show.
fn gradients(images: usize, labels: &[u32]) -> HashMap<String, Vec<f64>> {
    let job = Job::training(labels.len()).at_once(images);
    let mut engine = Engine::<f64>::set_up(ALL_LAYERS, &job);
    for _ in 0..2 {
        for first in (0..labels.len()).step_by(images) {
            engine.feed_from(first, labels, |_| 0);
            engine.run(if first == 0 { Pass::Gradients } else { Pass::Accumulate });
        }
    }
    let trained = engine.lowered.trained.iter();
    trained.map(|trained| (trained.name.clone(), engine.get(trained.gradient.unwrap()))).collect()
}

#[test]
fn gradients_of_a_minibatch_are_the_sums_of_its_batches() {
    let labelled = |count: u32| (0..24).map(|n| if n < count { n % 10 } else { NO_LABEL }).collect::<Vec<u32>>();
    for labels in [labelled(24), labelled(21), labelled(13)] {
        let whole = gradients(24, &labels);
        for images in [8, 16] {
            for (name, got) in gradients(images, &labels) {
                let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
                let (want, size) = (&whole[&name], norm(&whole[&name]));
                let error = norm(&got.iter().zip(want).map(|(got, want)| got - want).collect::<Vec<_>>()) / size;
                assert!(size > 1e-6 && error < 1e-12, "{images} at once: {name} is {error:e} of {size:e} off");
            }
        }
    }
}

fn in_eights(batch: usize) -> Job {
    Job::training(batch).at_once(8)
}

#[test]
fn mini_trains_alike_in_micro_batches() {
    for place in everywhere() {
        let whole = train(&place, &gentle(), STEPS);
        let parts = train_as(&in_eights(32), &place, &gentle(), STEPS);
        assert_trained(&parts.device, &parts);
        assert_near(&parts.device, &parts, &whole);
        for (got, want) in parts.scores.iter().zip(&whole.scores) {
            assert_eq!((got.images, got.top1, got.top5), (want.images, want.top1, want.top5), "{}", parts.device);
        }
        assert_same("once more", &train_as(&in_eights(32), &place, &gentle(), STEPS), &parts);
    }
    // The last batch of every minibatch holds 6 of its 8 images, on two devices as on one.
    for (alone, two) in [("cpu", "cpu,cpu"), ("gpu", "gpu,gpu")] {
        let (Some(alone), Some(two)) = (spec(alone), spec(two)) else { continue };
        let [alone, two] = [alone, two].map(|spec| train_as(&in_eights(30), &open(&spec), &mini(2), STEPS));
        assert!(alone.scores.iter().all(|score| score.images == 30));
        assert_same(&two.device, &two, &alone);
    }
}

/// Batches of 37 images in 40 places. A kernel computes an image in one order, whichever tile it lies in, so adapters
/// give the same bits, too.
#[test]
fn scores_of_an_image_do_not_depend_on_its_batch() {
    for place in everywhere() {
        let outcomes = [40, 16, 8].map(|at_once| {
            let job = Job::evaluation(40).at_once(at_once);
            let mut session = Session::new(Net::new(mini(2)).unwrap(), &job, &place, 3).unwrap();
            begin_evaluation(&mut session);
            assert_eq!(session.images(), at_once);
            let batch = partly_filled(session.net());
            let probabilities = session.probabilities(&batch).unwrap();
            session.evaluate(&batch).unwrap();
            (session.score().unwrap(), probabilities)
        });
        let [(whole, probabilities), rest @ ..] = &outcomes;
        assert_eq!((whole.images, probabilities.len()), (37, 37));
        let labels = partly_filled(&Net::new(mini(2)).unwrap()).labels;
        let own = probabilities.iter().zip(labels).map(|(scores, label)| -f64::from(scores[label as usize]).ln());
        let loss: f64 = own.sum();
        assert!((loss - whole.loss).abs() < 1e-5 * loss, "{loss} by the probabilities, scored {}", whole.loss);
        for (score, parts) in rest {
            assert!(parts == probabilities, "probabilities differ");
            assert_eq!((score.images, score.top1, score.top5), (37, whole.top1, whole.top5));
            assert!((score.loss - whole.loss).abs() < 1e-12 * whole.loss, "{} and {}", score.loss, whole.loss);
        }
    }
}

fn begin_evaluation(session: &mut Session) {
    let stored = session.net().model.input.stored();
    session.initialise().unwrap();
    session.set_mean(&vec![120.0; stored * stored * 3]).unwrap();
}

fn partly_filled(net: &Net) -> Batch {
    let mut batch = batches(net, 40).next().unwrap();
    batch.count = 37;
    batch.labels[37..].fill(NO_LABEL);
    batch
}

/// `mini` and the tiny network with wide layers: weights that are larger than any map of 8 images.
fn wide() -> [Model; 2] {
    let mut mini = gentle();
    for (row, neurons) in [(5, 512), (6, 512)] {
        mini.layers[row].set_outputs(neurons);
    }
    let tiny = crate::tiny::TINY.replace("fc = 16", "fc = 512");
    [mini, Model::parse("wide tiny", &tiny).unwrap()]
}

/// A session whose kernels run in pieces of at most `binding` bytes, 8 images at once.
fn in_pieces(model: &Model, placement: &Placement, binding: u64) -> Session {
    let net = Net::new(model.clone()).unwrap();
    let limits = placement.limits(model.towers).into_iter().map(|limits| Limits { binding, ..limits });
    let job = in_eights(model.train.batch);
    let layout = Layout::new(&net, &job, &limits.collect::<Vec<_>>()).unwrap();
    Session::laid_out(net, &job, layout, placement, 5).unwrap()
}

#[test]
fn networks_train_alike_in_pieces() {
    for (model, binding, pieces) in wide().iter().zip([(208 << 10, 2), (20 << 10, 4)]).map(|(m, (b, p))| (m, b, p)) {
        let run = |spec: &str, binding: u64| {
            let mut session = in_pieces(model, &open(spec), binding);
            let program = &session.lowered().program;
            let weights = program.with_role(Role::Weight).map(|(_, info)| info.bytes()).max().unwrap();
            let (_, largest) = program.largest_binding().unwrap();
            assert!(largest <= binding, "{largest} bytes bound at once");
            assert!(binding == u64::MAX || weights > (pieces - 1) * binding, "{weights} bytes of weights");
            begin(&mut session, model.train.batch, STEPS)
        };
        for (alone, two) in [("cpu", "cpu,cpu"), ("gpu", "gpu,gpu")] {
            let (Some(alone), Some(two)) = (spec(alone), spec(two)) else { continue };
            let cut = run(&alone, binding);
            assert_trained(&cut.device, &cut);
            assert_near(&cut.device, &cut, &run(&alone, u64::MAX));
            assert_same(&two, &run(&two, binding), &cut);
        }
    }
}

/// The model of [`ALL_LAYERS`].
fn all_layers() -> Model {
    let text = format!("about = \"all\"\ntrain = {{ batch = 16, epochs = 1, rate = 0.001 }}\n{ALL_LAYERS}");
    Model::parse("all layers", &text).unwrap()
}

#[test]
fn recomputed_maps_have_the_bits_of_kept_ones() {
    for place in everywhere() {
        for model in [mini(2), all_layers()] {
            let kept = Job::training(32).at_once(16);
            let again = train_as(&kept.with(Options { recompute: true, ..kept.options }), &place, &model, STEPS);
            assert_trained(&again.device, &again);
            assert_same(&again.device, &again, &train_as(&kept, &place, &model, STEPS));
        }
    }
}

fn lowered(model: &Model, recompute: bool) -> NetProgram {
    let job = Job::training(16).with(Options { recompute, micro_batch: Some(8), ..Options::DEFAULT });
    lower(&Net::new(model.clone()).unwrap(), &job)
}

/// Names of the slots that the runs of a pass write, in order.
fn written(program: &Program, pass: Pass) -> Vec<String> {
    let runs = program.commands(pass).iter().filter(|command| matches!(command, Command::Run { .. }));
    runs.flat_map(Command::writes).map(|slot| program.slot(slot).name.clone()).collect()
}

#[test]
fn only_maps_that_are_read_are_recomputed_and_only_once() {
    let built_in = model::BUILT_IN.iter().map(|&(name, _)| (name, Model::open(name).unwrap()));
    for (name, model) in built_in.chain([("all layers", all_layers())]) {
        let [keeps, makes] = [false, true].map(|recompute| lowered(&model, recompute).program);
        for pass in [Pass::Gradients, Pass::Accumulate] {
            let (mut made, kept): (Vec<_>, Vec<_>) =
                written(&makes, pass).into_iter().partition(|slot| slot.ends_with(".again.y"));
            assert_eq!(kept, written(&keeps, pass), "{name}: everything else is as it was");
            let mut read: Vec<_> = makes.commands(pass).iter().flat_map(Command::reads).collect();
            read.sort();
            read.dedup();
            let mut read: Vec<_> = read.into_iter().map(|slot| makes.slot(slot).name.clone()).collect();
            read.retain(|slot| slot.ends_with(".again.y"));
            made.sort();
            read.sort();
            assert_eq!(made, read, "{name}: each once, and none for nobody");
            if name == "alexnet" {
                // Of the last, tower B's is only read by tower A, which keeps its copy.
                let stages = ["conv1.lrn.a", "conv1.lrn.b", "conv2.lrn.a", "conv2.lrn.b"];
                let rows = ["fc6.dropout.a", "fc6.dropout.b", "fc7.dropout.a"];
                let want: Vec<_> = stages.iter().chain(&rows).map(|name| format!("{name}.again.y")).collect();
                assert_eq!(made, want);
            }
        }
        assert_eq!(written(&makes, Pass::Evaluate), written(&keeps, Pass::Evaluate), "{name}");
    }
}

/// The outputs of both normalisations are not kept, 96·55² and 256·27² numbers an image; recomputed they take room,
/// too, but not all at once.
#[test]
fn recomputing_takes_less_memory() {
    let net = Net::new(Model::open("alexnet").unwrap()).unwrap();
    let outputs = 4 * 128 * (96 * 55 * 55 + 256 * 27 * 27);
    for devices in [1, 2] {
        let limits = vec![Limits::cpu(); devices];
        let maps = [false, true].map(|recompute| {
            let job = Job::training(128).with(Options { recompute, ..Options::DEFAULT });
            let layout = Layout::new(&net, &job, &limits).unwrap();
            layout.shares.iter().map(|share| share.footprint.maps).sum::<u64>()
        });
        let saved = maps[0].saturating_sub(maps[1]);
        println!("{devices} devices: {maps:?}, {saved} of {outputs} bytes");
        assert!((outputs / 4..outputs).contains(&saved), "{devices} devices: {maps:?}");
    }
}
