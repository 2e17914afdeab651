//! Comparison of a backend with a kernel's f64 twin, on one of the kernel's cases.
//!
//! Outputs start as NaN, which shows elements that a kernel does not write. On a device every written buffer has guard
//! words behind it, which show elements that a kernel writes past its end.

use half::f16;

use super::cpu::Cpu;
use super::{Backend, BackendError, Data};
use crate::kernel::{Access, Binding, Case, Fill, Holds, Kernel};
use crate::program::{Home, Pass, Program, Recorder, Role, Slot, SlotInfo};
use crate::random::{Purpose, Stream, unit};

/// The largest error of one case.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Largest error, relative to the value plus the output's root mean square.
    pub error: f64,
    /// Binding and element where it is, for example `y[3]`.
    pub place: String,
    /// Values of the device and of the twin there.
    pub values: (f64, f64),
}

impl Finding {
    /// Whether the error is at most `tolerance`; NaN is not.
    pub fn within(&self, tolerance: f64) -> bool {
        self.error <= tolerance
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (got, want) = self.values;
        write!(f, "error {:.1e} at {}: {got:e} instead of {want:e}", self.error, self.place)
    }
}

/// Elements behind every written buffer of a device, which no kernel may write.
pub const GUARD: usize = 64;

/// Contents of guards as a float, exact as a half too, or as its bits.
const UNTOUCHED: f32 = -12_344.0;

/// A program of one command that runs `kernel` on the buffers of `case`, with `guard` elements behind what it writes.
pub fn program(kernel: &'static Kernel, case: &Case, guard: usize) -> Program {
    let mut recorder = Recorder::new();
    recorder.begin(Pass::Evaluate);
    let slots: Vec<Slot> = kernel
        .bindings
        .iter()
        .zip(&case.buffers)
        .map(|(binding, (count, _))| {
            recorder.slot(SlotInfo {
                name: binding.name.into(),
                shape: vec![count + if binding.access == Access::Read { 0 } else { guard }],
                elem: binding.elem(&case.params),
                home: Home::Tower(0),
                role: Role::Output,
            })
        })
        .collect();
    recorder.run(kernel, case.params.clone(), &slots);
    recorder.finish()
}

/// Contents of a buffer.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "a variant says what it holds")]
pub enum Contents<T> {
    Floats(Vec<T>),
    Words(Vec<u32>),
}

/// A case of a kernel in numbers: what its buffers hold before a run, and what the f64 twin has them hold after it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Every binding's buffer before the run; NaN where the kernel writes all of it.
    pub given: Vec<Contents<f32>>,
    /// Every binding's buffer after the run; `None` where the kernel only reads it.
    pub expected: Vec<Option<Contents<f64>>>,
}

/// The contents of `case`, which are the same on every machine.
pub fn sample(kernel: &'static Kernel, case: &Case) -> Result<Sample, BackendError> {
    let mut oracle = Cpu::<f64>::new(program(kernel, case, 0));
    let mut given = Vec::new();
    for (index, (binding, (count, fill))) in kernel.bindings.iter().zip(&case.buffers).enumerate() {
        given.push(match binding.holds {
            Holds::Words => Contents::Words(words(fill, *count, index)),
            Holds::Maps | Holds::Floats => Contents::Floats(floats(fill, *count, index)),
        });
        match &given[index] {
            Contents::Words(words) => oracle.write(Slot(index), Data::U32(words))?,
            Contents::Floats(floats) => oracle.write(Slot(index), Data::F32(floats))?,
        }
    }
    oracle.run(Pass::Evaluate)?;
    let mut after = |(index, binding): (usize, &Binding)| {
        let slot = Slot(index);
        Ok(match (binding.access, binding.holds) {
            (Access::Read, _) => None,
            (_, Holds::Words) => Some(Contents::Words(oracle.read_words(slot)?)),
            (_, Holds::Maps | Holds::Floats) => Some(Contents::Floats(oracle.read_exact(slot))),
        })
    };
    let expected = kernel.bindings.iter().enumerate().map(&mut after).collect::<Result<_, BackendError>>()?;
    Ok(Sample { given, expected })
}

