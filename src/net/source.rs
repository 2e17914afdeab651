//! The slots by which images get into a program.

use super::build::Net;
use super::lower::NetLowering;
use crate::kernel::Elem;
use crate::ops::input;
use crate::program::{Home, Phase, Recorder, Role, Slot, SlotInfo};

/// The slots that images are written to, on every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// Stored images, cropped and changed on the device.
    Stored(StoredImageSlots),
    /// The network's input itself: `[3][size][size][N]`, stored as maps are.
    Floats(Slot),
}

/// Stored images and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredImageSlots {
    /// Bytes of the stored images, four to a word.
    pub pixels: Slot,
    /// Crop and mirror of every image.
    pub views: Slot,
    /// Shift and gain of every image's colours.
    pub colours: Slot,
    /// Mean image `[stored][stored][3]`, which is subtracted.
    pub mean: Slot,
}

impl ImageSource {
    /// The slots of stored images; `None` where there are none.
    pub fn stored(&self) -> Option<StoredImageSlots> {
        if let Self::Stored(stored) = self { Some(*stored) } else { None }
    }

    /// Declares the slots for so many images of `net`.
    pub(super) fn declare(r: &mut Recorder, net: &Net, images: usize, floats: bool) -> Self {
        let maps = r.maps();
        let mut slot = |name: &str, shape: Vec<usize>, elem| {
            r.slot(SlotInfo { name: name.into(), shape, elem, home: Home::Every, role: Role::Input })
        };
        let (stored, size) = (net.model.input.stored(), net.model.input.size);
        if floats {
            return Self::Floats(slot("input", vec![3, size, size, images], maps));
        }
        let words = (images * stored * stored * 3).div_ceil(4);
        Self::Stored(StoredImageSlots {
            pixels: slot("pixels", vec![words], Elem::U32),
            views: slot("views", vec![images, input::view::COUNT], Elem::U32),
            colours: slot("colours", vec![images, input::colour::COUNT], Elem::F32),
            mean: slot("mean", vec![stored, stored, 3], Elem::F32),
        })
    }
}

impl NetLowering<'_> {
    /// The network's input on every device: from stored images, or as it is given.
    pub(super) fn image(&mut self) -> Slot {
        match self.out.source {
            ImageSource::Stored(stored) => self.crop(stored),
            ImageSource::Floats(input) => input,
        }
    }

    fn crop(&mut self, stored: StoredImageSlots) -> Slot {
        self.r.label("input", Phase::Forward);
        let (size, images) = (self.net.model.input.size, self.out.images);
        let [scale_r, scale_g, scale_b] = self.net.model.input.scale;
        let shape = input::Shape {
            images,
            size: self.net.model.input.stored(),
            crop: size,
            mean_centred: self.net.model.input.mean_centred,
            scale_r,
            scale_g,
            scale_b,
        };
        let crop = self.r.map("input", vec![3, size, size, images], Home::Every);
        let StoredImageSlots { pixels, views, colours, mean } = stored;
        self.r.run(&input::CROP, shape.params(), &[pixels, views, colours, mean, crop]);
        crop
    }
}
