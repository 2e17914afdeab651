//! Splits runs whose buffers are too large for one binding into several, each on pieces of the slots.
//!
//! The slots stay whole, so checkpoints, gradients and the memory plan are the same. The pieces, and the order in which
//! their results add up, depend on the limit alone.

use super::{ALIGNMENT, Command, Program, Slot, SlotRange};
use crate::kernel::Piece;

/// The error for a run whose buffers cannot be cut to fit one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The slot that is too large for one binding.
    pub slot: Slot,
    /// Bytes that would have to be bound at once.
    pub needed: u64,
}

impl Program {
    /// The same program with no view of more than `limit` bytes.
    ///
    /// # Errors
    /// The slot of the first run that cannot be cut to `limit`, and the bytes it needs.
    pub fn split(&self, limit: u64) -> Result<Self, TooLarge> {
        let mut passes = Vec::with_capacity(self.passes.len());
        for (pass, commands) in self.passes() {
            let mut out = Vec::with_capacity(commands.len());
            for command in commands {
                match command {
                    Command::Run { views, .. } if views.iter().any(|view| view.bytes() > limit) => {
                        out.extend(cut(command, limit)?);
                    }
                    other => out.push(other.clone()),
                }
            }
            passes.push((pass, out));
        }
        Ok(self.part(passes))
    }
}

/// The runs that compute `command` with no view of more than `limit` bytes.
fn cut(command: &Command, limit: u64) -> Result<Vec<Command>, TooLarge> {
    let Command::Run { kernel, params, views, home, label } = command else { return Ok(vec![command.clone()]) };
    let over = |view: &&SlotRange| view.bytes() > limit;
    let Some(split) = &kernel.split else {
        return views
            .iter()
            .filter(over)
            .max_by_key(|view| view.bytes())
            .map_or_else(|| Ok(vec![command.clone()]), refuse);
    };
    let extent: usize = params.get(split.along);
    let whole = views.iter().zip(split.outermost).filter(|(_, outermost)| !**outermost);
    if let Some((view, _)) = whole.into_iter().find(|(view, _)| over(view)) {
        return refuse(view);
    }
    let pieces = || views.iter().zip(split.outermost).filter(|(_, outermost)| **outermost).map(|(view, _)| view);
    // Steps are powers of two, so the largest is a multiple of all.
    let step = |view: &SlotRange| ALIGNMENT / gcd(view.count / extent * view.elem.bytes(), ALIGNMENT);
    let step = pieces().map(step).max().unwrap_or(1);
    let most = |view: &SlotRange| (limit * extent as u64 / view.bytes()) as usize / step * step;
    if let Some(view) = pieces().filter(|view| most(view) == 0).max_by_key(|view| view.bytes()) {
        return Err(TooLarge { slot: view.slot, needed: view.bytes() / extent as u64 * step.min(extent) as u64 });
    }
    let parts = extent.div_ceil(pieces().map(most).min().unwrap_or(extent));
    let size = extent.div_ceil(parts).next_multiple_of(step);
    let run = |start: usize| {
        let end = (start + size).min(extent);
        let part = Piece { start, first: start == 0, last: end == extent };
        let params = (split.part)(params.replaced(split.along, end - start), part);
        let piece = |(view, &outermost): (&SlotRange, &bool)| match view.count / extent {
            unit if outermost => SlotRange { start: view.start + start * unit, count: (end - start) * unit, ..*view },
            _ => *view,
        };
        let views = views.iter().zip(split.outermost).map(piece).collect();
        Command::Run { kernel, params, views, home: *home, label: label.clone() }
    };
    Ok((0..extent).step_by(size).map(run).collect())
}

/// The refusal of a view that would have to be bound whole.
fn refuse<T>(view: &SlotRange) -> Result<T, TooLarge> {
    Err(TooLarge { slot: view.slot, needed: view.bytes() })
}

