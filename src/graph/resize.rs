//! Resampling: along each axis a product with a matrix that is known beforehand, or a choice of lines.

use super::Node;
use super::lower::GraphLowering;
use super::refusal::Refusal;
use super::shapes::{AXES, axis};
use super::storage::{Places, Storage, Tensor};

/// The most elements of a matrix that resamples an axis: 4,096 lines from as many.
pub(super) const MATRIX: usize = 1 << 24;

/// How a line is made of those beside its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stretch {
    /// A copy of the nearest.
    Nearest(Rounding),
    /// A mean of two, weighted by nearness.
    Linear,
    /// A mean of four by the cubic of coefficient `a`; lines beyond the edge are the edge's, or none if `inside`.
    Cubic {
        /// Slope of the cubic, often −0.75.
        a: f32,
        /// Whether only lines of the tensor count.
        inside: bool,
    },
}

/// Which of two lines is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Rounding {
    HalfDown,
    HalfUp,
    Down,
    Up,
    /// Down where an axis grows, up where it shrinks, as before the rounding could be said.
    Outwards,
}

/// Where a line of the result lies in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// Centres of pixels lie on each other.
    HalfPixel,
    /// The same, but a single line lies at 0.
    HalfPixelOrFirst,
    /// The same, about the middle where an extent is no whole number.
    HalfPixelSymmetric,
    /// Places are divided by the scale.
    Asymmetric,
    /// The first lies on the first and the last on the last.
    Corners,
}

/// An axis before and after.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretched {
    from: usize,
    to: usize,
    scale: f32,
}

impl Stretched {
    /// The place in the input of line `i` of the result, in the 32-bit arithmetic of other programs.
    fn place(&self, i: usize, coordinates: Coordinates) -> f32 {
        let (i, from, to) = (i as f32, self.from as f32, self.to as f32);
        let centre = (i + 0.5) / self.scale - 0.5;
        match coordinates {
            Coordinates::HalfPixel => centre,
            Coordinates::HalfPixelOrFirst if self.to > 1 => centre,
            Coordinates::HalfPixelSymmetric => from / 2.0 * (1.0 - to / (self.scale * from)) + centre,
            Coordinates::Asymmetric => i / self.scale,
            Coordinates::Corners if self.to > 1 => i * (from - 1.0) / (to - 1.0),
            Coordinates::HalfPixelOrFirst | Coordinates::Corners => 0.0,
        }
    }

    /// The line nearest to line `i` of the result.
    fn nearest(&self, i: usize, coordinates: Coordinates, rounding: Rounding) -> usize {
        let place = self.place(i, coordinates);
        let place = match rounding {
            Rounding::HalfDown => (place - 0.5).ceil(),
            Rounding::HalfUp => (place + 0.5).floor(),
            Rounding::Down => place.floor(),
            Rounding::Outwards if self.scale >= 1.0 => place.floor(),
            Rounding::Up | Rounding::Outwards => place.ceil(),
        };
        (place.max(0.0) as usize).min(self.from - 1)
    }

    /// Adds the weights of the lines that line `i` of the result is made of, by `add`.
    fn weights(&self, i: usize, coordinates: Coordinates, stretch: Stretch, mut add: impl FnMut(usize, f32)) {
        let (place, last) = (self.place(i, coordinates), self.from as i64 - 1);
        let Stretch::Cubic { a, inside } = stretch else {
            let place = place.clamp(0.0, last as f32);
            let (first, far) = (place.floor() as usize, place - place.floor());
            add(first, 1.0 - far);
            return add((first + 1).min(last as usize), far);
        };
        let (first, far) = (place.floor(), place - place.floor());
        let near = |x: f32| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
        let beyond = |x: f32| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
        let weights = [beyond(far + 1.0), near(far), near(1.0 - far), beyond(2.0 - far)];
        let lines = [-1, 0, 1, 2].map(|step| first as i64 + step);
        let counts = |line: i64| !inside || (0..=last).contains(&line);
        let sum: f32 = lines.iter().zip(weights).filter(|(line, _)| counts(**line)).map(|(_, weight)| weight).sum();
        for (line, weight) in lines.into_iter().zip(weights).filter(|(line, _)| counts(*line)) {
            add(line.clamp(0, last) as usize, if inside { weight / sum } else { weight });
        }
    }
}

