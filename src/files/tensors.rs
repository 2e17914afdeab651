//! Tensors in safetensors files: checkpoints, statistics of data sets, predictions, and what other programs exchange.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write as _};
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use thiserror::Error;

use super::{AtomicFile, FileError};
use crate::tensor::{FloatFormat, Tensor};

/// The key of the one metadata entry that this program writes; a second one would be written in random order.
pub const METADATA: &str = "alexnet";

/// Most bytes of the header of a safetensors file, as the format has it.
const MOST_HEADER: u64 = 100_000_000;

/// What is wrong with the content of a safetensors file.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TensorError {
    #[error("is truncated or not a safetensors file ({0})")]
    Damaged(SafeTensorError),
    #[error("there is no tensor {0}")]
    Missing(String),
    #[error("tensor {name} holds {found:?}, not {wanted}")]
    Elements { name: String, found: Dtype, wanted: &'static str },
    #[error("tensor {0} holds a number beyond the range of 32-bit floats")]
    Range(String),
    #[error("cannot be made a safetensors file ({0})")]
    Unwritable(SafeTensorError),
}

/// A safetensors file in memory.
pub struct TensorFile<'b> {
    tensors: SafeTensors<'b>,
    header: Metadata,
}

impl<'b> TensorFile<'b> {
    /// Reads the header of `bytes`, a whole file.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, TensorError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(TensorError::Damaged)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(TensorError::Damaged)?;
        Ok(Self { tensors, header })
    }

    /// The metadata entry called `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        entry(&self.header, key)
    }

    /// Names of all tensors, in the order of their bytes.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// A tensor of floats of 16, 32 or 64 bits.
    pub fn float(&self, name: &str) -> Result<Tensor, TensorError> {
        floats(name, &self.view(name)?)
    }

    /// All tensors by name, which have to hold floats of 16, 32 or 64 bits.
    pub fn floats(&self) -> Result<BTreeMap<String, Tensor>, TensorError> {
        let tensors = self.tensors.tensors().into_iter();
        tensors.map(|(name, view)| floats(&name, &view).map(|tensor| (name, tensor))).collect()
    }

    /// A tensor of 32-bit floats.
    pub fn float32(&self, name: &str) -> Result<Tensor, TensorError> {
        let view = self.view(name)?;
        match view.dtype() {
            Dtype::F32 => floats(name, &view),
            found => Err(TensorError::Elements { name: name.into(), found, wanted: "32-bit floats" }),
        }
    }

    /// The shape and the values of a tensor of whole numbers.
    pub fn integers(&self, name: &str) -> Result<(Vec<usize>, Vec<i64>), TensorError> {
        let view = self.view(name)?;
        let data = view.data();
        let values = match view.dtype() {
            Dtype::I64 => bytemuck::pod_collect_to_vec(data),
            Dtype::I32 => bytemuck::pod_collect_to_vec::<u8, i32>(data).into_iter().map(i64::from).collect(),
            Dtype::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(data).into_iter().map(i64::from).collect(),
            found => {
                let wanted = "whole numbers (I64, I32 or U32)";
                return Err(TensorError::Elements { name: name.into(), found, wanted });
            }
        };
        Ok((view.shape().to_vec(), values))
    }

    fn view(&self, name: &str) -> Result<TensorView<'b>, TensorError> {
        self.tensors.tensor(name).map_err(|_| TensorError::Missing(name.into()))
    }
}

/// The header of a safetensors file, of which no more is read; `None` for other files.
pub(super) fn read_header(mut file: impl Read) -> Option<Metadata> {
    let mut bytes = vec![0; 8];
    file.read_exact(&mut bytes).ok()?;
    let length = u64::from_le_bytes(bytes[..].try_into().ok()?);
    if length > MOST_HEADER {
        return None;
    }
    file.take(length).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes[8..]).ok()
}

/// The metadata entry called `key`.
pub(super) fn entry<'h>(header: &'h Metadata, key: &str) -> Option<&'h str> {
    Some(header.metadata().as_ref()?.get(key)?)
}

fn floats(name: &str, view: &TensorView) -> Result<Tensor, TensorError> {
    let stored = match view.dtype() {
        Dtype::F16 => FloatFormat::F16,
        Dtype::BF16 => FloatFormat::BF16,
        Dtype::F32 => FloatFormat::F32,
        Dtype::F64 => FloatFormat::F64,
        found => {
            return Err(TensorError::Elements { name: name.into(), found, wanted: "floats of 16, 32 or 64 bits" });
        }
    };
    // The library has checked that the bytes are as many as the shape says.
    let values = stored.read(view.data()).ok_or_else(|| TensorError::Range(name.into()))?;
    Ok(Tensor::new(view.shape(), values))
}

