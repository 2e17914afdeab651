//! Random changes of training images, so that none is ever seen twice (section 4.1 of the paper).

use serde::{Deserialize, Serialize};

use super::Model;

/// Changes of training images.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Whether crops lie anywhere in the stored image; else in its centre.
    pub crop: bool,
    /// Whether half of the images are mirrored.
    pub mirror: bool,
    /// Colour noise: the standard deviation of the paper's α; 0 for none.
    pub colour: f32,
    /// As in the released code: 32 images in a row share crop and mirror, noise goes by the standard deviations of the
    /// principal components rather than by their eigenvalues, and the image is then divided by 1 + α's deviation.
    pub released: bool,
}

impl Default for Augment {
    /// Crops alone, which are all of the image where it is stored as large as it is seen.
    fn default() -> Self {
        Self { crop: true, mirror: false, colour: 0.0, released: false }
    }
}

/// Changes by name, for the command line.
pub const PRESETS: &[&str] = &["none", "crops", "paper", "2012"];

impl Augment {
    /// Images in a row that share crop and mirror.
    pub fn together(&self) -> usize {
        if self.released { 32 } else { 1 }
    }

    /// Sets `model` to one of [`PRESETS`]; whether there is one of that name.
    pub fn preset(name: &str, model: &mut Model) -> bool {
        let nothing = Self { crop: false, mirror: false, colour: 0.0, released: false };
        let crops = Self { crop: true, mirror: true, ..nothing };
        let paper = Self { colour: 0.1, ..crops };
        let augment = match name {
            "none" => nothing,
            "crops" => crops,
            "paper" => paper,
            "2012" => Self { released: true, ..paper },
            _ => return false,
        };
        model.train.augment = augment;
        if augment.colour > 0.0 {
            // The released code subtracts the centre of the mean image whatever the crop, in evaluation too.
            model.input.mean_centred = augment.released;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_names() {
        let mut model = Model::open("alexnet").unwrap();
        let paper = model.clone();
        assert!(PRESETS.iter().all(|name| Augment::preset(name, &mut model)));
        let other = Model::open("alexnet-2012").unwrap();
        assert_eq!((model.train.augment, model.input.mean_centred), (other.train.augment, other.input.mean_centred));
        assert!(Augment::preset("paper", &mut model) && model == paper, "{model:?}");
        assert!(!Augment::preset("more", &mut model));
    }
}
