//! Times of every kernel of a network's step, beside the ceilings of its device.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::ceilings::{Ceilings, Speed};
use super::{command_times, median, prepare, random_batch};
use crate::backend::{BackendError, Placement, Variants};
use crate::kernel::{Access, Params, Value};
use crate::program::{Command, Pass};
use crate::session::{Session, SessionError};

/// The kernels of a step on every device.
#[derive(Clone, Debug, Serialize)]
pub struct KernelTimes {
    /// Images computed at once.
    pub images: usize,
    /// Runs of each kernel, whose median counts.
    pub repeats: usize,
    /// Times of the kernels on each device.
    pub devices: Vec<DeviceKernels>,
}

/// The kernels of a step on one device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceKernels {
    /// Letters of its towers, with commas between.
    pub towers: String,
    /// Name of the device.
    pub device: String,
    /// Ceilings of the device.
    pub ceilings: Ceilings,
    /// Runs in the order of the passes.
    pub runs: Vec<KernelRun>,
}

/// One run of a kernel in a step.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRun {
    /// `gradients`, `update` or `evaluate`.
    pub pass: &'static str,
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Name of the variant where there are several; `None` on the CPU engine.
    pub variant: Option<String>,
    /// Name of the row of the network.
    pub layer: String,
    /// Parameters of the kernel, shapes among them.
    pub params: BTreeMap<&'static str, Json>,
    /// Median duration in seconds of one run of the kernel.
    pub seconds: f64,
    /// Floating-point operations of one run.
    pub flops: u64,
    /// Bytes of what is bound, each view once for each direction.
    pub bytes: u64,
    /// Operations and bytes in a second.
    pub speed: Speed,
}

/// All runs of one kernel with one shape in a pass.
#[derive(Clone, Debug)]
pub struct KernelRow<'a> {
    /// The runs, at least one.
    pub runs: Vec<&'a KernelRun>,
    /// Seconds of all of them.
    pub seconds: f64,
    /// Rows of the network they belong to, each once.
    pub layers: Vec<&'a str>,
    /// Operations and bytes of all of them in a second.
    pub speed: Speed,
}

/// Times every kernel of the passes for gradients, update and evaluation by itself, `repeats` times; in the order of
/// the step, so that each finds in memory what it finds in training. Ceilings are measured before every pass and after
/// the last.
pub fn kernels(
    session: &mut Session,
    devices: &Placement,
    images: usize,
    repeats: usize,
) -> Result<KernelTimes, SessionError> {
    let names = session.cluster().devices();
    let mut all = Vec::new();
    for ((towers, device), engine) in names.into_iter().zip(devices.engines()) {
        all.push(DeviceKernels { towers, device, ceilings: Ceilings::measure(engine, repeats)?, runs: Vec::new() });
    }
    prepare(session)?;
    let batch = random_batch(session, images);
    session.upload(&batch)?;
    for pass in [Pass::Gradients, Pass::Update, Pass::Evaluate] {
        session.cluster_mut().walk(pass, |member, backend, command| {
            if !matches!(backend.program().commands(pass)[command], Command::Run { .. }) {
                return Ok::<Option<()>, BackendError>(None);
            }
            let seconds = median(command_times(backend, pass, command, repeats)?);
            let DeviceKernels { ceilings, runs, .. } = &mut all[member];
            let variants = backend.variants();
            runs.extend(kernel_run(pass, &backend.program().commands(pass)[command], seconds, ceilings, &variants));
            Ok(None)
        })?;
        for (device, engine) in all.iter_mut().zip(devices.engines()) {
            device.ceilings = device.ceilings.best(Ceilings::measure(engine, repeats)?);
        }
    }
    session.cluster_mut().stop_clock();
    for DeviceKernels { ceilings, runs, .. } in &mut all {
        for run in runs {
            run.speed = ceilings.speed(run.flops, run.bytes, run.seconds);
        }
    }
    Ok(KernelTimes { images: session.images(), repeats, devices: all })
}

fn kernel_run(
    pass: Pass,
    command: &Command,
    seconds: f64,
    ceilings: &Ceilings,
    variants: &Variants,
) -> Option<KernelRun> {
    let Command::Run { kernel, params, views, label, .. } = command else { return None };
    let directions = |access| if access == Access::Update { 2 } else { 1 };
    let bytes =
        kernel.bindings.iter().zip(views).map(|(binding, view)| directions(binding.access) * view.bytes()).sum();
    let flops = (kernel.flops)(params);
    Some(KernelRun {
        pass: match pass {
            Pass::Gradients | Pass::Accumulate => "gradients",
            Pass::Update => "update",
            Pass::Evaluate => "evaluate",
        },
        kernel: kernel.name,
        variant: variants.get(&format!("{} {params}", kernel.name)).and_then(|names| names.first().cloned()),
        layer: label.layer.to_string(),
        params: values(params),
        seconds,
        flops,
        bytes,
        speed: ceilings.speed(flops, bytes, seconds),
    })
}

