//! The paper's numbers as assertions on the built-in models.

use alexnet::backend::Engine;
use alexnet::net::{Job, Model, Net, PlacedLayer, Position, Replacement, lower};
use alexnet::ops::layer::{Init, WeightKind};
use alexnet::ops::lrn;
use alexnet::program::{Command, Home, Pass, Program};
use alexnet::session::Session;

fn net(name: &str) -> Net {
    Net::new(Model::open(name).unwrap()).unwrap()
}

/// Weights without biases and biases of one node on one tower.
fn weights_and_biases(node: &PlacedLayer) -> (usize, usize) {
    let mut counts = (0, 0);
    for spec in node.layer.weights(&node.x) {
        let count: usize = spec.shape.iter().product();
        *if spec.kind == WeightKind::Bias { &mut counts.1 } else { &mut counts.0 } += count;
    }
    counts
}

/// Name, weights, biases, neurons and forward multiply-adds of every layer with weights.
fn table(net: &Net) -> Vec<(String, usize, usize, usize, u64)> {
    let weighted = net.nodes.iter().filter(|node| weights_and_biases(node) != (0, 0));
    weighted
        .map(|node| {
            let ((weights, biases), towers) = (weights_and_biases(node), net.towers_of(node).len());
            (node.name.clone(), weights * towers, biases * towers, node.y.count() * towers, net.macs_of(node))
        })
        .collect()
}

/// Figure 2 and section 3.5, with conv1's neurons as they are (55·55·96; the figure's 253,440 is a slip).
#[test]
fn alexnet_has_the_papers_layers() {
    let expected = [
        ("conv1", 34_848, 96, 290_400, 105_415_200),
        ("conv2", 307_200, 256, 186_624, 223_948_800),
        ("conv3", 884_736, 384, 64_896, 149_520_384),
        ("conv4", 663_552, 384, 64_896, 112_140_288),
        ("conv5", 442_368, 256, 43_264, 74_760_192),
        ("fc6", 37_748_736, 4096, 4096, 37_748_736),
        ("fc7", 16_777_216, 4096, 4096, 16_777_216),
        ("fc8", 4_096_000, 1000, 1000, 4_096_000),
    ];
    for name in ["alexnet", "alexnet-2012"] {
        let net = net(name);
        let expected =
            expected.map(|(layer, weights, biases, neurons, macs)| (layer.to_owned(), weights, biases, neurons, macs));
        assert_eq!(table(&net), expected, "{name}");
        assert_eq!(net.parameters(), 60_965_224, "{name}: the paper's 60 million parameters");
        assert_eq!(net.neurons(), 659_272, "{name}: the paper's 650,000 neurons");
        assert_eq!(net.macs(), 724_406_816, "{name}");
        assert_eq!(net.classes(), 1000);
    }
}

#[test]
fn maps_shrink_as_in_figure_2() {
    for name in ["alexnet", "alexnet-2012", "alexnet-one-tower"] {
        let net = net(name);
        let heights = net.nodes.iter().filter(|node| node.y.height > 1).map(|node| (node.y.height, node.y.width));
        let mut sides: Vec<_> = heights.collect();
        sides.dedup();
        assert_eq!(sides, [55, 27, 13, 6].map(|side| (side, side)), "{name}");
        let height = |layer: &str| net.nodes.iter().find(|node| node.name == layer).unwrap().y.height;
        let sizes = ["conv1", "conv2", "conv3", "conv4", "conv5", "conv5.pool"].map(height);
        assert_eq!(sizes, [55, 27, 13, 13, 13, 6], "{name}");
    }
}

#[test]
fn towers_share_the_weights_as_two_gpus_did() {
    let net = net("alexnet");
    let mut towers = [0; 2];
    for node in &net.nodes {
        for tower in net.towers_of(node) {
            towers[tower] += weights_and_biases(node).0;
        }
    }
    assert_eq!(towers, [32_525_328, 28_429_328]);
    // The same in the program that trains it, where every slot has a home.
    let lowered = lower(&net, &Job::training(8));
    let mut towers = [0; 2];
    for trained in lowered.trained.iter().filter(|trained| !trained.bias) {
        let info = lowered.program.slot(trained.value);
        let Home::Tower(tower) = info.home else { panic!("{} lies nowhere", info.name) };
        towers[tower] += info.count();
    }
    assert_eq!(towers, [32_525_328, 28_429_328]);
}