/// The greatest common divisor.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Elem, Kernel, Params};
    use crate::ops::activation::Activation;
    use crate::ops::conv::{BACKWARD_FILTER, BACKWARD_INPUT, Conv, FORWARD};
    use crate::ops::{activation, optimizer};
    use crate::program::{Home, Pass, Recorder, Role, SlotInfo};
    use proptest::prelude::*;

    /// A program of one run on slots of so many elements.
    fn program(kernel: &'static Kernel, params: Params, counts: &[usize]) -> Program {
        let mut recorder = Recorder::new();
        recorder.begin(Pass::Evaluate);
        let slot = |(binding, &count): (&crate::kernel::Binding, &usize)| SlotInfo {
            name: binding.name.into(),
            shape: vec![count],
            elem: Elem::F32,
            home: Home::Tower(0),
            role: Role::Map,
        };
        let slots: Vec<Slot> = kernel
            .bindings
            .iter()
            .zip(counts)
            .map(slot)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|info| recorder.slot(info))
            .collect();
        recorder.run(kernel, params, &slots);
        recorder.finish()
    }

    /// A fully connected layer of `m` outputs and `k` inputs.
    fn dense(m: usize, k: usize, n: usize, accumulate: bool) -> Conv {
        Conv { accumulate, bias: true, activation: Activation::Relu as usize, ..Conv::dense(k, m, n) }
    }

    fn forward(conv: Conv) -> Program {
        let Conv { maps, k, n, .. } = conv;
        program(&FORWARD, conv.params(), &[maps * n, maps * k, k, k * n])
    }

    fn runs(program: &Program) -> Vec<(&Params, &[SlotRange])> {
        let mut all = Vec::new();
        for command in program.commands(Pass::Evaluate) {
            let Command::Run { params, views, .. } = command else { panic!("nothing else was recorded") };
            all.push((params, &views[..]));
        }
        all
    }

    /// Checks what holds for every cut of a program of one run, and for every refusal.
    fn check(whole: &Program, limit: u64) -> Result<(), TestCaseError> {
        let Command::Run { kernel, params, views, .. } = &whole.commands(Pass::Evaluate)[0] else { panic!() };
        let split = kernel.split.as_ref().unwrap();
        let fits = views.iter().all(|view| view.bytes() <= limit);
        let parts = match whole.split(limit) {
            Ok(parts) => parts,
            Err(TooLarge { slot, needed }) => {
                prop_assert!(!fits && needed > limit && needed <= views[slot.0].bytes(), "{} bytes", needed);
                prop_assert!(split.outermost[slot.0] || needed == views[slot.0].bytes());
                return Ok(());
            }
        };
        let runs = runs(&parts);
        prop_assert_eq!(runs.len() == 1, fits);
        if fits {
            prop_assert_eq!(parts.commands(Pass::Evaluate), whole.commands(Pass::Evaluate));
        }
        for (index, (view, &outermost)) in views.iter().zip(split.outermost).enumerate() {
            let mut end = 0;
            for (_, pieces) in &runs {
                let piece = pieces[index];
                prop_assert!(piece.bytes() <= limit && piece.count > 0 && piece.slot == view.slot);
                if outermost {
                    prop_assert_eq!((piece.start, piece.offset() % ALIGNMENT as u64), (end, 0));
                    end += piece.count;
                } else {
                    prop_assert_eq!(piece, *view);
                }
            }
            prop_assert!(!outermost || end == view.count, "{} of {}", end, view.count);
        }
        let extents: usize = runs.iter().map(|(params, _)| params.get::<usize>(split.along)).sum();
        prop_assert_eq!(extents, params.get::<usize>(split.along));
        prop_assert_eq!(parts.flops(Pass::Evaluate), whole.flops(Pass::Evaluate));
        Ok(())
    }

    proptest! {
        #[test]
        fn pieces_cover_everything_once_in_order_aligned_and_within_the_limit(
            m in 1..80_usize, k in 1..300_usize, eights in 1..4_usize, limit in 4..60_000_u64,
        ) {
            let conv = dense(m, k, 8 * eights, false);
            let [x, w, y] = [k * conv.n, k * m, m * conv.n];
            check(&forward(conv), limit)?;
            check(&program(&BACKWARD_INPUT, conv.params(), &[w, y, x, x]), limit)?;
            check(&program(&BACKWARD_FILTER, conv.params(), &[x, y, w]), limit)?;
            check(&program(&optimizer::sgd::SGD.kernel, optimizer::Shape { count: w, first: 0, tensors: 1 }.params(), &[w, 4, 6, w, w]), limit)?;
        }
    }

    /// Three parts of 64, 64 and 32 inputs: 64 and no fewer begin at multiples of 256 bytes.
    #[test]
    fn a_sum_begins_with_the_first_part_and_ends_with_the_last() {
        for accumulate in [false, true] {
            let whole = forward(dense(17, 160, 8, accumulate));
            let parts = whole.split(80 * 17 * 4).unwrap();
            let said = |params: &Params| {
                let Conv { maps, accumulate, bias, activation, .. } = Conv::from(params);
                (maps, accumulate, bias, Activation::numbered(activation))
            };
            let said: Vec<_> = runs(&parts).into_iter().map(|(params, _)| said(params)).collect();
            let middle = (64, true, false, Activation::Linear);
            assert_eq!(said, [(64, accumulate, false, Activation::Linear), middle, (32, true, true, Activation::Relu)]);
            // What is cut already is cut further as the whole would be.
            assert_eq!(parts.split(64 * 17 * 4).unwrap().commands(Pass::Evaluate), parts.commands(Pass::Evaluate));
        }
    }

    #[test]
    fn what_no_cut_makes_fit_is_refused_with_what_it_needs() {
        let refused = |program: &Program, limit| program.split(limit).unwrap_err();
        let relu = activation::Shape { count: 1024, activation: 1 }.params();
        let relu = program(&activation::FORWARD, relu, &[1024, 1024]);
        assert_eq!(refused(&relu, 4095).needed, 4096, "a kernel without a split");
        assert!(relu.split(4096).is_ok());
        // y, 17 outputs of 8 images, is needed whole in every part.
        let whole = forward(dense(17, 160, 8, false));
        assert_eq!(refused(&whole, 17 * 8 * 4 - 1), TooLarge { slot: Slot(3), needed: 17 * 8 * 4 });
        // 64 rows of 17 weights are the least that can be bound; of 20 rows all.
        assert_eq!(refused(&whole, 64 * 17 * 4 - 1), TooLarge { slot: Slot(1), needed: 64 * 17 * 4 });
        let short = forward(dense(17, 20, 8, false));
        assert_eq!(refused(&short, 20 * 17 * 4 - 1), TooLarge { slot: Slot(1), needed: 20 * 17 * 4 });
    }
}
