//! Normalisation by the mean and the variance of an image's own numbers, of all from an axis on or of groups of maps:
//! means are pools, the rest is arithmetic. By the statistics of training it is a convolution ([`super::reduced`]).

use super::Node;
use super::layers::windows;
use super::lower::GraphLowering;
use super::reduced::number;
use super::refusal::Refusal;
use super::shapes::axis;
use super::storage::Tensor;
use super::window::WindowSpec;
use crate::ops::binary::Operation;
use crate::ops::pool::window::{AVERAGE, Window as Pool};
use crate::ops::unary::Function;

/// Numbers that are normalised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Those of all axes from this one on; scale and shift have the extents of these.
    From(i64),
    /// Those of a group of maps, each map by itself where absent; scale and shift are one number for each map, or for
    /// each group.
    Groups(Option<usize>),
}

impl GraphLowering<'_> {
    /// Normalises the input, as [`super::Op::Normalise`] says.
    pub(super) fn normalise_together(
        &mut self,
        node: &Node,
        over: &Together,
        epsilon: f32,
        centred: bool,
    ) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let (dims, axes) = (x.dims().to_vec(), x.dims().len());
        let (images, maps) = match *over {
            Together::From(at) => match dims.split_at(axis(at, axes)?).0 {
                [] => (1, 1),
                [images, between @ ..] => (*images, between.iter().product()),
            },
            Together::Groups(groups) => {
                let &[images, maps, _, ..] = &dims[..] else { return Err(Refusal::NoMaps(dims)) };
                let groups = groups.unwrap_or(maps);
                if !maps.is_multiple_of(groups) {
                    return Err(Refusal::Apart { groups, maps });
                }
                (images, groups)
            }
        };
        let (count, last) = (dims.iter().product::<usize>() / (images * maps), dims.last().copied().unwrap_or(1));
        let whole = self.reshaped(node, &x, &[images, maps, count / last, last])?;
        let mut y = whole;
        if centred {
            let mean = self.mean_of_maps(node, &y)?;
            y = self.pair(node, Operation::Subtract, &y, &mean)?;
        }
        let squares = self.pair(node, Operation::Multiply, &y, &y)?;
        let variance = self.mean_of_maps(node, &squares)?;
        let variance = self.pair(node, Operation::Add, &variance, &number(epsilon))?;
        let deviation = self.each(node, &variance, Function::Sqrt, [0.0; 2])?;
        y = self.pair(node, Operation::Divide, &y, &deviation)?;
        for (index, operation) in [(1, Operation::Multiply), (2, Operation::Add)] {
            let Some(numbers) = self.optional(node, index)? else { continue };
            let found = numbers.dims().to_vec();
            y = match over {
                Together::From(_) => self.reshaped(node, &y, &dims)?,
                Together::Groups(_) if found == [maps] => self.reshaped(node, &y, &[images, maps, count])?,
                Together::Groups(_) if found == [dims[1]] => {
                    let each = dims[2..].iter().product();
                    self.reshaped(node, &y, &[images, dims[1], each])?
                }
                Together::Groups(_) => return Err(Refusal::Numbers { found, wanted: dims[1] }),
            };
            let numbers = match over {
                Together::From(_) => numbers,
                Together::Groups(_) => self.reshaped(node, &numbers, &[found[0], 1])?,
            };
            let fits = Self::repeated(&numbers, y.dims())?;
            y = self.pair(node, operation, &y, &fits)?;
        }
        self.reshaped(node, &y, &dims)
    }

    /// The mean of every map, that of the means of its rows: sums stay short.
    fn mean_of_maps(&mut self, node: &Node, x: &Tensor) -> Result<Tensor, Refusal> {
        let mut x = x.clone();
        for along in [3, 2] {
            let &[images, maps, rows, columns] = x.dims() else { return Err(Refusal::NoMaps(x.dims().to_vec())) };
            let window = if along == 3 { [1, columns] } else { [rows, 1] };
            let window = WindowSpec { size: Some(window.into()), ..WindowSpec::default() };
            let shape = windows(x.dims(), &window, false)?;
            let y = [images, maps, shape.out_height, shape.out_width];
            x = self.maps_to_maps(node, &x, &y, |images| (&AVERAGE, Pool { images, ..shape }.params()))?;
        }
        Ok(x)
    }
}
