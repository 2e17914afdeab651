//! A plan on paper: how long a step takes when ranks share its minibatch, from the speed of the network and of one rank.
//! Nothing here runs.

use std::time::Duration;

use serde::Serialize;

use super::describe::or_unbound;
use crate::backend::{BackendError, Limits};
use crate::net::{Job, Net, WireFormat};
use crate::program::{Command, Pass, Phase};
use crate::ranks::{Format, Network, bytes_of_sum, time_of_gather, time_of_sum};
use crate::session::layout::Layout;
use crate::tensor::IMAGE_GROUP;

/// What a rank tells the others about its images before a step, in bytes, where there is nothing to tell.
const NOTICE: u64 = 10;

/// What it tells of its score and health afterwards.
const REPORT: u64 = 48;

/// How a plan counts, for people.
pub const MODEL: &str = "gradients travel row by row around a ring, 2 (R - 1) messages of a share each, from when the \
                         backward pass has them, one row after the other; what is not hidden behind it is exposed. A \
                         step of one rank is shared out by floating-point operations, images in groups of 8; ranks are \
                         equally fast, and messages meet no others. Two reports a step take log2 R rounds each.";

/// Plan of one step on several numbers of ranks.
#[derive(Clone, Debug, Serialize)]
pub struct Scaling {
    /// Images of the minibatch that all ranks share.
    pub minibatch: usize,
    /// Numbers that are exchanged in a step: gradients of weights and biases.
    pub gradients: u64,
    /// How the plan counts.
    pub model: &'static str,
    /// A row for each number of ranks.
    pub rows: Vec<ScalingRow>,
}

/// Plan of one step on one number of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScalingRow {
    /// Number of ranks.
    pub ranks: usize,
    /// Images of a rank.
    pub images: usize,
    /// Bytes of gradients that all ranks together send.
    pub bytes: u64,
    /// Seconds that the gradients are on their way.
    pub exchange: f64,
    /// Seconds of it during which nothing is computed, and of the reports; where the time of a step is known.
    pub exposed: Option<f64>,
    /// Seconds of a step.
    pub step: Option<f64>,
    /// Speed over that of one rank, divided by the number of ranks.
    pub efficiency: Option<f64>,
}

/// A row of the network: numbers that it exchanges, and its share of the work.
struct Row {
    gradients: u64,
    backward: f64,
}

impl Scaling {
    /// The plan of a training step of `net` as `job` wants it, on 1, 2, 4 … and `most` ranks on a `network`; `step` is the
    /// time of one that has a rank to itself.
    pub fn new(
        net: &Net,
        job: &Job,
        limits: &[Limits],
        (most, network): (usize, Network),
        step: Option<Duration>,
    ) -> Result<Self, BackendError> {
        let layout = Layout::new(net, &Job { ranks: 1, ..*job }, &or_unbound(limits))?;
        let (forward, rows, update) = work(net, &layout);
        let format = match job.options.exchange {
            WireFormat::F32 => Format::Floats,
            WireFormat::F16 => Format::Halves,
        };
        let powers = (0..usize::BITS).map(|power| 1 << power).take_while(|ranks| *ranks < most);
        let sizes = powers.chain([most]).filter(|ranks| *ranks <= job.minibatch);
        let whole = forward + rows.iter().map(|row| row.backward).sum::<f64>() + update;
        let row = |ranks: usize| {
            let padded = |images: usize| images.next_multiple_of(IMAGE_GROUP) as f64;
            let images = job.minibatch.div_ceil(ranks);
            let share = padded(images) / padded(job.minibatch);
            let time = |row: &Row| time_of_sum(row.gradients, ranks as u64, format, &network).as_secs_f64();
            let planned = step.map(|step| {
                let second = step.as_secs_f64() / whole;
                let (mut computed, mut arrived) = (second * share * forward, 0.0_f64);
                for row in &rows {
                    computed += second * share * row.backward;
                    arrived = arrived.max(computed) + time(row);
                }
                let reports = [NOTICE, REPORT].map(|bytes| time_of_gather(bytes, ranks as u64, &network).as_secs_f64());
                let exposed = (arrived - computed).max(0.0) + reports.iter().sum::<f64>();
                let all = computed + exposed + second * update;
                (exposed, all, step.as_secs_f64() / all / ranks as f64)
            });
            ScalingRow {
                ranks,
                images,
                bytes: rows.iter().map(|row| bytes_of_sum(row.gradients, ranks as u64, format)).sum(),
                exchange: rows.iter().map(time).sum(),
                exposed: planned.map(|(exposed, ..)| exposed),
                step: planned.map(|(_, all, _)| all),
                efficiency: planned.map(|(.., efficiency)| efficiency),
            }
        };
        let planned = sizes.map(row).collect();
        let gradients = rows.iter().map(|row| row.gradients).sum();
        Ok(Self { minibatch: job.minibatch, gradients, model: MODEL, rows: planned })
    }
}

