//! What the paper reports of networks like these, to stand beside scores.

/// A row of the paper's Table 2: errors on the validation images of ILSVRC-2012, by ten views.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperRow {
    /// Number of averaged networks, with a star after pre-training.
    pub networks: &'static str,
    /// Share of images whose best class is wrong.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong.
    pub top5_error: f64,
}

/// Classes of the contest, for whose networks the rows are.
pub const CONTEST_CLASSES: usize = 1000;

/// Table 2; the stars are networks that were trained on all of ImageNet's Fall 2011 release first.
pub const PAPER: &[PaperRow] = &[
    PaperRow { networks: "1 CNN", top1_error: 0.407, top5_error: 0.182 },
    PaperRow { networks: "5 CNNs", top1_error: 0.381, top5_error: 0.164 },
    PaperRow { networks: "1 CNN*", top1_error: 0.390, top5_error: 0.166 },
    PaperRow { networks: "7 CNNs*", top1_error: 0.367, top5_error: 0.154 },
];