#[test]
fn the_other_models_have_their_published_counts() {
    for (name, parameters) in [
        ("alexnet-one-tower", 59_798_312),
        ("cifar-quick", 145_578),
        ("cifar-18pct", 89_578),
        ("cifar-80sec", 145_578),
        ("cifar-19pct", 89_578),
        ("cifar-13pct", 1_116_490),
        ("cifar-11pct", 2_112_970),
        ("net-145-half", 59_798_312),
        ("bvlc-cifar-quick", 145_578),
        // The ungrouped network.
        ("caffenet", 62_378_344),
        // Two groups, normalised together.
        ("bvlc-alexnet", 60_965_224),
        ("bvlc-caffenet", 60_965_224),
        ("torchvision", 61_100_840),
        // With 3·3·256·256 weights and 256 biases between conv5 and fc6.
        ("alexnet-conv6", 60_965_224 + 589_824 + 256),
        // Towers of 48, 160, 192, 192 and 128 filters and 4096 neurons each, twice.
        (
            "alexnet-apart",
            2 * (48 * 364 + 160 * 1201 + 192 * 1441 + 192 * 1729 + 128 * 1729 + 4096 * 4609 + 4096 * 4097) + 8_193_000,
        ),
        // Pooling has no weights, and the last maps have as many pixels.
        ("alexnet-plain-pool", 60_965_224),
    ] {
        assert_eq!(net(name).parameters(), parameters, "{name}");
    }
    assert_eq!(net("alexnet-one-tower").macs(), 391_514_384);
    assert_eq!(net("caffenet").macs(), 1_135_256_096);
}

/// What the ablations of the paper and of its author's notes change (spec, sections 1.1, 4.2 and 4.4), and that all of
/// them can be trained.
#[test]
fn the_ablations_are_there() {
    let sides = |net: &Net| {
        let mut sides: Vec<_> = net.nodes.iter().map(|node| node.y.height).filter(|side| *side > 1).collect();
        sides.dedup();
        sides
    };
    // Net 147: 2/2 pools, conv2 with padding 1, conv5 with none.
    assert_eq!(sides(&net("alexnet-plain-pool")), [55, 28, 26, 13, 11, 6]);
    assert_eq!(sides(&net("alexnet-conv6")), [55, 27, 13, 6]);
    // Net 150: nothing crosses before the classifier, which has 4096 neurons of tower B's.
    let apart = lower(&net("alexnet-apart"), &Job::training(8));
    let crossing = |pass, from| exchanged(&apart.program, pass, 8, from);
    assert_eq!([crossing(Pass::Evaluate, 0), crossing(Pass::Evaluate, 1)], [0, 4096]);
    // What a word changes: neurons, normalisation, dropout.
    let replaced = |text: &str| {
        let mut model = Model::open("alexnet").unwrap();
        text.parse::<Replacement>().unwrap().apply(&mut model).unwrap();
        Net::new(model).unwrap()
    };
    let count = |net: &Net, kind: &str| net.nodes.iter().filter(|node| node.layer.describe().contains(kind)).count();
    let whole = net("alexnet");
    let counts = |net: &Net| ["relu", "tanh", "lrn", "dropout"].map(|kind| count(net, kind));
    assert_eq!(counts(&whole), [7, 0, 2, 2]);
    assert_eq!(counts(&replaced("relu=tanh")), [0, 7, 2, 2]);
    assert_eq!(counts(&replaced("lrn=none")), [7, 0, 0, 2]);
    assert_eq!(counts(&replaced("dropout=none")), [7, 0, 2, 0]);
    for text in ["relu=tanh", "lrn=none", "dropout=none"] {
        let net = replaced(text);
        assert_eq!((net.parameters(), net.macs()), (whole.parameters(), whole.macs()), "{text}");
    }
}