fn values(params: &Params) -> BTreeMap<&'static str, Json> {
    let value = |value| match value {
        Value::U32(number) => number.into(),
        Value::F32(bits) => f32::from_bits(bits).into(),
        Value::Bool(switch) => switch.into(),
    };
    params.iter().map(|(name, constant)| (name, value(constant))).collect()
}

impl DeviceKernels {
    /// The runs of `pass` by kernel and shape, those that take longest first.
    pub fn rows(&self, pass: &str) -> Vec<KernelRow<'_>> {
        let mut rows: Vec<KernelRow<'_>> = Vec::new();
        for run in self.runs.iter().filter(|run| run.pass == pass) {
            let same = |row: &&mut KernelRow| (row.runs[0].kernel, &row.runs[0].params) == (run.kernel, &run.params);
            match rows.iter_mut().find(same) {
                Some(row) => row.runs.push(run),
                None => rows.push(KernelRow { runs: vec![run], seconds: 0.0, layers: Vec::new(), speed: run.speed }),
            }
        }
        for row in &mut rows {
            row.seconds = row.runs.iter().map(|run| run.seconds).sum();
            for run in &row.runs {
                if !row.layers.contains(&run.layer.as_str()) {
                    row.layers.push(&run.layer);
                }
            }
            let sum = |of: fn(&KernelRun) -> u64| row.runs.iter().map(|run| of(run)).sum();
            row.speed = self.ceilings.speed(sum(|run| run.flops), sum(|run| run.bytes), row.seconds);
        }
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Elem;
    use crate::ops::optimizer::Shape;
    use crate::ops::optimizer::sgd::SGD;
    use crate::program::{Home, Label, Slot, SlotRange};

    const CEILINGS: Ceilings = Ceilings { flops: 100.0, bytes: 1000.0 };

    fn run(kernel: &'static str, layer: &str, count: usize, seconds: f64) -> KernelRun {
        let (flops, bytes) = (30, 40);
        let speed = CEILINGS.speed(flops, bytes, seconds);
        let (layer, params) = (layer.into(), values(&Shape { count, first: 0, tensors: 1 }.params()));
        KernelRun { pass: "update", kernel, variant: None, layer, params, seconds, flops, bytes, speed }
    }

    #[test]
    fn what_is_updated_is_read_and_written() {
        let view = |slot| SlotRange { slot: Slot(slot), elem: Elem::F32, start: 0, count: 10 };
        let (params, label) = (Shape { count: 10, first: 0, tensors: 1 }.params(), Label::default());
        let views = (0..SGD.kernel.bindings.len()).map(view).collect();
        let command = Command::Run { kernel: &SGD.kernel, params, views, home: Home::Every, label };
        let fast = ("sgd.update count=10 first=0 tensors=1".to_owned(), ["fast".to_owned()].into());
        let variants = Variants::from([fast]);
        let run = kernel_run(Pass::Update, &command, 2.0, &CEILINGS, &variants).unwrap();
        let updated = SGD.kernel.bindings.iter().filter(|binding| binding.access == Access::Update).count() as u64;
        assert_eq!(run.bytes, 40 * (SGD.kernel.bindings.len() as u64 + updated));
        assert!(updated == 2 && run.speed.bytes == run.bytes as f64 / 2.0);
        assert_eq!(run.variant.as_deref(), Some("fast"));
        assert!(kernel_run(Pass::Update, &Command::Send { from: Slot(0) }, 2.0, &CEILINGS, &variants).is_none());
    }

    #[test]
    fn runs_of_one_shape_are_one_row() {
        let runs = vec![
            run("a", "conv1", 1, 1.0),
            run("a", "conv2", 2, 4.0),
            run("a", "conv3", 1, 1.5),
            run("a", "conv1", 1, 0.5),
            run("b", "conv1", 1, 0.5),
            KernelRun { pass: "evaluate", ..run("a", "conv1", 1, 9.0) },
        ];
        let device = DeviceKernels { towers: "a".into(), device: "none".into(), ceilings: CEILINGS, runs };
        let rows = device.rows("update");
        let told: Vec<_> = rows.iter().map(|row| (row.runs[0].kernel, row.runs.len(), row.seconds)).collect();
        assert_eq!(told, [("a", 1, 4.0), ("a", 3, 3.0), ("b", 1, 0.5)]);
        assert_eq!((&rows[1].layers[..], rows[1].speed.flops), (&["conv1", "conv3"][..], 30.0));
    }
}