/// Operations of a step: forward, backward by rows in the order in which their gradients are there, and of the update.
fn work(net: &Net, layout: &Layout) -> (f64, Vec<Row>, f64) {
    let program = &layout.lowered.program;
    let flops = |pass: Pass, wanted: &dyn Fn(&str, Phase) -> bool| {
        let of = |command: &Command| match command {
            Command::Run { kernel, params, label, .. } if wanted(&label.layer, label.phase) => (kernel.flops)(params),
            _ => 0,
        };
        program.commands(pass).iter().map(of).sum::<u64>() as f64
    };
    let batches = layout.micro_batches as f64;
    let forward = batches * flops(Pass::Gradients, &|_, phase| phase == Phase::Forward);
    let mut rows: Vec<(&str, Row)> = Vec::new();
    for node in net.nodes.iter().rev() {
        let row = node.row();
        if rows.last().is_none_or(|(last, _)| *last != row) {
            let backward = batches * flops(Pass::Gradients, &|layer, phase| layer == row && phase == Phase::Backward);
            rows.push((row, Row { gradients: 0, backward }));
        }
    }
    for trained in layout.lowered.trained.iter().filter(|trained| trained.gradient.is_some()) {
        let row = net.nodes[trained.node].row();
        if let Some((_, found)) = rows.iter_mut().find(|(name, _)| *name == row) {
            found.gradients += program.slot(trained.value).count() as u64;
        }
    }
    (forward, rows.into_iter().map(|(_, row)| row).collect(), flops(Pass::Update, &|_, _| true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Model, Options};

    fn plan(batch: usize, most: usize, network: &str, options: Options) -> Scaling {
        let net = Net::new(Model::open("alexnet").unwrap()).unwrap();
        let job = Job::training(batch).with(options);
        let network = network.parse().unwrap();
        Scaling::new(&net, &job, &[], (most, network), Some(Duration::from_millis(15))).unwrap()
    }

    #[test]
    fn bytes_are_those_of_all_gradients_around_a_ring() {
        let scaling = plan(1024, 1024, "10Gbit/s,20us", Options::DEFAULT);
        assert_eq!(scaling.gradients, 60_965_224);
        let ranks: Vec<usize> = scaling.rows.iter().map(|row| row.ranks).collect();
        assert_eq!(ranks, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]);
        for row in &scaling.rows {
            assert_eq!(row.bytes, 60_965_224 * 4 * 2 * (row.ranks as u64 - 1));
            assert_eq!(row.images, 1024 / row.ranks);
        }
        let [one, two] = [0, 1].map(|i| scaling.rows[i]);
        assert_eq!((one.exchange, one.exposed, one.efficiency), (0.0, Some(0.0), Some(1.0)));
        // Half of 244 MB there and back takes 195 ms, 14 ms of which a fast device hides.
        assert!((two.exchange - 0.195).abs() < 0.002 && (0.18..0.195).contains(&two.exposed.unwrap()), "{two:?}");
        let half = plan(1024, 2, "10Gbit/s,20us", Options { exchange: WireFormat::F16, ..Options::DEFAULT });
        assert!((half.rows[1].exchange / two.exchange - 0.5).abs() < 0.01);
    }

    #[test]
    fn a_fast_network_exposes_the_first_row_alone() {
        let scaling = plan(256, 3, "1000000Gbit/s,1us", Options::DEFAULT);
        assert_eq!(scaling.rows.iter().map(|row| row.ranks).collect::<Vec<_>>(), [1, 2, 3]);
        for row in &scaling.rows[1..] {
            assert!(row.exposed.unwrap() < 1e-4 && row.efficiency.unwrap() > 0.9, "{row:?}");
        }
        assert_eq!(plan(6, 1024, "1Gbit/s,1us", Options::DEFAULT).rows.len(), 3, "no more ranks than images");
    }
}