/// Floats per image that a pass copies from one tower to the other.
fn exchanged(program: &Program, pass: Pass, images: usize, from_tower: usize) -> usize {
    let crossing = program.commands(pass).iter().filter_map(|command| match command {
        Command::Copy { from, to, .. } => Some((program.slot(*from), program.slot(*to))),
        Command::Run { .. } | Command::Across { .. } | Command::Send { .. } | Command::Receive { .. } => None,
    });
    let from_here = crossing.filter(|(from, to)| {
        assert_ne!(from.home, to.home, "{} is copied to where it is", from.name);
        from.home == Home::Tower(from_tower)
    });
    from_here.map(|(from, _)| from.count()).sum::<usize>() / images
}

/// conv3, fc6 and fc7 read both towers, fc8 reads tower B's share on tower A.
#[test]
fn little_crosses_between_the_towers() {
    let lowered = lower(&net("alexnet"), &Job::training(128));
    let program = &lowered.program;
    for pass in [Pass::Evaluate, Pass::Gradients] {
        let copied = program.commands(pass).iter().filter(|command| matches!(command, Command::Copy { .. })).count();
        assert!(copied > 0);
    }
    let (to_b, to_a) = (exchanged(program, Pass::Evaluate, 128, 0), exchanged(program, Pass::Evaluate, 128, 1));
    assert_eq!((to_b, to_a), (28_288, 30_336));
    let megabytes = |floats: usize| (floats * 4 * 128) as f64 / 1e6;
    assert_eq!((format!("{:.1}", megabytes(to_b)), format!("{:.1}", megabytes(to_a))), ("14.5".into(), "15.5".into()));
    // Backward the gradients of all that was copied travel home.
    let forward_and_back = |tower| exchanged(program, Pass::Gradients, 128, tower);
    assert_eq!((forward_and_back(0), forward_and_back(1)), (28_288 + 30_336, 30_336 + 28_288));
}

/// Forward once, backward twice, but nothing for the gradient of the pixels.
#[test]
fn training_costs_what_the_multiply_adds_say() {
    let lowered = lower(&net("alexnet"), &Job::training(8));
    let commands = lowered.program.commands(Pass::Gradients).iter();
    let contractions = commands.filter_map(|command| match command {
        Command::Run { kernel, params, .. } if kernel.name.starts_with("conv.") => Some((kernel.flops)(params)),
        _ => None,
    });
    let flops = contractions.sum::<u64>() / 8;
    assert_eq!(flops, 2 * (3 * 724_406_816 - 105_415_200));
    assert_eq!(format!("{:.2}", flops as f64 / 1e9), "4.14");
    // Everything else together is a few per cent of it.
    let all = lowered.program.flops(Pass::Gradients) / 8;
    assert!(flops < all && all < flops + flops / 20, "{all}");
}

fn order(net: &Net) -> Vec<&str> {
    net.nodes.iter().map(|node| node.name.as_str()).collect()
}

/// Initial deviations and biases of every layer with weights.
fn inits(net: &Net) -> Vec<(String, Vec<Init>)> {
    let init = |node: &PlacedLayer| {
        let mut inits: Vec<Init> = node.layer.weights(&node.x).iter().map(|spec| spec.init).collect();
        inits.dedup();
        (node.name.clone(), inits)
    };
    net.nodes.iter().map(init).filter(|(_, inits)| !inits.is_empty()).collect()
}

