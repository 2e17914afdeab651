//! ImageNet as Kaggle distributes it: image folders three levels down, beside a table of the validation images'
//! classes.

use super::folder;
use super::format::Format;
use super::listing::is_folder;

/// Place of the image folders.
const IMAGES: &str = "ILSVRC/Data/CLS-LOC";

/// The format of Kaggle's archive, unpacked.
pub(super) const FORMAT: Format = Format {
    description: "Kaggle's ImageNet (ILSVRC/Data/CLS-LOC and LOC_val_solution.csv)",
    recognises: |folder| Ok(folder.has_folder("ILSVRC")? && is_folder(&folder.root.join(IMAGES))?),
    open: |folder, parts| folder::open(&folder.root.join(IMAGES), std::slice::from_ref(&folder.root), parts),
};
