//! Layout of a network on devices: images at once, memory of each device, bytes that cross between them. Asked of
//! plans alone, before anything is allocated.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::backend::exchange::Partition;
use crate::backend::limits::{HOST, Remedy, mib};
use crate::backend::memory::MemoryPlan;
use crate::backend::{BackendError, Footprint, Limits, towers};
use crate::net::{Job, MOST_IMAGES, Net, NetProgram, Precision, lower};
use crate::program::{Pass, Program, Role, TooLarge};
use crate::tensor::IMAGE_GROUP;

/// Number of minibatches that the host holds: one computed, one ready, one being filled.
const BATCHES: u64 = 3;

/// A network on its devices.
pub struct Layout {
    /// The network as a program, no binding of which is larger than any of the devices allows.
    pub lowered: NetProgram,
    /// Number of batches in which a rank computes its share of a minibatch.
    pub micro_batches: usize,
    /// Share of every device.
    pub shares: Vec<Share>,
    /// Traffic between devices for one batch.
    pub crossings: Vec<Crossing>,
}

/// One device's share of a network.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// Letters of its towers, with commas between.
    pub towers: String,
    /// Name of the device.
    pub device: String,
    /// Memory of its plan, in bytes.
    #[serde(flatten)]
    pub footprint: Footprint,
    /// Bytes that may be taken of the device's memory, if known; devices of one adapter share them.
    pub memory: Option<u64>,
}

/// Bytes that one batch sends from one device to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crossing {
    /// Letters of the sending device's towers.
    pub from: String,
    /// Letters of the receiving device's towers.
    pub to: String,
    /// Bytes of maps that cross in the forward pass.
    pub forward: u64,
    /// Bytes of gradients of maps.
    pub backward: u64,
    /// Bytes for the update of a minibatch.
    pub update: u64,
}

impl Layout {
    /// Lays `net` out on devices with these `limits`, one for each device that runs a part of it. Where not all of a
    /// minibatch fits, it is computed in several batches of about equal size.
    pub fn new(net: &Net, job: &Job, limits: &[Limits]) -> Result<Self, BackendError> {
        if let Some(limits) = limits.iter().find(|limits| job.options.precision == Precision::Mixed && !limits.halves) {
            return Err(BackendError::NoHalves { device: limits.device.clone() });
        }
        let limits = &now(limits)[..];
        let wanted = job.options.micro_batch.unwrap_or(job.share()).min(job.share());
        let refused = match Self::with_images(net, job, wanted, limits) {
            Ok(layout) => return Ok(layout),
            Err(refused) => refused,
        };
        let fits = |groups| Self::with_images(net, job, groups * IMAGE_GROUP, limits).is_ok();
        let most = largest(wanted.div_ceil(IMAGE_GROUP), fits).map(|groups| groups * IMAGE_GROUP);
        match most {
            Some(most) if job.options.micro_batch.is_none() => {
                let batches = job.share().div_ceil(most);
                let images = job.share().div_ceil(batches).next_multiple_of(IMAGE_GROUP);
                Self::with_images(net, job, images, limits)
            }
            Some(most) => Err(refused.with_remedy(Remedy::MicroBatch(most))),
            // What stands in the way with the fewest images says more.
            None => Err(Self::with_images(net, job, IMAGE_GROUP, limits).err().unwrap_or(refused)),
        }
    }

    fn with_images(net: &Net, job: &Job, images: usize, limits: &[Limits]) -> Result<Self, BackendError> {
        let mut lowered = lower(net, &job.at_once(images));
        lowered.program = split(&lowered.program, limits)?;
        let schedule = Partition::new(&lowered.program, limits.len());
        let towers = |index| towers(&lowered.program, limits.len(), index);
        let shares = shares(&schedule, limits, on_host(net, job, &lowered.program))?;
        let (evaluate, train) = (schedule.traffic(Pass::Evaluate), schedule.traffic(Pass::Gradients));
        let update = schedule.traffic(Pass::Update);
        let mut pairs: Vec<(usize, usize)> =
            evaluate.keys().chain(train.keys()).chain(update.keys()).copied().collect();
        pairs.sort_unstable();
        pairs.dedup();
        let crossing = |pair: (usize, usize)| {
            let bytes = |of: &BTreeMap<_, u64>| of.get(&pair).copied().unwrap_or(0);
            let (forward, update) = (bytes(&evaluate), bytes(&update));
            // The evaluating pass sends what the training one does on its way forward.
            let backward = bytes(&train).saturating_sub(forward);
            Crossing { from: towers(pair.0), to: towers(pair.1), forward, backward, update }
        };
        let crossings = pairs.into_iter().map(crossing).collect();
        let micro_batches = job.share().div_ceil(lowered.images).max(1);
        Ok(Self { lowered, micro_batches, shares, crossings })
    }

