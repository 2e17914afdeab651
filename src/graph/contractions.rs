//! Convolutions and matrix products.

use super::Node;
use super::layers::maps;
use super::lower::GraphLowering;
use super::refusal::Refusal;
use super::shapes::{broadcast, padded};
use super::storage::{Places, Storage, Tensor};
use super::window::WindowSpec;
use crate::ops::activation::Activation;
use crate::ops::conv::{self, Conv, GROUPED, Grouped};
use crate::program::Slot;

/// The most products of a batch: each is a run of its own.
pub(super) const BATCH: usize = 256;

/// A matrix product: alpha · A · B + beta · C, then an activation.
struct Product {
    a: Tensor,
    b: Tensor,
    c: Option<Tensor>,
    alpha: f32,
    beta: f32,
    activation: Activation,
}

impl GraphLowering<'_> {
    /// Convolves maps `[N][C][H][W]` with filters `[K][C / groups][R][S]`.
    pub(super) fn conv(&mut self, node: &Node, window: &WindowSpec, groups: usize) -> Result<Tensor, Refusal> {
        let (x, w, b) = (self.floats(node, 0)?, self.floats(node, 1)?, self.optional(node, 2)?);
        self.convolve(node, (x, w, b), window, groups)
    }

    /// Convolves maps with filters, and adds a bias or none.
    pub(super) fn convolve(
        &mut self,
        node: &Node,
        (x, w, b): (Tensor, Tensor, Option<Tensor>),
        window: &WindowSpec,
        groups: usize,
    ) -> Result<Tensor, Refusal> {
        let ([images, maps_in, h, width], filters) = (maps("X", x.dims())?, maps("W", w.dims())?);
        let [k, c, r, s] = filters;
        if c.checked_mul(groups) != Some(maps_in) || !k.is_multiple_of(groups) {
            return Err(Refusal::Groups { groups, filters: k, depth: c, maps: maps_in });
        }
        if let Some(b) = b.as_ref().filter(|b| b.dims() != [k]) {
            return Err(Refusal::ConvBias { found: b.dims().to_vec(), filters: k });
        }
        let [rows, columns] = window.over([h, width], Some([r, s]))?;
        let (p, q, n) = (rows.count, columns.count, padded(images));
        let places = Places::images(&[images, k, p, q])?;
        let x = self.place(node, &x, &Places::images(x.dims())?, 1.0);
        let (y, out) = self.map(node, places);
        let whole = Grouped {
            maps: c,
            h,
            w: width,
            n,
            k,
            p,
            q,
            r,
            s,
            stride_y: rows.stride,
            stride_x: columns.stride,
            dilation_y: rows.dilation,
            dilation_x: columns.dilation,
            pad_y: rows.before,
            pad_x: columns.before,
            groups,
            accumulate: false,
            bias: b.is_some(),
            activation: self.epilogue_of(node) as usize,
        };
        let aligned = [x, y].iter().all(|&slot| self.r.info(slot).whole(slot).parts_are_aligned(groups));
        if let Some(conv) = whole.of_one_group().filter(|_| aligned) {
            self.groups(node, &conv, groups, (x, y), (&w, b.as_ref()))?;
        } else {
            let (own, window) = (k / groups, [c, r, s]);
            let apart = self.reshaped(node, &w, &[&[groups, own], &window[..]].concat())?;
            let filters = self.place(node, &apart, &Places::grouped_filters(groups, own, window)?, 1.0);
            let bias = self.bias(node, b.as_ref(), k)?;
            self.r.run(&GROUPED, whole.params(), &[x, filters, bias, y]);
        }
        Ok(out)
    }

    /// Runs `conv` for every group, on its part of the maps.
    fn groups(
        &mut self,
        node: &Node,
        conv: &Conv,
        groups: usize,
        (x, y): (Slot, Slot),
        (w, b): (&Tensor, Option<&Tensor>),
    ) -> Result<(), Refusal> {
        let &Conv { maps, k, r, s, .. } = conv;
        for group in 0..groups {
            let part = |tensor: &Tensor| tensor.with(tensor.places.part(0, group * k, k));
            let filters = self.place(node, &part(w), &Places::filters(&[k, maps, r, s])?, 1.0);
            let bias = self.bias(node, b.map(part).as_ref(), k)?;
            let all = |slot| self.r.info(slot).whole(slot);
            let views = vec![all(x).part(group, groups), all(filters), all(bias), all(y).part(group, groups)];
            self.r.run_on(&conv::FORWARD, conv.params(), views);
        }
        Ok(())
    }

    /// The slot of a bias of `count` numbers; without a bias, a slot that kernels bind and do not read.
    fn bias(&mut self, node: &Node, b: Option<&Tensor>, count: usize) -> Result<Slot, Refusal> {
        match b {
            Some(b) => Ok(self.place(node, b, &Places::rows(&[count])?, 1.0)),
            None => Ok(self.place(node, &self.nothing(), &Places::rows(&[1])?, 1.0)),
        }
    }

    /// Multiplies two matrices, each transposed or not, and adds a third.
    pub(super) fn gemm(
        &mut self,
        node: &Node,
        [alpha, beta]: [f32; 2],
        [transposed_a, transposed_b]: [bool; 2],
    ) -> Result<Tensor, Refusal> {
        let operand = |tensor: Tensor, name: &'static str, transposed: bool| match tensor.dims() {
            [_, _] if transposed => Ok(tensor.with(tensor.places.permuted(&[1, 0]))),
            [_, _] => Ok(tensor),
            dims => Err(Refusal::NotMatrix { name, dims: dims.to_vec() }),
        };
        let a = operand(self.floats(node, 0)?, "A", transposed_a)?;
        let b = operand(self.floats(node, 1)?, "B", transposed_b)?;
        let c = self.optional(node, 2)?;
        let activation = self.epilogue_of(node);
        self.product(node, &Product { a, b, c, alpha, beta, activation })
    }

    /// Runs one matrix product of A `[rows][k]` and B `[k][m]`.
    fn product(&mut self, node: &Node, product: &Product) -> Result<Tensor, Refusal> {
        let Product { a, b, c, alpha, beta, activation } = product;
        let (&[rows, k], &[inner, m]) = (a.dims(), b.dims()) else { return Err(Refusal::Scalar) };
        if k != inner {
            return Err(Refusal::Inner(a.dims().to_vec(), b.dims().to_vec()));
        }
        let n = padded(rows);
        let mut shape = Conv { activation: *activation as usize, ..Conv::dense(k, m, n) };
        let x = self.place(node, a, &Places::images(a.dims())?, 1.0);
        let w = self.place(node, b, &Places::rows(b.dims())?, *alpha);
        let (y, out) = self.map(node, Places::images(&[rows, m])?);
        let mut bias = self.nothing();
        if let Some(c) = c.as_ref().filter(|_| *beta != 0.0) {
            let matrix = Self::repeated(c, &[rows, m])
                .map_err(|reason| Refusal::Operand { operand: "C", reason: Box::new(reason) })?;
            if c.dims().len() < 2 || c.dims()[0] == 1 {
                (bias, shape.bias) = (Self::repeated(c, &[1, m])?, true);
            } else {
                self.copy(&matrix, y, &out.places, *beta);
                shape.accumulate = true;
            }
        }
        let bias = self.place(node, &bias, &Places::rows(bias.dims())?, *beta);
        self.r.run(&conv::FORWARD, shape.params(), &[x, w, bias, y]);
        Ok(out)
    }

    /// Multiplies matrices, batches of matrices, or vectors, as numpy's `matmul` does.
    pub(super) fn matmul(&mut self, node: &Node) -> Result<Tensor, Refusal> {
        let (mut a, mut b) = (self.floats(node, 0)?, self.floats(node, 1)?);
        let vectors = (a.dims().len() == 1, b.dims().len() == 1);
        if a.dims().is_empty() || b.dims().is_empty() {
            return Err(Refusal::Scalar);
        }
        if vectors.0 {
            a = self.reshaped(node, &a, &[1, a.dims()[0]])?;
        }
        if vectors.1 {
            b = self.reshaped(node, &b, &[b.dims()[0], 1])?;
        }
        let y = if b.dims().len() == 2 { self.stacked(node, &a, b)? } else { self.batched(node, &a, &b)? };
        let mut dims = y.dims().to_vec();
        if vectors.1 {
            dims.pop();
        }
        if vectors.0 {
            dims.remove(dims.len() - if vectors.1 { 1 } else { 2 });
        }
        self.reshaped(node, &y, &dims)
    }

    /// Multiplies a stack of matrices, taken as one tall matrix, by one matrix.
    pub(super) fn stacked(&mut self, node: &Node, a: &Tensor, b: Tensor) -> Result<Tensor, Refusal> {
        let mut dims = a.dims().to_vec();
        let inner = dims.pop().unwrap_or(1);
        let a = self.reshaped(node, a, &[dims.iter().product(), inner])?;
        dims.push(b.dims()[1]);
        let (alpha, beta, activation) = (1.0, 1.0, Activation::Linear);
        let y = self.product(node, &Product { a, b, c: None, alpha, beta, activation })?;
        self.reshaped(node, &y, &dims)
    }

    /// Runs a product for each index of the axes before the last two.
    fn batched(&mut self, node: &Node, a: &Tensor, b: &Tensor) -> Result<Tensor, Refusal> {
        let ((batch_a, size_a), (batch_b, size_b)) = (ends(a.dims()), ends(b.dims()));
        let batch = broadcast(batch_a, batch_b)?;
        let count: usize = batch.iter().product();
        if count > BATCH {
            return Err(Refusal::Batch(count));
        }
        let a = Self::repeated(a, &[&batch[..], size_a].concat())?;
        let b = Self::repeated(b, &[&batch[..], size_b].concat())?;
        let (slot, y) = self.map(node, Places::images(&[&batch[..], &[size_a[0], size_b[1]]].concat())?);
        for index in 0..count {
            let one = |tensor: &Tensor| tensor.with(matrix(&tensor.places, &batch, index));
            let (alpha, beta, activation) = (1.0, 1.0, Activation::Linear);
            let product = Product { a: one(&a), b: one(&b), c: None, alpha, beta, activation };
            let product = self.product(node, &product)?;
            self.copy(&product, slot, &matrix(&y.places, &batch, index), 1.0);
        }
        Ok(y)
    }

    /// A single zero, bound where a kernel has nothing to read.
    fn nothing(&self) -> Tensor {
        let places = Places { first: 0, dims: vec![1], strides: vec![0], size: 1 };
        Tensor { source: Storage::Host(self.zero.clone()), places }
    }
}

/// The extents of a batch, and those of its matrices: all axes but the last two, and these.
fn ends(dims: &[usize]) -> (&[usize], &[usize]) {
    dims.split_at(dims.len() - 2)
}

/// The places of matrix number `index` of a batch.
fn matrix(places: &Places, batch: &[usize], index: usize) -> Places {
    let (mut places, mut rest) = (places.clone(), index);
    for (axis, &extent) in batch.iter().enumerate().rev() {
        places = places.part(axis, rest % extent, 1);
        rest /= extent;
    }
    places.permuted(&[batch.len(), batch.len() + 1])
}