/// The values of a tensor to be written.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Floats of 32 bits.
    F32(&'a [f32]),
    /// Whole numbers of 32 bits.
    U32(&'a [u32]),
}

/// The bytes of a safetensors file of some tensors (name, shape, values), with one metadata entry (key, text) or none.
/// They depend on the content alone, not on the order of the tensors.
pub fn serialize<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], Elements<'a>)>,
    metadata: Option<(&str, String)>,
) -> Result<Vec<u8>, TensorError> {
    let view = |(name, shape, elements): (&'a str, &[usize], Elements<'a>)| {
        let (dtype, bytes) = match elements {
            Elements::F32(values) => (Dtype::F32, bytemuck::cast_slice(values)),
            Elements::U32(values) => (Dtype::U32, bytemuck::cast_slice(values)),
        };
        Ok((name, TensorView::new(dtype, shape.to_vec(), bytes).map_err(TensorError::Unwritable)?))
    };
    let views = tensors.into_iter().map(view).collect::<Result<Vec<_>, _>>()?;
    let metadata = metadata.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
    safetensors::serialize(views, metadata).map_err(TensorError::Unwritable)
}

/// Writes a safetensors file of tensors of 32-bit floats by name, with one metadata entry (key, text) or none.
///
/// # Errors
/// [`FileError`] when the disk refuses; then the file is as it was.
pub fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: Option<(&str, String)>,
) -> Result<(), FileError> {
    let header = header(tensors, metadata).map_err(|error| FileError::Tensors { path: path.into(), error })?;
    let mut file = AtomicFile::create(path)?;
    let values = tensors.values().map(|tensor| bytemuck::cast_slice(tensor.values()));
    [&header[..]]
        .into_iter()
        .chain(values)
        .try_for_each(|bytes| file.write_all(bytes))
        .map_err(FileError::write(path))?;
    file.finish()
}

/// What stands before the values of such a file: the length of a text, and the text, padded to 8 bytes.
fn header(tensors: &BTreeMap<String, Tensor>, metadata: Option<(&str, String)>) -> Result<Vec<u8>, TensorError> {
    let mut end = 0;
    let place = |(name, tensor): (&String, &Tensor)| {
        let begin = end;
        end += size_of_val(tensor.values());
        let (shape, data_offsets) = (tensor.shape().to_vec(), (begin, end));
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets })
    };
    let places = tensors.iter().map(place).collect();
    let metadata = metadata.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
    let metadata = Metadata::new(metadata, places).map_err(TensorError::Unwritable)?;
    let mut text = serde_json::to_vec(&metadata).map_err(|error| TensorError::Unwritable(error.into()))?;
    text.resize(text.len().next_multiple_of(8), b' ');
    if text.len() as u64 > MOST_HEADER {
        return Err(TensorError::Unwritable(SafeTensorError::HeaderTooLarge));
    }
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_written_piece_by_piece_has_the_bytes_of_one_made_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        for lengths in [&[][..], &[0], &[3], &[5, 1, 70_000]] {
            let tensor = |&length: &usize| Tensor::new([length, 1], (0..length).map(|i| i as f32).collect());
            let tensors: BTreeMap<_, _> = lengths.iter().map(|length| (format!("t{length}"), tensor(length))).collect();
            for text in [None, Some((METADATA, "{\"n\":\"é\"}".to_owned()))] {
                write_tensors(&path, &tensors, text.clone()).unwrap();
                let views = tensors.iter().map(|(name, t)| (name.as_str(), t.shape(), Elements::F32(t.values())));
                assert!(std::fs::read(&path).unwrap() == serialize(views, text).unwrap(), "{lengths:?}");
            }
        }
    }

    #[test]
    fn tensors_are_read_as_they_were_written() {
        let (shape, floats, numbers) = ([2_usize, 1], [0.5_f32, -1.0], [7_u32, 9]);
        let tensors = [("x", &shape[..], Elements::F32(&floats)), ("n", &shape[..1], Elements::U32(&numbers))];
        let bytes = serialize(tensors, Some((METADATA, "text".into()))).unwrap();
        let [x, n] = tensors;
        assert_eq!(serialize([n, x], Some((METADATA, "text".into()))).unwrap(), bytes, "in whatever order");
        let file = TensorFile::parse(&bytes).unwrap();
        assert_eq!((file.metadata(METADATA), file.metadata("other")), (Some("text"), None));
        assert_eq!(file.float32("x").unwrap(), Tensor::new(shape, floats.to_vec()));
        assert_eq!(file.integers("n").unwrap(), (vec![2], vec![7, 9]));
        let message = |error: TensorError| error.to_string();
        assert_eq!(message(file.float32("n").unwrap_err()), "tensor n holds U32, not 32-bit floats");
        assert!(message(file.integers("x").unwrap_err()).starts_with("tensor x holds F32, not whole numbers"));
        assert_eq!(message(file.float32("y").unwrap_err()), "there is no tensor y");
        assert!(message(file.floats().unwrap_err()).contains("tensor n holds U32"));
        assert!(serialize([("x", &[3][..], Elements::F32(&floats))], None).is_err());
        assert!(TensorFile::parse(&bytes[..bytes.len() - 1]).is_err());
    }
}
