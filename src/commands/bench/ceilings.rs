//! Ceilings of a device: the rate of multiply-adds on registers, and of a copy of memory.

use serde::Serialize;

use super::command_times;
use super::median;
use crate::backend::{BackendError, Data, Engine};
use crate::kernel::{Elem, Kernel, Params};
use crate::ops::ceiling::{COPY, Chains, Copy, FMA};
use crate::program::{Home, Pass, Program, Recorder, Role, Slot, SlotInfo};
use crate::random::{Purpose, Stream};

/// Elements of the chains of multiply-adds: enough of them for the threads of the largest devices.
const LANES: usize = 1 << 20;

/// First and last length of the chains that is tried.
const ROUNDS: (usize, usize) = (256, 1 << 17);

/// Seconds that a run should last, so that its beginning and end do not count.
const LONG: f64 = 0.01;

/// Bytes that are copied: as many as WebGPU allows in one binding, more than caches hold.
const COPIED: usize = 128 << 20;

/// Highest rates that were measured on an engine, each in several goes between what stands beside them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ceilings {
    /// Floating-point operations a second, of multiply-adds on registers.
    pub flops: f64,
    /// Bytes a second, read or written, of one large copy.
    pub bytes: f64,
}

/// Rates of a kernel beside the ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Floating-point operations a second.
    pub flops: f64,
    /// Bytes a second of what is bound, each view once for each direction.
    pub bytes: f64,
    /// Share of the ceiling that binds it: of the nearer one.
    pub share: f64,
    /// Name of the measured peak: `fma` or `copy`.
    pub ceiling: &'static str,
}

impl Speed {
    /// Whether it is above a ceiling that nothing can pass: that was measured while the machine did something else.
    /// A copy of what stays in a cache may well be faster than `copy`.
    pub fn passes(&self) -> bool {
        self.ceiling == FMA_NAME && self.share > 1.0
    }
}

impl Ceilings {
    /// Measures `engine` with medians of `repeats`.
    pub fn measure(engine: &Engine, repeats: usize) -> Result<Self, BackendError> {
        let (mut rounds, most) = ROUNDS;
        let flops = loop {
            let params = Chains { count: LANES, rounds }.params();
            let seconds = run(engine, &FMA, &params, LANES, repeats)?;
            if seconds >= LONG || rounds >= most {
                break (FMA.flops)(&params) as f64 / seconds;
            }
            rounds *= 4;
        };
        let count = COPIED / 4;
        let seconds = run(engine, &COPY, &Copy { count }.params(), count, repeats)?;
        Ok(Self { flops, bytes: 2.0 * COPIED as f64 / seconds })
    }

    /// The higher ones of two goes: whatever else a machine does makes it slower, never faster.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        Self { flops: self.flops.max(other.flops), bytes: self.bytes.max(other.bytes) }
    }

    /// Rates of `flops` operations and `bytes` bytes in `seconds`.
    pub fn speed(&self, flops: u64, bytes: u64, seconds: f64) -> Speed {
        let (flops, bytes) = (flops as f64 / seconds, bytes as f64 / seconds);
        let (fma, copy) = (flops / self.flops, bytes / self.bytes);
        let (share, ceiling) = if fma >= copy { (fma, FMA_NAME) } else { (copy, COPY_NAME) };
        Speed { flops, bytes, share, ceiling }
    }
}

const FMA_NAME: &str = "fma";
const COPY_NAME: &str = "copy";

/// Seconds of a run of `kernel` from `count` random numbers to as many others.
fn run(
    engine: &Engine,
    kernel: &'static Kernel,
    params: &Params,
    count: usize,
    repeats: usize,
) -> Result<f64, BackendError> {
    let mut backend = engine.set_up(program(kernel, params, count))?;
    let block = Stream::new(1, Purpose::Test, 0).normal_vec(LANES.min(count), 1.0);
    let values: Vec<f32> = block.iter().copied().cycle().take(count).collect();
    backend.write(Slot(0), Data::F32(&values))?;
    Ok(median(command_times(backend.as_mut(), Pass::Evaluate, 0, repeats)?))
}

/// A program of one command. The host keeps no staging memory for its slots.
fn program(kernel: &'static Kernel, params: &Params, count: usize) -> Program {
    let mut recorder = Recorder::new();
    let mut slot = |name: &str, role| {
        let (name, home) = (name.into(), Home::Tower(0));
        recorder.slot(SlotInfo { name, shape: vec![count], elem: Elem::F32, home, role })
    };
    let slots = [slot("x", Role::Weight), slot("y", Role::Gradient)];
    recorder.begin(Pass::Evaluate);
    recorder.run(kernel, params.clone(), &slots);
    recorder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_ceiling_binds() {
        let ceilings = Ceilings { flops: 100.0, bytes: 10.0 };
        let speed = |flops, bytes| ceilings.speed(flops, bytes, 2.0);
        assert_eq!(speed(100, 2), Speed { flops: 50.0, bytes: 1.0, share: 0.5, ceiling: "fma" });
        assert_eq!(speed(20, 4), Speed { flops: 10.0, bytes: 2.0, share: 0.2, ceiling: "copy" });
        assert_eq!(speed(0, 30), Speed { flops: 0.0, bytes: 15.0, share: 1.5, ceiling: "copy" });
        assert!(speed(202, 2).passes() && !speed(200, 2).passes() && !speed(0, 30).passes());
        let (fast, wide) = (Ceilings { flops: 120.0, bytes: 9.0 }, Ceilings { flops: 90.0, bytes: 11.0 });
        assert_eq!(ceilings.best(fast).best(wide), Ceilings { flops: 120.0, bytes: 11.0 });
    }

    #[test]
    fn the_cpu_engine_has_ceilings() {
        let Ceilings { flops, bytes } = Ceilings::measure(&Engine::Cpu, 1).unwrap();
        // One multiply-add a microsecond and one byte: what cannot be missed, but by numbers that are none.
        assert!(flops.is_finite() && flops > 2e6 && bytes.is_finite() && bytes > 1e6, "{flops} {bytes}");
    }
}
