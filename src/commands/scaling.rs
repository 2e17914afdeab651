//! A plan on paper: how long a step takes when ranks share its minibatch, from the speed of the network and of one
//! rank. Nothing here runs.

use std::time::Duration;

use serde::Serialize;

use super::CommandError;
use super::describe::or_unbound;
use crate::backend::Limits;
use crate::net::{Job, Net, Options, Parallel, WireFormat};
use crate::program::{Command, Pass, Phase};
use crate::ranks::{Exchange, Format, Network, Rows, time_of_gather};
use crate::session::layout::Layout;
use crate::tensor::{IMAGE_GROUP, share_of};

/// What a rank tells the others about its images before a step, in bytes, where there is nothing to tell.
const NOTICE: u64 = 10;

/// What it tells of its score and health afterwards.
const REPORT: u64 = 48;

/// How a plan counts, for people.
pub const DATA: &str = "gradients travel row by row around a ring, 2 (R - 1) messages of a share each, from when the \
                        backward pass has them, one row after the other; what is not hidden behind it is exposed. A \
                        step of one rank is shared out by floating-point operations, images in groups of 8; ranks are \
                        equally fast, and messages meet no others. Two reports a step take log2 R rounds each.";

/// The same where ranks share the fully connected layers.
pub const HYBRID: &str = "of R ranks each computes its units of the fully connected layers for all images, one rank's \
                          after the other's. Maps in front of them go down a chain of ranks, the next ones while \
                          these are computed; outputs and gradients of each layer around a ring, exposed; gradients \
                          by the maps back along the chain, hidden behind the next ones. Gradients of the \
                          convolutions travel row by row around a ring behind the backward pass. A step of one rank \
                          is shared out by floating-point operations, images in groups of 8; ranks are equally fast, \
                          and messages meet no others. Three reports a step take log2 R rounds each.";

/// Plan of one step on several numbers of ranks.
#[derive(Clone, Debug, Serialize)]
pub struct Scaling {
    /// Images of the minibatch that all ranks share.
    pub minibatch: usize,
    /// How the ranks share the work.
    pub parallel: Parallel,
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
    /// Count of ranks, R.
    pub ranks: usize,
    /// Images of a rank.
    pub images: usize,
    /// Bytes of gradients and maps that all ranks together send.
    pub bytes: u64,
    /// Seconds that they are on their way.
    pub exchange: f64,
    /// Seconds of it during which nothing is computed, and of the reports; where the time of a step is known.
    pub exposed: Option<f64>,
    /// Seconds of a step.
    pub step: Option<f64>,
    /// Speed over that of one rank, divided by the number of ranks.
    pub efficiency: Option<f64>,
}

/// A row of the network: its gradients, its share of the work, and its units where ranks share them.
#[derive(Debug, Default)]
struct Row {
    gradients: u64,
    forward: f64,
    backward: f64,
    update: f64,
    /// Units of each tower; none of a row that every rank computes for its own images.
    units: Vec<usize>,
}

/// The clock of a rank and of its wire, in seconds: what is computed, and what is on its way.
struct Clock {
    ranks: u64,
    format: Format,
    network: Network,
    now: f64,
    computed: f64,
    /// When the wire has nothing more to do.
    free: f64,
    bytes: u64,
    exchange: f64,
}

impl Clock {
    fn compute(&mut self, seconds: f64) {
        self.now += seconds;
        self.computed += seconds;
    }

    /// Begins an exchange of `count` numbers; when it has ended.
    fn exchange(&mut self, exchange: Exchange, count: u64) -> f64 {
        let time = exchange.time(count, self.ranks, self.format, &self.network).as_secs_f64();
        self.bytes += exchange.bytes(count, self.ranks, self.format);
        self.exchange += time;
        self.free = self.free.max(self.now) + time;
        self.free
    }

    /// All ranks tell each other so many bytes.
    fn report(&mut self, bytes: u64) {
        self.now += time_of_gather(bytes, self.ranks, &self.network).as_secs_f64();
    }

    fn wait(&mut self, until: f64) {
        self.now = self.now.max(until);
    }
}