impl GraphLowering<'_> {
    /// Resamples the input along every axis whose extent or scale changes, as [`super::Op::Resize`] says.
    pub(super) fn resize(
        &mut self,
        node: &Node,
        (stretch, coordinates): (Stretch, Coordinates),
        axes: Option<&[i64]>,
        scales: Option<&[f32]>,
        given: usize,
    ) -> Result<Tensor, Refusal> {
        let mut x = self.floats(node, 0)?;
        let count = x.dims().len();
        let axes: Vec<usize> = match axes {
            Some(axes) => axes.iter().map(|&at| axis(at, count)).collect::<Result<_, _>>()?,
            None => (0..count).collect(),
        };
        let scales = match scales {
            Some(scales) => Some(scales.to_vec()),
            // An empty list stands for none.
            None if self.is_left_out(node, given) => None,
            None => self.known(node, given)?,
        };
        let sizes = match &scales {
            Some(_) => None,
            None => self.list(node, None, given + 1)?,
        };
        let stated = scales.as_ref().map_or_else(|| sizes.as_ref().map_or(0, Vec::len), Vec::len);
        if stated != axes.len() {
            return Err(Refusal::Stretches { found: stated, axes: axes.len() });
        }
        for (index, at) in axes.into_iter().enumerate() {
            let from = x.dims()[at];
            let (to, scale) = match (&scales, &sizes) {
                (Some(scales), _) => ((from as f32 * scales[index]).floor(), scales[index]),
                (_, Some(sizes)) => (sizes[index] as f32, sizes[index] as f32 / from as f32),
                _ => (0.0, 0.0),
            };
            if !(to >= 1.0 && to * from as f32 <= MATRIX as f32 && scale.is_finite() && scale > 0.0) {
                return Err(Refusal::Stretch { from, scale: scale.to_string() });
            }
            let stretched = Stretched { from, to: to as usize, scale };
            if stretched.to == from && scale == 1.0 {
                continue;
            }
            x = self.resize_axis(node, &x, at, stretched, (stretch, coordinates))?;
        }
        Ok(x)
    }

    /// Whether an input is left out, or a list without numbers.
    fn is_left_out(&self, node: &Node, index: usize) -> bool {
        let Some(value) = node.inputs.get(index).copied().flatten() else { return true };
        self.graph.constants.get(&value).is_some_and(|constant| constant.dims.contains(&0))
    }

    fn resize_axis(
        &mut self,
        node: &Node,
        x: &Tensor,
        at: usize,
        stretched: Stretched,
        (stretch, coordinates): (Stretch, Coordinates),
    ) -> Result<Tensor, Refusal> {
        let Stretched { from, to, .. } = stretched;
        if let Stretch::Nearest(rounding) = stretch {
            let lines: Vec<usize> = (0..to).map(|i| stretched.nearest(i, coordinates, rounding)).collect();
            let times = to / from;
            let whole = times > 1 && lines.iter().enumerate().all(|(i, &line)| line == i / times);
            if whole && x.dims().len() < AXES {
                return self.repeat_lines(node, x, at, times);
            }
            return self.picked(node, x, at, &lines);
        }
        self.make_constant(from * to)?;
        let mut matrix = vec![0.0; from * to];
        for i in 0..to {
            stretched.weights(i, coordinates, stretch, |line, weight| matrix[line * to + i] += weight);
        }
        let places = Places::rows(&[from, to])?;
        let order: Vec<usize> = (0..x.dims().len()).filter(|&axis| axis != at).chain([at]).collect();
        let turned = x.with(x.places.permuted(&order));
        let y = self.stacked(node, &turned, Tensor { source: Storage::Host(matrix.into()), places })?;
        let back: Vec<usize> =
            (0..order.len()).filter_map(|axis| order.iter().position(|&from| from == axis)).collect();
        Ok(y.with(y.places.permuted(&back)))
    }

    /// Every line along axis `at` so many times, in one copy.
    fn repeat_lines(&mut self, node: &Node, x: &Tensor, at: usize, times: usize) -> Result<Tensor, Refusal> {
        let mut dims = x.dims().to_vec();
        dims[at] *= times;
        let (slot, y) = self.map(node, Places::images(&dims)?);
        // An axis more, of the times of a line.
        let apart = |mut places: Places, stride: usize| {
            places.dims.insert(at + 1, times);
            places.strides.insert(at + 1, stride);
            places
        };
        let to = apart(y.places.spaced(at, 0, times, x.dims()[at]), y.places.strides[at]);
        self.copy(&x.with(apart(x.places.clone(), 0)), slot, &to, 1.0);
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: usize, to: usize, coordinates: Coordinates, rounding: Rounding) -> Vec<usize> {
        let stretched = Stretched { from, to, scale: to as f32 / from as f32 };
        (0..to).map(|i| stretched.nearest(i, coordinates, rounding)).collect()
    }

    #[test]
    fn lines_by_hand() {
        assert_eq!(lines(3, 6, Coordinates::Asymmetric, Rounding::Down), [0, 0, 1, 1, 2, 2]);
        assert_eq!(lines(3, 6, Coordinates::HalfPixel, Rounding::HalfDown), [0, 0, 1, 1, 2, 2]);
        assert_eq!(lines(2, 5, Coordinates::Corners, Rounding::HalfDown), [0, 0, 0, 1, 1]);
        assert_eq!(lines(2, 5, Coordinates::Corners, Rounding::HalfUp), [0, 0, 1, 1, 1]);
        assert_eq!(lines(4, 2, Coordinates::Asymmetric, Rounding::Up), [0, 2]);
        let smaller = Stretched { from: 4, to: 2, scale: 0.6 };
        assert_eq!([0, 1].map(|i| smaller.nearest(i, Coordinates::Asymmetric, Rounding::Outwards)), [0, 2]);
        assert_eq!(lines(2, 5, Coordinates::Asymmetric, Rounding::Outwards), [0, 0, 0, 1, 1]);
        assert_eq!(lines(4, 1, Coordinates::HalfPixelOrFirst, Rounding::Down), [0]);
        assert_eq!(lines(4, 1, Coordinates::HalfPixel, Rounding::Down), [1]);
    }

    #[test]
    fn weights_by_hand() {
        let weights = |from, to, i, stretch| {
            let mut found = vec![0.0; from];
            let stretched = Stretched { from, to, scale: to as f32 / from as f32 };
            stretched.weights(i, Coordinates::HalfPixel, stretch, |line, weight| found[line] += weight);
            found
        };
        assert_eq!(weights(2, 4, 0, Stretch::Linear), [1.0, 0.0]);
        assert_eq!(weights(2, 4, 1, Stretch::Linear), [0.75, 0.25]);
        // At a quarter: 27/64 (a + 1) and so on, with a = -1/2.
        let cubic = |inside| weights(4, 8, 3, Stretch::Cubic { a: -0.5, inside });
        assert_eq!(cubic(false), [-9.0 / 128.0, 111.0 / 128.0, 29.0 / 128.0, -3.0 / 128.0]);
        assert_eq!(cubic(true), cubic(false));
        assert!((weights(2, 4, 0, Stretch::Cubic { a: -0.5, inside: true }).iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