    /// Total bytes on all devices.
    pub fn total(&self) -> u64 {
        self.shares.iter().map(|share| share.footprint.total).sum()
    }
}

/// Limits with the memory that is free now, asked once: it changes while a plan is made.
fn now(limits: &[Limits]) -> Vec<Limits> {
    limits.iter().map(Limits::now).collect()
}

/// `program` with no binding larger than these devices allow.
pub fn fit(program: &Program, limits: &[Limits]) -> Result<Program, BackendError> {
    let program = split(program, limits)?;
    shares(&Partition::new(&program, limits.len()), &now(limits), 0)?;
    Ok(program)
}

/// Bytes that the host holds beside the devices: minibatches of stored images, and when training a checkpoint, whose
/// tensors are written as they lie.
fn on_host(net: &Net, job: &Job, program: &Program) -> u64 {
    let stored = net.model.input.stored() as u64;
    let images = if job.floats { 0 } else { (job.share() as u64).saturating_mul(BATCHES * 3 * stored * stored) };
    let roles = program.states().into_iter().chain([Role::Weight]);
    let kept = roles.flat_map(|role| program.with_role(role)).map(|(_, info)| info.bytes());
    let checkpoint = if job.training { kept.sum::<u64>() } else { 0 };
    images.saturating_add(checkpoint)
}

/// What every device holds of a program, beside the `on_host` bytes that the host does.
fn shares(schedule: &Partition, limits: &[Limits], on_host: u64) -> Result<Vec<Share>, BackendError> {
    let share = |(index, of): (usize, &Limits)| {
        let plan = MemoryPlan::new(&schedule.part(index), of.buffer);
        buffers_fit(&plan, of)?;
        Ok(Share {
            towers: towers(&schedule.program, limits.len(), index),
            device: of.device.clone(),
            footprint: plan.footprint(),
            memory: of.memory.as_ref().map(|memory| memory.bytes),
        })
    };
    let shares = limits.iter().enumerate().map(share).collect::<Result<Vec<_>, _>>()?;
    memory_fits(&shares, limits, on_host)?;
    Ok(shares)
}

/// Batches and memory (in bytes) of a training run on its devices.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingPlan {
    /// Images between two updates.
    pub minibatch: usize,
    /// Images computed at once, a multiple of 8; gradients of several micro-batches add up to those of a minibatch.
    pub micro_batch: usize,
    /// Memory on each device.
    pub devices: Vec<Share>,
    /// Memory on all devices.
    pub total: u64,
    /// Traffic between devices for one micro-batch.
    pub crossings: Vec<Crossing>,
    /// Most images that fit at once; absent where no devices were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_micro_batch: Option<usize>,
}

impl TrainingPlan {
    /// The plan of a network that lies on its devices as `layout` says.
    pub fn new(layout: &Layout, minibatch: usize) -> Self {
        Self {
            minibatch,
            micro_batch: layout.lowered.images,
            devices: layout.shares.clone(),
            total: layout.total(),
            crossings: layout.crossings.clone(),
            largest_micro_batch: None,
        }
    }
}

/// Images that fit at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Images, a multiple of 8.
    pub images: usize,
    /// Bytes that this many take on all devices.
    pub bytes: u64,
}

impl Capacity {
    /// The most images that `net` can be computed with at once; `None` when not even the fewest fit.
    pub fn new(net: &Net, job: &Job, limits: &[Limits]) -> Option<Self> {
        let limits = now(limits);
        let with = |groups| Layout::with_images(net, job, groups * IMAGE_GROUP, &limits);
        let layout = with(largest(MOST_IMAGES / IMAGE_GROUP, |groups| with(groups).is_ok())?).ok()?;
        Some(Self { images: layout.lowered.images, bytes: layout.total() })
    }
}

fn split(program: &Program, limits: &[Limits]) -> Result<Program, BackendError> {
    let Some(least) = limits.iter().min_by_key(|limits| limits.binding) else { return Ok(program.clone()) };
    let refuse = |refused: TooLarge| least.refuse_binding(&program.slot(refused.slot).name, refused.needed);
    program.split(least.binding).map_err(refuse)
}

fn buffers_fit(plan: &MemoryPlan, limits: &Limits) -> Result<(), BackendError> {
    let staging = plan.incoming.buffers.iter().chain(&plan.outgoing.buffers);
    let largest = plan.buffers.iter().map(|(bytes, _)| bytes).chain(staging).max().copied().unwrap_or(0);
    if largest <= limits.buffer {
        return Ok(());
    }
    Err(BackendError::TooLarge {
        what: "the largest buffer".into(),
        needed: mib(largest),
        device: limits.device.clone(),
        allowed: format!("{} in one buffer (max_buffer_size)", mib(limits.buffer)),
        remedy: Remedy::MoreTowers,
    })
}