impl Scaling {
    /// The plan of a training step of `net` as `job` wants it, on 1, 2, 4 … and `most` ranks on a `network`; `step` is
    /// the time of one that has a rank to itself.
    pub fn new(
        net: &Net,
        job: &Job,
        limits: &[Limits],
        (most, network): (usize, Network),
        step: Option<Duration>,
    ) -> Result<Self, CommandError> {
        let parallel = job.options.parallel;
        let hybrid = parallel == Parallel::Hybrid;
        let options = Options { parallel: Parallel::Data, ..job.options };
        let layout = Layout::new(net, &Job { ranks: 1, ..job.with(options) }, &or_unbound(limits))?;
        let (input, rows) = work(net, &layout, hybrid);
        let format = match job.options.exchange {
            WireFormat::F32 => Format::Floats,
            WireFormat::F16 => Format::Halves,
        };
        let powers = (0..usize::BITS).map(|power| 1 << power).take_while(|ranks| *ranks < most);
        let sizes: Vec<usize> = powers.chain([most]).filter(|ranks| *ranks <= job.minibatch).collect();
        if hybrid {
            // The first two ranks stand for all: networks that have nothing to cut are refused, few units end the
            // table.
            net.expect_hybrid(2)?;
        }
        let fits = |ranks: &usize| !hybrid || *ranks == 1 || net.expect_hybrid(*ranks).is_ok();
        let all = input + rows.iter().map(|row| row.forward + row.backward + row.update).sum::<f64>();
        let row = |ranks: usize| {
            let images = job.minibatch.div_ceil(ranks);
            let padded = |images: usize| images.next_multiple_of(IMAGE_GROUP);
            let mut clock = Clock {
                ranks: ranks as u64,
                format,
                network,
                now: 0.0,
                computed: 0.0,
                free: 0.0,
                bytes: 0,
                exchange: 0.0,
            };
            let second = step.map_or(0.0, |step| step.as_secs_f64()) / all;
            // As many images at once as one rank has in a batch.
            let share = share_of(job.minibatch, ranks);
            let at_once = padded(job.options.micro_batch.unwrap_or(share).min(share));
            let rounds = share.div_ceil(at_once).max(1);
            let part = second * padded(images) as f64 / padded(job.minibatch) as f64;
            clock.report(NOTICE);
            let shared = if hybrid && ranks > 1 {
                &rows[..rows.iter().take_while(|row| !row.units.is_empty()).count()]
            } else {
                &[]
            };
            let own = &rows[shared.len()..];
            if !shared.is_empty() {
                clock.report(4 + 4 * images as u64);
            }
            for round in 0..rounds {
                let part = part / rounds as f64;
                clock.compute(part * (input + own.iter().map(|row| row.forward).sum::<f64>()));
                if !shared.is_empty() {
                    share_layers(net, &mut clock, shared, at_once, part);
                }
                for row in own {
                    clock.compute(part * row.backward);
                    if round + 1 == rounds {
                        clock.exchange(Exchange::Sum, row.gradients);
                    }
                }
            }
            clock.wait(clock.free);
            clock.report(REPORT);
            let update = |rows: &[Row]| rows.iter().map(|row| row.update).sum::<f64>();
            clock.compute(second * (update(own) + update(shared) / ranks as f64));
            let known = |seconds: f64| step.map(|_| seconds);
            ScalingRow {
                ranks,
                images,
                bytes: clock.bytes,
                exchange: clock.exchange,
                exposed: known(clock.now - clock.computed),
                step: known(clock.now),
                efficiency: step.map(|step| step.as_secs_f64() / clock.now / ranks as f64),
            }
        };
        let planned = sizes.into_iter().filter(fits).map(row).collect();
        let gradients = rows.iter().filter(|row| row.units.is_empty()).map(|row| row.gradients).sum();
        let model = if hybrid { HYBRID } else { DATA };
        Ok(Self { minibatch: job.minibatch, parallel, gradients, model, rows: planned })
    }
}

