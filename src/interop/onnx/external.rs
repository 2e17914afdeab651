//! Constants whose elements are in files beside that of the graph, as exporters write what is large.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::error::{ExternalError, ValueError};
use super::proto::{StringStringEntryProto, TensorProto};
use crate::files::open_file;

/// The folder of a graph's file, and what was read from other files there.
#[derive(Debug, Default)]
pub(super) struct External {
    /// Canonical path; `None` for a graph that comes from memory.
    folder: Option<PathBuf>,
    /// Bytes that tensors may still take of each file: a few times its length, as tensors can share their elements.
    left: HashMap<PathBuf, u64>,
}

/// Times that a file's bytes may be read, each tensor for itself.
const TIMES: u64 = 4;

impl External {
    /// External data beside the file at `path`.
    pub(super) fn beside(path: &Path) -> Self {
        let folder = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_path_buf));
        Self { folder, left: HashMap::new() }
    }

    /// Fills in the elements of `tensor`, where they are elsewhere: `length` bytes of them.
    pub(super) fn fill(&mut self, tensor: &mut TensorProto, length: Option<usize>) -> Result<(), ValueError> {
        let entry =
            |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key).map(StringStringEntryProto::value);
        let location = entry("location").unwrap_or_default().to_owned();
        let refuse = |reason| ValueError::External { location: location.clone(), reason };
        let Some(folder) = &self.folder else { return Err(refuse(ExternalError::NoFolder)) };
        let number = |key: &'static str| match entry(key) {
            None => Ok(None),
            Some(text) => {
                let wrong = || refuse(ExternalError::Number { key, found: text.into() });
                text.parse::<u64>().map(Some).map_err(|_| wrong())
            }
        };
        let (offset, stated) = (number("offset")?.unwrap_or(0), number("length")?);
        let relative = Path::new(&location);
        let inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !inside {
            return Err(refuse(ExternalError::Outside));
        }
        let failed = |error: std::io::Error| refuse(ExternalError::System(error.to_string()));
        let path = folder.join(relative).canonicalize().map_err(failed)?;
        if !path.starts_with(folder) {
            return Err(refuse(ExternalError::Link));
        }
        // Asked before it is opened: a pipe would wait for its other end.
        let about = path.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(refuse(ExternalError::NotAFile));
        }
        let length = length.map(|length| length as u64).or(stated).unwrap_or(about.len().saturating_sub(offset));
        if stated.is_some_and(|stated| stated != length)
            || offset.checked_add(length).is_none_or(|end| end > about.len())
        {
            return Err(refuse(ExternalError::Length { length, stated, offset, all: about.len() }));
        }
        let left = self.left.entry(path.clone()).or_insert(about.len().saturating_mul(TIMES));
        *left = left.checked_sub(length).ok_or_else(|| refuse(ExternalError::Repeated(TIMES)))?;
        let mut file = open_file(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(failed)?;
        (tensor.raw_data, tensor.external_data, tensor.data_location) = (Some(bytes), Vec::new(), None);
        Ok(())
    }
}
