//! The pooling layer.

use super::{AVERAGE_BACKWARD, AVERAGE_FORWARD, MAX_BACKWARD, MAX_FORWARD, Shape, pooled};
use crate::ops::layer::{Layer, Maps, Saved, Site, map_slot, only};
use crate::program::{Recorder, Slot};

/// What pooling takes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The maximum.
    Max,
    /// The mean of the pixels inside.
    Average,
}

/// Pooling of one tower's maps.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolLayer {
    /// Maximum or average.
    pub kind: PoolKind,
    /// Side of the window.
    pub size: usize,
    /// Distance of windows.
    pub stride: usize,
    /// Pixels around the maps, less than `size`.
    pub pad: usize,
}

impl PoolLayer {
    fn shape(&self, site: &Site, x: Maps) -> Shape {
        Shape::new(x.maps, [x.height, x.width], site.images, self.size, self.stride, self.pad)
    }
}

impl Layer for PoolLayer {
    fn describe(&self) -> String {
        let name = if self.kind == PoolKind::Max { "max" } else { "average" };
        format!("{name} pool {0}×{0}/{1}", self.size, self.stride)
    }

    fn output(&self, x: &[Maps]) -> Result<Maps, String> {
        let x = only(x)?;
        if self.size > x.height.min(x.width) + 2 * self.pad {
            return Err(format!("its window of {} is larger than the map of {}×{}", self.size, x.height, x.width));
        }
        let along = |extent| pooled(extent, self.size, self.stride, self.pad);
        Ok(Maps { maps: x.maps, height: along(x.height), width: along(x.width) })
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Maps)], _: &[Slot], y: Maps, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        let kernel = if self.kind == PoolKind::Max { &MAX_FORWARD } else { &AVERAGE_FORWARD };
        r.run(kernel, self.shape(site, x[0].1).params(), &[x[0].0, out]);
        out
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, _: usize) -> Slot {
        let (x, maps) = saved.x[0];
        let (dx, params) = (map_slot(r, site, "dx", maps), self.shape(site, maps).params());
        match self.kind {
            PoolKind::Max => r.run(&MAX_BACKWARD, params, &[x, saved.y.0, dz, dx]),
            PoolKind::Average => r.run(&AVERAGE_BACKWARD, params, &[dz, dx]),
        }
        dx
    }
}