fn memory_fits(shares: &[Share], limits: &[Limits], on_host: u64) -> Result<(), BackendError> {
    let mut pools = HashMap::from([(HOST, on_host)]);
    for (share, limits) in shares.iter().zip(limits) {
        let Some(memory) = &limits.memory else { continue };
        let used = pools.entry(&memory.pool).or_default();
        *used = used.saturating_add(share.footprint.total);
        if *used > memory.bytes {
            let beside = ("images and a checkpoint", if memory.pool == HOST { on_host } else { 0 });
            let parts = share.footprint.parts().into_iter().chain([beside]).filter(|(_, bytes)| *bytes > 0);
            let parts: Vec<_> = parts.map(|(name, bytes)| format!("{name} {}", mib(bytes))).collect();
            let remedy = if beside.1 > memory.bytes { Remedy::Batch } else { Remedy::MoreDevices };
            return Err(BackendError::TooLarge {
                what: format!("the plan ({})", parts.join("; ")),
                needed: mib(*used),
                device: share.device.clone(),
                allowed: format!("{} of memory", mib(memory.bytes)),
                remedy,
            });
        }
    }
    Ok(())
}

/// The largest of 1 ..= `most` that `fits`, which holds up to some number and not beyond: doubling, then bisection.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    if !fits(1) {
        return None;
    }
    let (mut good, mut bad) = (1, most + 1);
    while good * 2 < bad {
        if fits(good * 2) {
            good *= 2;
        } else {
            bad = good * 2;
        }
    }
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MemoryPool;
    use crate::net::{Model, Options, WireFormat};
    use crate::program::Command;

    #[test]
    fn doubling_and_bisection_find_the_last_that_fits() {
        for most in [1, 2, 3, 7, 8, 100] {
            for last in 1..=most {
                assert_eq!(largest(most, |n| n <= last), Some(last), "{last} of {most}");
            }
            assert_eq!(largest(most, |_| false), None);
        }
    }

    fn net(model: &str) -> Net {
        Net::new(Model::open(model).unwrap()).unwrap()
    }

    /// What lavapipe allows, and some memory.
    fn limits(pool: &str, mib: u64) -> Limits {
        let memory = Some(MemoryPool { pool: pool.into(), bytes: mib << 20 });
        Limits { device: format!("device of {pool}"), binding: 128 << 20, buffer: 2 << 30, halves: true, memory }
    }

    #[track_caller]
    fn refused(job: &Job, limits: &[Limits]) -> String {
        match Layout::new(&net("alexnet"), job, limits) {
            Ok(layout) => panic!("it takes {}", layout.total()),
            Err(error) => error.to_string(),
        }
    }

    /// The input, 3·224² floats an image, is the largest map; 128 MiB hold 222 of it, 216 in groups of 8.
    #[test]
    fn alexnet_is_bound_by_its_input() {
        let job = Job::training(512);
        let most = Capacity::new(&net("alexnet"), &job, &[limits("a", 1 << 20)]).unwrap();
        assert_eq!(most.images, 216);
        let layout = Layout::new(&net("alexnet"), &job, &[limits("a", 1 << 20)]).unwrap();
        assert_eq!((layout.lowered.images, layout.micro_batches), (176, 3));
        assert!(layout.lowered.program.passes().any(|(pass, _)| pass == Pass::Accumulate));
        let whole = Layout::new(&net("alexnet"), &Job::training(128), &[limits("a", 1 << 20)]).unwrap();
        assert_eq!((whole.lowered.images, whole.micro_batches), (128, 1));
        assert!(whole.lowered.program.passes().all(|(pass, _)| pass != Pass::Accumulate));
    }

    /// fc6 of the paper's control is 144 MiB.
    #[test]
    fn one_tower_runs_in_pieces_where_a_binding_is_too_small() {
        for (mib, parts) in [(128, 2), (64, 3), (1024, 1)] {
            let limits = Limits { binding: mib << 20, ..limits("a", 1 << 20) };
            let layout = Layout::new(&net("alexnet-one-tower"), &Job::training(8), &[limits]).unwrap();
            let program = &layout.lowered.program;
            let (slot, bytes) = program.largest_binding().unwrap();
            assert!(bytes <= mib << 20, "{} of {bytes}", program.slot(slot).name);
            let runs = |pass| {
                program.commands(pass).iter().filter_map(|c| {
                    if let Command::Run { kernel, views, .. } = c { Some((kernel, views)) } else { None }
                })
            };
            for (pass, kernel, times) in [
                (Pass::Evaluate, "conv.forward", 1),
                (Pass::Gradients, "conv.backward_input", 1),
                (Pass::Gradients, "conv.backward_filter", 1),
                (Pass::Update, "sgd.update", 1),
            ] {
                let fc6 = |info: &crate::program::SlotInfo| info.name.starts_with("fc6.weights");
                let touching =
                    runs(pass).filter(|(k, views)| k.name == kernel && views.iter().any(|v| fc6(program.slot(v.slot))));
                let mut end = 0;
                let mut count = 0;
                for (_, views) in touching {
                    let view = views
                        .iter()
                        .find(|v| fc6(program.slot(v.slot)) && !matches!(program.slot(v.slot).role, Role::State(_)))
                        .unwrap();
                    assert_eq!((view.start, view.start % 64), (end, 0), "{kernel}: a gap, an overlap or no alignment");
                    end += view.count;
                    count += 1;
                }
                assert_eq!((count, end), (parts * times, 9216 * 4096), "{kernel}, {mib} MiB");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_limit_and_what_would() {
        // Weights, momentum and gradients alone are 698 MiB.
        let message = refused(&Job::training(128), &[limits("a", 600)]);
        assert!(
            message.contains("device of a allows 600.0 MiB of memory") && message.contains("momentum"),
            "{message}"
        );
        // The halves of it fit two devices, but not two of one adapter.
        let (split, one) = ([limits("a", 600), limits("b", 600)], [limits("a", 600), limits("a", 600)]);
        assert!(Layout::new(&net("alexnet"), &Job::training(8), &split).is_ok());
        refused(&Job::training(8), &one);
        // More than fits at once is asked for by hand.
        let by_hand = Job::training(512).at_once(512);
        let message = refused(&by_hand, &[limits("a", 1 << 20)]);
        assert!(
            message.contains("128.0 MiB in one binding") && message.contains("--micro-batch 216 fits"),
            "{message}"
        );
        let small = Limits { buffer: 32 << 20, ..limits("a", 1 << 20) };
        let message = refused(&Job::training(8), &[small]);
        assert!(message.contains("32.0 MiB in one buffer"), "{message}");
    }

    /// Scarce memory makes batches smaller before anything is refused, and recomputing makes room.
    #[test]
    fn scarce_memory_is_made_the_most_of() {
        let job = Job::training(128);
        let images = |job: &Job, mib| Layout::new(&net("alexnet"), job, &[limits("a", mib)]).unwrap().lowered.images;
        assert_eq!(images(&job, 4000), 128);
        let scarce = images(&job, 1500);
        assert!((8..128).contains(&scarce), "{scarce}");
        let again = images(&job.with(Options { recompute: true, ..job.options }), 1500);
        assert!(again > scarce, "{again} instead of {scarce}");
    }

    /// Three minibatches of 256 × 256 pixels, and weights and momentum, lie beside a plan in the host's memory,
    /// and in no other.
    #[test]
    fn the_host_s_own_share_counts_where_the_plan_is_in_its_memory() {
        let (job, net) = (Job::training(60_000).at_once(8), net("alexnet"));
        let message = refused(&job, &[limits(HOST, 20 << 10)]);
        assert!(message.contains("images and a checkpoint 34"), "{message}");
        assert!(message.ends_with("take a smaller --batch"), "{message}");
        assert!(Layout::new(&net, &job, &[limits("a", 20 << 10)]).is_ok());
        // 698 MiB are trained and 465 MiB saved.
        let few = Job::training(8);
        let message = refused(&few, &[limits(HOST, 1100)]);
        assert!(message.contains("checkpoint 46") && message.contains("--micro-batch"), "{message}");
        assert!(Layout::new(&net, &few, &[limits("a", 1100)]).is_ok());
    }

    /// Section 2 of the paper's arithmetic: pool2 of each tower, pool3, fc6, and fc7 towards A.
    #[test]
    fn what_crosses_is_what_the_paper_s_figure_shows() {
        let limits = [limits("a", 1 << 20), limits("b", 1 << 20)];
        let layout = Layout::new(&net("alexnet"), &Job::training(128), &limits).unwrap();
        let crossing = |from: &str, to: &str, forward, backward, update| Crossing {
            from: from.into(),
            to: to.into(),
            forward,
            backward,
            update,
        };
        let (to_b, to_a) = (4 * 128 * 28_288, 4 * 128 * 30_336);
        assert_eq!(layout.crossings, [crossing("a", "b", to_b, to_a, 24), crossing("b", "a", to_a, to_b, 0)]);
        let half = Layout::new(
            &net("alexnet"),
            &Job::training(128).with(Options { exchange: WireFormat::F16, ..Options::DEFAULT }),
            &limits,
        )
        .unwrap();
        assert_eq!(
            half.crossings,
            [crossing("a", "b", to_b / 2, to_a / 2, 24), crossing("b", "a", to_a / 2, to_b / 2, 0)]
        );
    }
}