/// The layers that ranks share, forward and backward for the images of every rank in turn, `images` of each; `part` is
/// the time of an operation for those of one rank.
fn share_layers(net: &Net, clock: &mut Clock, rows: &[Row], images: usize, part: f64) {
    let ranks = clock.ranks as usize;
    let before = &net.nodes[net.tail() - 1];
    let maps = (before.y.count() * images) as u64;
    let towers = net.towers_of(before).len();
    let own = part / ranks as f64;
    let broadcast = |clock: &mut Clock| {
        let exchange = Exchange::Broadcast { from: 0, count: maps as usize };
        (0..towers).map(|_| clock.exchange(exchange, maps)).fold(0.0, f64::max)
    };
    let mut next = broadcast(clock);
    for rank in 0..ranks {
        let arrived = next;
        if rank + 1 < ranks {
            next = broadcast(clock);
        }
        clock.wait(arrived);
        for row in rows.iter().rev() {
            clock.compute(own * row.forward);
            for &units in &row.units {
                let ended = clock.exchange(Exchange::Gather(Rows { count: units, numbers: images }), 0);
                clock.wait(ended);
            }
        }
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                for &units in &row.units {
                    let ended = clock.exchange(Exchange::Scatter(Rows { count: units, numbers: images }), 0);
                    clock.wait(ended);
                }
            }
            clock.compute(own * row.backward);
        }
        for _ in 0..towers {
            next = next.max(clock.exchange(Exchange::Reduce { to: 0 }, maps));
        }
    }
    clock.wait(next);
}

/// Operations of a step on one rank: of making the input, and of the rows, the last one first as the backward pass has
/// their gradients.
fn work(net: &Net, layout: &Layout, hybrid: bool) -> (f64, Vec<Row>) {
    let program = &layout.lowered.program;
    let flops = |pass: Pass, row: &str, wanted: Phase| {
        let of = |command: &Command| match command {
            Command::Run { kernel, params, label, .. } if &*label.layer == row && label.phase == wanted => {
                (kernel.flops)(params)
            }
            _ => 0,
        };
        program.commands(pass).iter().map(of).sum::<u64>() as f64
    };
    let batches = layout.micro_batches as f64;
    let mut rows: Vec<(&str, Row)> = Vec::new();
    for (index, node) in net.nodes.iter().enumerate().rev() {
        let name = node.row();
        if rows.last().is_none_or(|(last, _)| *last != name) {
            let [forward, backward] =
                [Phase::Forward, Phase::Backward].map(|phase| batches * flops(Pass::Gradients, name, phase));
            rows.push((name, Row { forward, backward, ..Row::default() }));
        }
        if let Some((_, row)) = rows.last_mut()
            && hybrid
            && index >= net.tail()
            && !node.layer.weights(&node.x).is_empty()
        {
            row.units = vec![node.y.channels; net.towers_of(node).len()];
        }
    }
    for trained in layout.lowered.trained.iter().filter(|trained| trained.gradient.is_some()) {
        let row = net.nodes[trained.node].row();
        if let Some((_, found)) = rows.iter_mut().find(|(name, _)| *name == row) {
            found.gradients += program.slot(trained.value).count() as u64;
        }
    }
    // The optimiser takes all rows at once, each number alike.
    let trained: u64 = rows.iter().map(|(_, row)| row.gradients).sum();
    let each = program.flops(Pass::Update) / trained.max(1);
    for (_, row) in &mut rows {
        row.update = (each * row.gradients) as f64;
    }
    (batches * flops(Pass::Gradients, "input", Phase::Forward), rows.into_iter().map(|(_, row)| row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;

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

    /// Of each rank's 128 images pool5 there and back; fc6 and fc7 there and back, fc8 there; and gradients of
    /// convolutions.
    #[test]
    fn hybrid_sends_activations_instead_of_gradients_of_fully_connected_layers() {
        let hybrid = Options { parallel: Parallel::Hybrid, ..Options::DEFAULT };
        let convolutions = 2_334_080;
        for ranks in [2, 8] {
            let scaling = plan(128 * ranks, ranks, "10Gbit/s,20us", hybrid);
            assert_eq!(scaling.gradients, convolutions);
            let row = scaling.rows.last().unwrap();
            let activations = 128 * (2 * 9216 + 2 * 4096 + 2 * 4096 + 1000);
            let count = (ranks as u64 - 1) * (2 * convolutions + ranks as u64 * activations);
            assert_eq!((row.ranks, row.bytes), (ranks, 4 * count));
            let data = *plan(128 * ranks, ranks, "10Gbit/s,20us", Options::DEFAULT).rows.last().unwrap();
            assert!(row.bytes < data.bytes / 2 && row.exposed < data.exposed, "{row:?} and {data:?}");
        }
        // A row without units to cut for all ranks ends the table.
        let rows = plan(65_536, 2048, "10Gbit/s,20us", hybrid).rows;
        assert_eq!(rows.last().unwrap().ranks, 512);
    }
}
