//! The CIFAR-100 binary folder (Krizhevsky 2009): records of a coarse label, a fine label and three 32x32 planes.

use super::DataError;
use super::cifar::read;
use super::format::{Folder, Format, Opened, Parts, lines};
use super::listing::exists;

/// The format of CIFAR-100: `train.bin`, `test.bin`, and the names of its hundred classes in `fine_label_names.txt`.
pub(super) const FORMAT: Format = Format {
    description: "a CIFAR-100 binary folder (train.bin and test.bin)",
    recognises: |folder| Ok(folder.has("test.bin")),
    open,
};

/// File of the names of the classes, one a line.
const NAMES: &str = "fine_label_names.txt";

/// Number of fine labels.
const CLASSES: usize = 100;

fn open(folder: &Folder, parts: Parts) -> Result<Opened, DataError> {
    let path = folder.root.join(NAMES);
    let classes = if exists(&path)? { lines(&path)? } else { (0..CLASSES).map(|label| label.to_string()).collect() };
    let read = |name: &str| read(&[folder.root.join(name)], 2, &classes, NAMES);
    let training = (parts == Parts::All).then(|| read("train.bin")).transpose()?;
    let validation = read("test.bin")?;
    Ok(Opened::new(classes, training, validation))
}

#[cfg(test)]
mod tests {
    use crate::data::Dataset;
    use crate::data::testing::{check, folder, record, refusal};

    #[test]
    fn the_fine_label_is_the_class() {
        let fine = |label: u8, red: u8| [vec![19], record(label, red)].concat();
        let files = [("train.bin", [fine(99, 10), fine(7, 20)].concat()), ("test.bin", fine(3, 30))];
        let root = folder(files.clone());
        let data = Dataset::open(Some(root.path()), 32).unwrap();
        assert_eq!((data.classes.len(), data.train.label(0), data.train.label(1)), (100, 99, 7));
        assert_eq!((data.validation.label(0), &data.validation.decode(0).unwrap()[..4]), (3, &[30, 31, 32, 30][..]));
        let root = folder(files.into_iter().chain([("fine_label_names.txt", "apple\nbear\n".into())]));
        check(refusal(root.path()), &["train.bin", "record 0 has label 99", "fine_label_names.txt"]);
        check(refusal(folder([("test.bin", fine(1, 1))]).path()), &["train.bin: cannot be read"]);
    }
}
