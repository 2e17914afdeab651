//! Time of a training step and of its kernels: `cargo bench --bench step -- [MODEL [BATCH [DEVICE]]]`.
//!
//! Each kernel is run and waited for by itself, so short ones carry the wait. Medians of five after a first run.

use std::collections::BTreeMap;
use std::time::Instant;

use alexnet::backend::{Backend, BackendError, Data, Engine, Placement};
use alexnet::net::{Lowered, Model, Net, Setup, lower};
use alexnet::program::{Command, Pass, Role};
use alexnet::random::{Purpose, Stream};

const REPEATS: usize = 5;

/// Time, work and number of the runs of one kernel in a pass.
#[derive(Default)]
struct Row {
    seconds: f64,
    flops: u64,
    runs: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Cargo itself passes --bench.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let net = Net::new(Model::open(&arguments.next().unwrap_or_else(|| "mini".into()))?)?;
    let batch = arguments.next().map_or(Ok(net.model.train.batch), |batch| batch.parse())?;
    let placement = Placement::open(arguments.next().as_deref())?.unwrap_or_else(|| Engine::Cpu.into());
    let lowered = lower(&net, &Setup::training(batch));
    let begin = Instant::now();
    let mut backend = placement.engines()[0].set_up(lowered.program.clone())?;
    println!("{}, batch {batch}; set up in {:.1} s", backend.device(), begin.elapsed().as_secs_f64());
    fill(backend.as_mut(), &lowered)?;
    for pass in [Pass::Gradients, Pass::Update, Pass::Evaluate] {
        report(backend.as_mut(), &lowered, pass, batch)?;
    }
    Ok(())
}

/// Small random weights: zeros would be faster than the real thing.
fn fill(backend: &mut dyn Backend, lowered: &Lowered) -> Result<(), BackendError> {
    for (slot, info) in lowered.program.with_role(Role::Weight) {
        let values = Stream::new(1, Purpose::Test, slot.0 as u32).normal_vec(info.count(), 0.02);
        backend.write(slot, Data::F32(&values))?;
    }
    Ok(())
}

fn report(backend: &mut dyn Backend, lowered: &Lowered, pass: Pass, batch: usize) -> Result<(), BackendError> {
    let program = &lowered.program;
    let all = 0..program.commands(pass).len();
    let whole = median(|| {
        backend.run_commands(pass, all.clone())?;
        backend.read(lowered.loss).map(drop)
    })?;
    let (rate, images) = (program.flops(pass) as f64 / whole / 1e9, batch as f64 / whole);
    println!("\n{pass:?}: {:.1} ms, {rate:.1} GFLOP/s, {images:.0} images/s", whole * 1e3);
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (index, command) in program.commands(pass).iter().enumerate() {
        let Command::Run { kernel, params, .. } = command else { continue };
        let row = rows.entry(kernel.name).or_default();
        row.seconds += median(|| {
            backend.run_commands(pass, index..index + 1)?;
            backend.read(lowered.loss).map(drop)
        })?;
        row.flops += (kernel.flops)(params);
        row.runs += 1;
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
    for (name, Row { seconds, flops, runs }) in rows {
        println!("{:9.2} ms {:7.1} GFLOP/s {runs:4} × {name}", seconds * 1e3, flops as f64 / seconds / 1e9);
    }
    Ok(())
}

fn median(mut run: impl FnMut() -> Result<(), BackendError>) -> Result<f64, BackendError> {
    run()?;
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let begin = Instant::now();
        run()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[REPEATS / 2])
}