/// Compares the outputs of `case` on `backend`, set up with [`program`], with those of the f64 twin.
pub fn compare(backend: &mut dyn Backend, kernel: &'static Kernel, case: &Case) -> Result<Finding, BackendError> {
    let Sample { given, expected } = sample(kernel, case)?;
    for (index, contents) in given.into_iter().enumerate() {
        let slot = Slot(index);
        let guarded = backend.program().slot(slot).count();
        match contents {
            Contents::Words(mut words) => {
                words.resize(guarded, UNTOUCHED.to_bits());
                backend.write(slot, Data::U32(&words))?;
            }
            Contents::Floats(mut floats) => {
                floats.resize(guarded, UNTOUCHED);
                backend.write(slot, Data::F32(&floats))?;
            }
        }
    }
    backend.run(Pass::Evaluate)?;
    let mut worst = Finding { error: 0.0, place: "nowhere".into(), values: (0.0, 0.0) };
    for (index, expected) in expected.into_iter().enumerate() {
        let (slot, binding) = (Slot(index), &kernel.bindings[index]);
        let (got, want, guard): (Vec<f32>, Vec<f64>, Vec<f32>) = match expected {
            None => continue,
            Some(Contents::Words(want)) => {
                let mut got = backend.read_words(slot)?;
                let guard = got.split_off(want.len()).into_iter().map(f32::from_bits).collect();
                (halves(&got).collect(), halves(&want).map(f64::from).collect(), guard)
            }
            Some(Contents::Floats(want)) => {
                let mut got = backend.read(slot)?;
                let guard = got.split_off(want.len());
                (got, want, guard)
            }
        };
        if let Some(i) = guard.iter().position(|&v| v != UNTOUCHED) {
            let place = format!("{}, {} elements past its end", binding.name, i + 1);
            return Ok(Finding { error: f64::NAN, place, values: (f64::from(guard[i]), 0.0) });
        }
        // Infinities and NaN, which some twins give on purpose, do not count.
        let squares = want.iter().filter(|w| w.is_finite()).map(|w| w * w);
        let rms = (squares.sum::<f64>() / want.len().max(1) as f64).sqrt();
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let error = relative(f64::from(got), want, rms);
            // The first NaN is the worst error from then on.
            if !worst.error.is_nan() && (error.is_nan() || error > worst.error) {
                let place = format!("{}[{i}]", binding.name);
                worst = Finding { error, place, values: (f64::from(got), want) };
            }
        }
    }
    Ok(worst)
}

/// Error of `got` relative to `want` plus the output's root mean square.
fn relative(got: f64, want: f64, rms: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) { 0.0 } else { (got - want).abs() / (want.abs() + rms) }
}

/// `count` floats that `fill` describes, the same for every device; `tag` is the index of the binding.
fn floats(fill: &Fill, count: usize, tag: usize) -> Vec<f32> {
    let stream = Stream::new(2012, Purpose::Test, tag as u32);
    let uniform = || (0..count).map(|i| unit(stream.words(i as u64, 0)[0]));
    match fill {
        Fill::Normal(sd) => stream.normal_vec(count, f64::from(*sd)),
        Fill::Uniform(low, high) => uniform().map(|u| low + (high - low) * u).collect(),
        Fill::Integers(most) => uniform().map(|u| (u * (*most as f32 + 1.0)).floor()).collect(),
        Fill::Floats(values) => values.clone(),
        Fill::Output | Fill::Random | Fill::Words(_) => vec![f32::NAN; count],
    }
}

/// The values of words as pairs of f16, the only words that kernels write.
fn halves(words: &[u32]) -> impl Iterator<Item = f32> {
    words.iter().flat_map(|&word| [word as u16, (word >> 16) as u16]).map(|bits| f16::from_bits(bits).to_f32())
}

/// `count` words that `fill` describes, the same for every device; `tag` is the index of the binding.
fn words(fill: &Fill, count: usize, tag: usize) -> Vec<u32> {
    let stream = Stream::new(2012, Purpose::Test, tag as u32);
    match fill {
        Fill::Words(values) => values.clone(),
        Fill::Output => vec![u32::MAX; count], // two NaN
        _ => (0..count).map(|i| stream.words(i as u64, 0)[0]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Args, Twin};
    use crate::ops::half;

    #[test]
    fn words_that_a_kernel_forgets_or_writes_beyond_its_share_are_found() {
        let spoiled = |f32: fn(Args<f32>)| {
            let kernel = Kernel { twin: Twin { f32, ..half::PACK.twin }, ..half::PACK };
            let kernel = Box::leak(Box::new(kernel));
            let case = &(kernel.cases)()[0];
            compare(&mut Cpu::<f32>::new(program(kernel, case, GUARD)), kernel, case).unwrap()
        };
        assert_eq!(spoiled(half::PACK.twin.f32).error, 0.0);
        let forgets = spoiled(|_| ());
        assert!(forgets.error.is_nan() && forgets.place == "packed[0]", "{forgets}");
        let goes_on = spoiled(|mut args| {
            args.read();
            args.write_words().fill(0);
        });
        assert!(goes_on.error.is_nan() && goes_on.place == "packed, 1 elements past its end", "{goes_on}");
    }
}
