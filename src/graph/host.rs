//! Whole numbers, which are known before a network runs: sizes and axes that exporters compute from shapes, and truth
//! values that choose a branch. They are computed here, on the host, node by node.

use std::sync::Arc;

use super::refusal::Refusal;
use super::shapes::{AXES, axis, broadcast, normal_slice};
use super::{Comparison, Operation, Reduction};

/// The most numbers of one value that is known beforehand and that no file lists: far more than any shape has.
pub(super) const MOST: usize = 1 << 20;

/// Whole numbers or truth values, the last axis innermost.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Integers {
    pub(super) dims: Vec<usize>,
    pub(super) values: Arc<[i64]>,
}

impl Integers {
    pub(super) fn new(dims: Vec<usize>, values: Vec<i64>) -> Self {
        Self { dims, values: values.into() }
    }

    /// A tensor of one axis.
    pub(super) fn list(values: Vec<i64>) -> Self {
        Self::new(vec![values.len()], values)
    }

    /// The number of a tensor that holds one alone.
    pub(super) fn single(&self) -> Result<i64, Refusal> {
        if let [value] = self.values[..] { Ok(value) } else { Err(Refusal::NotSingle(self.values.len())) }
    }

    /// Numbers of shape `dims`; `from` gives the place of an element from its index along each axis.
    fn picked(&self, dims: Vec<usize>, from: impl Fn(&[usize]) -> usize) -> Result<Self, Refusal> {
        let count = dims.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent));
        let count = count.filter(|&count| count <= MOST).ok_or_else(|| Refusal::TooLarge(dims.clone()))?;
        let mut index = vec![0; dims.len()];
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.values[from(&index)]);
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                if index[axis] < dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(Self::new(dims, values))
    }

    /// Elements between neighbours along each axis.
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.dims.len()];
        for axis in (1..self.dims.len()).rev() {
            strides[axis - 1] = strides[axis] * self.dims[axis];
        }
        strides
    }

    /// The same numbers under another shape.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Result<Self, Refusal> {
        let count = dims.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent));
        if count != Some(self.values.len()) {
            let want = dims.iter().map(|&extent| extent as i64).collect();
            return Err(Refusal::Reshape { have: self.dims.clone(), want });
        }
        Ok(Self { dims, values: Arc::clone(&self.values) })
    }

    /// The numbers at `indices` along axis `at`, which their axes replace.
    pub(super) fn gathered(&self, at: i64, indices: &Self) -> Result<Self, Refusal> {
        let at = axis(at, self.dims.len())?;
        let places = indices.values.iter().map(|&index| axis(index, self.dims[at])).collect::<Result<Vec<_>, _>>()?;
        let dims = [&self.dims[..at], &indices.dims, &self.dims[at + 1..]].concat();
        let (strides, inner, many) = (self.strides(), indices.strides(), indices.dims.len());
        self.picked(dims, |index| {
            let place: usize = (0..many).map(|i| index[at + i] * inner[i]).sum();
            let outside = index[..at].iter().chain(&index[at + many..]);
            let axes = strides[..at].iter().chain(&strides[at + 1..]);
            places[place] * strides[at] + outside.zip(axes).map(|(i, stride)| i * stride).sum::<usize>()
        })
    }

    /// A part along each axis: those of the first number to below the second, every third-th.
    pub(super) fn sliced(&self, parts: &[[i64; 3]]) -> Result<Self, Refusal> {
        let ranges = parts.iter().zip(&self.dims).map(|(&part, &extent)| normal_slice(part, extent));
        let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        let strides = self.strides();
        self.picked(ranges.iter().map(|range| range.count).collect(), |index| {
            let along = |(i, range): (&usize, &super::shapes::Slice)| (range.start + *i as i64 * range.step) as usize;
            index.iter().zip(&ranges).map(along).zip(&strides).map(|(place, stride)| place * stride).sum()
        })
    }

    /// The axes in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Result<Self, Refusal> {
        let strides = self.strides();
        let dims = order.iter().map(|&axis| self.dims[axis]).collect();
        self.picked(dims, |index| index.iter().zip(order).map(|(i, &axis)| i * strides[axis]).sum())
    }

    /// The numbers repeated to `dims`, aligned at the last axes.
    pub(super) fn repeated(&self, dims: &[usize]) -> Result<Self, Refusal> {
        let refuse = || Refusal::Repeat { from: self.dims.clone(), to: dims.to_vec() };
        let missing = dims.len().checked_sub(self.dims.len()).ok_or_else(refuse)?;
        if self.dims.iter().zip(&dims[missing..]).any(|(&have, &want)| have != want && have != 1) {
            return Err(refuse());
        }
        let strides = self.strides();
        self.picked(dims.to_vec(), |index| {
            let axes = index[missing..].iter().zip(&self.dims).zip(&strides);
            axes.map(|((&i, &extent), stride)| if extent == 1 { 0 } else { i * stride }).sum()
        })
    }

    /// Several tensors joined along an axis.
    pub(super) fn joined(parts: &[Self], at: i64) -> Result<Self, Refusal> {
        let first = parts.first().ok_or(Refusal::NoInput)?;
        let at = axis(at, first.dims.len())?;
        let mut dims = first.dims.clone();
        dims[at] = 0;
        for part in parts {
            let same = part.dims.len() == dims.len()
                && part.dims.iter().zip(&dims).enumerate().all(|(axis, (have, want))| axis == at || have == want);
            if !same {
                return Err(Refusal::Concat { first: first.dims.clone(), part: part.dims.clone() });
            }
            dims[at] += part.dims[at];
        }
        let outer: usize = dims[..at].iter().product();
        let mut values = Vec::new();
        for row in 0..outer {
            for part in parts {
                let length = part.values.len() / outer;
                values.extend_from_slice(&part.values[row * length..][..length]);
            }
            if values.len() > MOST {
                return Err(Refusal::TooLarge(dims));
            }
        }
        Ok(Self::new(dims, values))
    }

    /// Number by number of two tensors, repeated to each other's shape.
    fn pairs(&self, other: &Self, apply: impl Fn(i64, i64) -> Option<i64>) -> Result<Self, Refusal> {
        let dims = broadcast(&self.dims, &other.dims)?;
        let (a, b) = (self.repeated(&dims)?, other.repeated(&dims)?);
        let pair = |(&a, &b)| apply(a, b).ok_or(Refusal::Arithmetic([a, b]));
        Ok(Self::new(dims, a.values.iter().zip(&*b.values).map(pair).collect::<Result<_, _>>()?))
    }

    /// Arithmetic; quotients are rounded towards 0, as in C.
    pub(super) fn arithmetic(&self, operation: Operation, other: &Self) -> Result<Self, Refusal> {
        self.pairs(other, |a, b| match operation {
            Operation::Add => a.checked_add(b),
            Operation::Subtract => a.checked_sub(b),
            Operation::Multiply => a.checked_mul(b),
            Operation::Divide => a.checked_div(b),
            Operation::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            Operation::Leak => Some(if a < 0 { a.checked_mul(b)? } else { a }),
            Operation::Maximum => Some(a.max(b)),
            Operation::Minimum => Some(a.min(b)),
            Operation::Less => Some(i64::from(a < b)),
            Operation::AtMost => Some(i64::from(a <= b)),
            Operation::Equal => Some(i64::from(a == b)),
            Operation::Keep => Some(if b == 0 { 0 } else { a }),
        })
    }

    /// Remainders, with the sign of the divisor, or of the dividend where quotients are `truncated`.
    pub(super) fn remainder(&self, other: &Self, truncated: bool) -> Result<Self, Refusal> {
        self.pairs(other, |a, b| {
            let rest = a.checked_rem(b)?;
            let other_sign = rest != 0 && (rest < 0) != (b < 0);
            Some(if other_sign && !truncated { rest + b } else { rest })
        })
    }

    /// Lines of the grid that places make, each place a list of numbers along the last axis: for each number of a place
    /// those along some of the other axes. `None` where they are no grid.
    pub(super) fn grid(&self) -> Option<Vec<Vec<i64>>> {
        let (&numbers, axes) = self.dims.split_last()?;
        let (strides, count) = (self.strides(), self.values.len());
        if numbers == 0 || count == 0 || numbers.max(axes.len()) > AXES {
            return None;
        }
        // Whether number `which` of a place changes along an axis.
        let changes = |which: usize, at: usize| {
            let step = strides[at];
            let inner = |i: usize| i / step % axes[at] + 1 < axes[at] && i % numbers == which;
            (0..count).any(|i| inner(i) && self.values[i] != self.values[i + step])
        };
        let mut lines = Vec::with_capacity(numbers);
        let mut from = 0;
        for which in 0..numbers {
            // The last number has all axes that are left.
            let to = (from..axes.len()).find(|&at| (which + 1..numbers).any(|later| changes(later, at)));
            let to = to.unwrap_or(axes.len());
            if (0..axes.len()).any(|at| changes(which, at) && !(from..to).contains(&at)) {
                return None;
            }
            let each: usize = axes[from..to].iter().product();
            let step = axes[to..].iter().product::<usize>() * numbers;
            lines.push((0..each).map(|i| self.values[i * step + which]).collect());
            from = to;
        }
        Some(lines)
    }

    /// One number for all; each axis stays with extent 1 if `keep`.
    pub(super) fn reduced(&self, to: Reduction, keep: bool) -> Result<Self, Refusal> {
        let (values, count) = (|| self.values.iter().copied(), self.values.len() as i64);
        let sum = || values().try_fold(0, i64::checked_add);
        let reduced = match to {
            Reduction::Product => values().try_fold(1, i64::checked_mul),
            Reduction::Sum => sum(),
            Reduction::Mean => sum().and_then(|sum| sum.checked_div(count)),
            Reduction::Largest => values().max(),
            Reduction::Smallest => values().min(),
            Reduction::SumOfSizes
            | Reduction::SumOfSquares
            | Reduction::Length
            | Reduction::LogOfSum
            | Reduction::LogOfPowers => None,
        };
        let value = reduced.ok_or(Refusal::Reduced)?;
        Ok(Self::new(vec![1; if keep { self.dims.len() } else { 0 }], vec![value]))
    }

    /// 1 where the comparison holds, else 0.
    pub(super) fn compared(&self, comparison: Comparison, other: &Self) -> Result<Self, Refusal> {
        self.pairs(other, |a, b| {
            Some(i64::from(match comparison {
                Comparison::Equal => a == b,
                Comparison::Less => a < b,
                Comparison::LessOrEqual => a <= b,
                Comparison::Greater => a > b,
                Comparison::GreaterOrEqual => a >= b,
                Comparison::And => a != 0 && b != 0,
                Comparison::Or => a != 0 || b != 0,
                Comparison::Differ => (a != 0) != (b != 0),
            }))
        })
    }

    /// Numbers of `self` where they are not 0 as `chosen` says, else of `other`.
    pub(super) fn chosen(&self, yes: &Self, no: &Self) -> Result<Self, Refusal> {
        let dims = broadcast(&broadcast(&self.dims, &yes.dims)?, &no.dims)?;
        let [on, yes, no] = [self.repeated(&dims)?, yes.repeated(&dims)?, no.repeated(&dims)?];
        let pick = |((&on, &yes), &no)| if on != 0 { yes } else { no };
        Ok(Self::new(dims, on.values.iter().zip(&*yes.values).zip(&*no.values).map(pick).collect()))
    }

    /// From `start` to below `limit`, `step` apart.
    pub(super) fn range(start: i64, limit: i64, step: i64) -> Result<Self, Refusal> {
        let refuse = || Refusal::Range([start, limit, step]);
        let (span, step_size) = (i128::from(limit) - i128::from(start), i128::from(step));
        if step == 0 {
            return Err(refuse());
        }
        let count = if (span > 0) == (step > 0) { (span.abs() + step_size.abs() - 1) / step_size.abs() } else { 0 };
        let count = usize::try_from(count).ok().filter(|&count| count <= MOST).ok_or_else(refuse)?;
        Ok(Self::list((0..count).map(|i| start + i as i64 * step).collect()))
    }

    /// The same number everywhere.
    pub(super) fn filled(dims: &[usize], value: i64) -> Result<Self, Refusal> {
        Self::new(Vec::new(), vec![value]).repeated(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: &[i64]) -> Integers {
        Integers::list(values.to_vec())
    }

    fn table() -> Integers {
        Integers::new(vec![2, 3], (0..6).collect())
    }

    #[test]
    fn parts_by_hand() {
        let part = |parts: &[[i64; 3]]| table().sliced(parts).unwrap();
        let all = [0, i64::MAX, 1];
        assert_eq!(*part(&[all, [1, 3, 1]]).values, [1, 2, 4, 5]);
        assert_eq!(*part(&[[-1, i64::MIN + 1, -1], all]).values, [3, 4, 5, 0, 1, 2]);
        assert_eq!(part(&[[1, 1, 1], all]).dims, [0, 3]);
        assert!(table().sliced(&[[0, 1, 0], all]).is_err());
        let picked = table().gathered(1, &Integers::new(vec![1, 2], vec![-1, 0])).unwrap();
        assert_eq!((&picked.dims[..], &*picked.values), (&[2, 1, 2][..], &[2, 0, 5, 3][..]));
        let one = list(&[7, 8, 9]).gathered(0, &Integers::new(vec![], vec![2])).unwrap();
        assert_eq!((one.dims.len(), one.single().unwrap()), (0, 9));
        assert!(list(&[7]).gathered(0, &list(&[1])).is_err() && list(&[1, 2]).single().is_err());
        assert_eq!(*table().permuted(&[1, 0]).unwrap().values, [0, 3, 1, 4, 2, 5]);
        let empty = Integers::filled(&[0], 3).unwrap();
        assert_eq!(*Integers::joined(&[list(&[1]), empty, list(&[2, 3])], 0).unwrap().values, [1, 2, 3]);
        assert_eq!(*Integers::joined(&[table(), table()], 1).unwrap().values, [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
        assert!(Integers::joined(&[table(), list(&[1])], 0).is_err());
        assert_eq!(*list(&[1, 2]).repeated(&[2, 2]).unwrap().values, [1, 2, 1, 2]);
        assert!(list(&[1, 2]).repeated(&[1 << 40, 2]).is_err() && list(&[1, 2]).repeated(&[3]).is_err());
    }

    #[test]
    fn arithmetic_by_hand() {
        let computed =
            |operation, b: &[i64]| Ok::<_, Refusal>(list(&[-7, 7]).arithmetic(operation, &list(b))?.values.to_vec());
        assert_eq!(computed(Operation::Divide, &[2]).unwrap(), [-3, 3]);
        assert_eq!(computed(Operation::Power, &[2, 1]).unwrap(), [49, 7]);
        let remainder =
            |b: &[i64], truncated| list(&[-7, 7, 6]).remainder(&list(b), truncated).unwrap().values.to_vec();
        assert_eq!((remainder(&[3], false), remainder(&[3], true)), (vec![2, 1, 0], vec![-1, 1, 0]));
        assert_eq!(remainder(&[-3], false), [-1, -2, 0]);
        assert!(list(&[1]).remainder(&list(&[0]), false).is_err());
        assert!(computed(Operation::Divide, &[0]).is_err() && computed(Operation::Multiply, &[i64::MAX]).is_err());
        assert_eq!(*list(&[1, 2]).compared(Comparison::GreaterOrEqual, &list(&[2])).unwrap().values, [0, 1]);
        assert_eq!(*list(&[1, 0]).chosen(&list(&[5]), &list(&[6, 7])).unwrap().values, [5, 7]);
        assert_eq!(*Integers::range(3, -2, -2).unwrap().values, [3, 1, -1]);
        let places = |dims: &[usize], values: &[i64]| Integers::new(dims.to_vec(), values.to_vec()).grid();
        let grid = [4, 7, 4, 8, 5, 7, 5, 8, 6, 7, 6, 8];
        assert_eq!(places(&[3, 2, 2], &grid), Some(vec![vec![4, 5, 6], vec![7, 8]]));
        assert_eq!(places(&[6, 2], &grid), None);
        assert_eq!(places(&[2, 1, 1], &[3, -1]), Some(vec![vec![3, -1]]));
        assert_eq!(places(&[0, 2], &[]), None);
        let reduced = |to| list(&[-7, 2, 3]).reduced(to, true).map(|one| (one.dims.clone(), one.values.to_vec()));
        assert_eq!(reduced(Reduction::Product).unwrap(), (vec![1], vec![-42]));
        assert_eq!(reduced(Reduction::Smallest).unwrap(), (vec![1], vec![-7]));
        assert!(reduced(Reduction::Length).is_err() && list(&[]).reduced(Reduction::Mean, false).is_err());
        assert!(Integers::range(0, 1, 0).is_err() && Integers::range(0, i64::MAX, 1).is_err());
        assert!(Integers::range(0, -1, 1).unwrap().values.is_empty());
    }
}