/// Where paper and released code disagree (the code's layer file against sections 3.5 and 5).
#[test]
fn the_paper_and_the_released_code_differ_where_they_should() {
    let (paper, code) = (net("alexnet"), net("alexnet-2012"));
    assert_eq!(
        order(&paper),
        [
            "conv1",
            "conv1.lrn",
            "conv1.pool",
            "conv2",
            "conv2.lrn",
            "conv2.pool",
            "conv3",
            "conv4",
            "conv5",
            "conv5.pool",
            "fc6",
            "fc6.dropout",
            "fc7",
            "fc7.dropout",
            "fc8"
        ]
    );
    assert_eq!(
        order(&code),
        [
            "conv1",
            "conv1.lrn",
            "conv1.pool",
            "conv1.relu",
            "conv2",
            "conv2.lrn",
            "conv2.lrn_spatial",
            "conv2.pool",
            "conv3",
            "conv4",
            "conv5",
            "conv5.pool",
            "conv5.relu",
            "fc6",
            "fc6.dropout",
            "fc7",
            "fc7.dropout",
            "fc8"
        ]
    );
    let kinds = |net: &Net| net.nodes.iter().map(|node| node.layer.describe()).collect::<Vec<_>>();
    assert!(kinds(&paper)[0].contains("relu") && !kinds(&code)[0].contains("relu"));
    let expected = |deviations: [f32; 8], biases: [f32; 8]| -> Vec<Vec<Init>> {
        deviations.into_iter().zip(biases).map(|(d, b)| vec![Init::Normal(d), Init::Constant(b)]).collect()
    };
    let biases = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0];
    let found = |net: &Net| inits(net).into_iter().map(|(_, inits)| inits).collect::<Vec<_>>();
    assert_eq!(found(&paper), expected([0.01; 8], biases));
    assert_eq!(found(&code), expected([0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01], biases));
    let (paper, code) = (paper.model, code.model);
    let [paper_lrn, code_lrn] = [&paper, &code].map(|model| lrn::Settings::from(&model.shared["lrn"]));
    assert_eq!((paper_lrn.alpha, code_lrn.alpha), (1e-4, 2e-5));
    for lrn in [paper_lrn, code_lrn] {
        assert_eq!((lrn.size, lrn.k, lrn.beta), (5, 2.0, 0.75));
    }
    assert_eq!((paper.train.bias_rate, code.train.bias_rate), (None, Some(0.02)));
    assert_eq!((paper.input.mean_centred, code.input.mean_centred), (false, true));
    for train in [paper.train, code.train] {
        let numbers = (train.batch, train.rate, train.optimizer.hyper["momentum"], train.decay, train.augment.mirror);
        assert_eq!(numbers, (128, 0.01, 0.9, 0.0005, true));
        let end = Position { epoch: train.epochs, ..Position::default() };
        let last = train.schedule.factors(&end).weights;
        assert!((last / 1e-3 - 1.0).abs() < 1e-6, "the rate was reduced three times, to {last} of the first");
    }
}

/// Section 5: normal weights of the stated deviation, constant biases; no two tensors alike.
#[test]
fn initial_weights_are_drawn_as_stated() {
    let mut session = Session::new(net("mini"), &Job::training(8), &Engine::Cpu.into(), 3).unwrap();
    session.initialise().unwrap();
    let tensors = session.tensors().unwrap();
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for trained in session.lowered().trained.clone() {
        let values = tensors[&trained.name].values();
        match trained.init {
            Init::Constant(value) => assert!(values.iter().all(|&v| v == value), "{}", trained.name),
            Init::Normal(sd) => {
                let (n, sd) = (values.len() as f64, f64::from(sd));
                let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
                let deviation = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
                // Five standard errors of each estimate.
                assert!((deviation - sd).abs() < 5.0 * sd / (2.0 * n).sqrt(), "{}: {deviation}, {sd}", trained.name);
                assert!(mean.abs() < 5.0 * sd / n.sqrt(), "{}: mean {mean}", trained.name);
                let start: Vec<f32> = values[..8].iter().map(|v| v / sd as f32).collect();
                assert!(!seen.contains(&start), "{} begins like another tensor", trained.name);
                seen.push(start);
            }
        }
        let momentum = &tensors[&format!("{}.momentum", trained.name)];
        assert!(momentum.values().iter().all(|&v| v == 0.0), "{}", trained.name);
    }
    assert_eq!(seen.len(), 2 + 2 + 4 + 2 + 2 + 4 + 4 + 2, "one matrix for each tower that a tower sees");
}
