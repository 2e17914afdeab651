//! What can be reproduced: claims of the paper and of its author's notes, as data.

use super::{Arm, Claim, Measure, Recipe, Reproduction};

/// A built-in network as it is.
const fn plain(model: &'static str) -> Recipe {
    Recipe { model, replace: &[], change: "" }
}

/// A built-in network with a stage replaced in all layers.
const fn replaced(model: &'static str, replace: &'static [&'static str]) -> Recipe {
    Recipe { replace, ..plain(model) }
}

/// A built-in network with other keys.
const fn changed(model: &'static str, change: &'static str) -> Recipe {
    Recipe { change, ..plain(model) }
}

/// An arm of networks for small images alone.
const fn small(name: &'static str, small: Recipe) -> Arm {
    Arm { name, small, full: None, augment: None }
}

/// An arm with a network for small images, and that of the claim.
const fn arm(name: &'static str, small: Recipe, full: Recipe) -> Arm {
    Arm { name, small, full: Some(full), augment: None }
}

/// An arm with random changes of training images of its own.
const fn augmented(name: &'static str, augment: &'static str) -> Arm {
    Arm { augment: Some(augment), ..arm(name, plain("mini"), plain("alexnet")) }
}

/// `mini` on one tower, as the paper's control net: half the filters, but conv5 and what follows at full width.
const HALF: &str = r#"
towers = 1
layers = [
  { name = "conv1", conv = { filters = 8, size = 5, pad = 2 }, weights = 0.16, then = ["relu", "lrn", "pool"] },
  { name = "conv2", conv = { filters = 16, size = 5, pad = 2 }, weights = 0.12, then = ["relu", "lrn", "pool"] },
  { name = "conv3", conv = { filters = 24, size = 3, pad = 1 }, weights = 0.085, then = ["relu"] },
  { name = "conv4", conv = { filters = 24, size = 3, pad = 1 }, weights = 0.096, then = ["relu"] },
  { name = "conv5", conv = { filters = 32, size = 3, pad = 1 }, weights = 0.096, then = ["relu", "pool"] },
  { name = "fc6", fc = 128, weights = 0.06, then = ["relu", { dropout = 0.8 }] },
  { name = "fc7", fc = 128, weights = 0.1, then = ["relu", { dropout = 0.8 }] },
  { name = "fc8", fc = 10, weights = 0.1, then = ["softmax"] },
]
"#;

/// All that `alexnet reproduce` knows, in the order of the paper.
pub static REPRODUCTIONS: &[Reproduction] = &[
    Reproduction {
        name: "relu-vs-tanh",
        claim: Claim {
            text: "ReLU reaches 25 % training error on CIFAR-10 several times faster than tanh",
            source: "section 3.1, Figure 1",
            number: Some(6.0),
        },
        arms: &[small("relu", plain("cifar-plain")), small("tanh", replaced("cifar-plain", &["relu=tanh"]))],
        measure: Measure::EpochsTo { error: 0.25, rates: &[0.002, 0.004, 0.008, 0.016], trial: 2, most: 100 },
        seeds: 1,
    },
    Reproduction {
        name: "two-towers",
        claim: Claim {
            text: "two GPUs err less than one with half the filters",
            source: "section 3.2; net 145-half on ILSVRC-2010",
            number: Some(1.7),
        },
        arms: &[
            arm("two towers", plain("mini"), plain("net-145-2010")),
            arm("one, half the filters", changed("mini", HALF), plain("net-145-half")),
        ],
        measure: Measure::Error,
        seeds: 5,
    },
    Reproduction {
        name: "norm",
        claim: Claim {
            text: "normalisation lowers the error",
            source: "section 3.3; nets 145 and 148 on ILSVRC2012",
            number: Some(1.4),
        },
        arms: &[
            arm("normalised", plain("mini"), plain("alexnet-2012")),
            arm("without", replaced("mini", &["lrn=none"]), plain("net-148")),
        ],
        measure: Measure::Error,
        seeds: 5,
    },
    Reproduction {
        name: "overlap",
        claim: Claim {
            text: "pools that overlap lower the error",
            source: "section 3.4; nets 145 and 147 on ILSVRC2012",
            number: Some(0.4),
        },
        arms: &[
            arm("pools 3/2", plain("mini"), plain("alexnet-2012")),
            arm("pools 2/2", changed("mini", "pool = { size = 2, stride = 2 }"), plain("net-147")),
        ],
        measure: Measure::Error,
        seeds: 5,
    },
    Reproduction {
        name: "augmentation",
        claim: Claim {
            text: "without crops and mirrors the network overfits; colour noise lowers the error by over 1 point",
            source: "section 4.1",
            number: None,
        },
        arms: &[
            augmented("crops, mirrors, colours", "paper"),
            augmented("crops and mirrors", "crops"),
            augmented("none", "none"),
        ],
        measure: Measure::Error,
        seeds: 5,
    },
    Reproduction {
        name: "ten-views",
        claim: Claim {
            text: "ten views of a test image err less than its centre",
            source: "section 4.1; net 145 on ILSVRC-2010: 39.0 and 37.5 %",
            number: Some(1.5),
        },
        arms: &[arm("ten views", plain("mini"), plain("net-145-2010"))],
        measure: Measure::Views,
        seeds: 5,
    },
    Reproduction {
        name: "dropout",
        claim: Claim {
            text: "without dropout the network overfits; with it training takes twice as long",
            source: "section 4.2",
            number: None,
        },
        arms: &[
            arm("dropout", plain("mini"), plain("alexnet")),
            arm("without", replaced("mini", &["dropout=none"]), replaced("alexnet", &["dropout=none"])),
        ],
        measure: Measure::Error,
        seeds: 5,
    },
    Reproduction {
        name: "ensemble",
        claim: Claim {
            text: "the average of five networks errs less than one",
            source: "section 6, Table 2: 40.7 and 38.1 %",
            number: Some(2.6),
        },
        arms: &[arm("one of them", plain("mini"), plain("alexnet-2012"))],
        measure: Measure::Ensemble,
        seeds: 5,
    },
    Reproduction {
        name: "cuda-convnet",
        claim: Claim {
            text: "errors on CIFAR-10 of the networks in the author's cuda-convnet",
            source: "cuda-convnet's layer files and wiki",
            number: None,
        },
        arms: &[
            small("80sec", plain("cifar-80sec")),
            small("19pct", plain("cifar-19pct")),
            small("18pct", plain("cifar-18pct")),
            small("13pct", plain("cifar-13pct")),
            small("11pct", plain("cifar-11pct")),
        ],
        measure: Measure::Published { errors: &[26.0, 19.0, 18.0, 13.0, 11.0], views: &[1, 1, 1, 10, 10] },
        seeds: 1,
    },
];
