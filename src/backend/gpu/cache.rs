//! What is kept on disk from one run to the next: the driver's compiled pipelines and the tuner's choices, in the
//! platform's cache folder. Without such a folder nothing is kept, and everything works as on the first day.

use std::path::{Path, PathBuf};

use crate::files::{FileError, write_file};

/// Where this program keeps what it can make again.
pub(super) fn folder() -> Option<PathBuf> {
    dirs::cache_dir().map(|base| base.join("alexnet"))
}

/// Replaces what the file at `path` holds; its folder is made where there is none.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(FileError::write(folder))?;
    write_file(path, bytes)
}

/// The driver's own cache of compiled pipelines, where it has one that can be kept.
pub(super) struct Compiled {
    pub(super) cache: wgpu::PipelineCache,
    path: PathBuf,
    /// Bytes of it that are on disk.
    kept: std::cell::Cell<usize>,
}

impl Compiled {
    /// The cache of `device`, with what earlier runs compiled.
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        // Names the driver and its version.
        let path = folder()?.join("pipelines").join(wgpu::util::pipeline_cache_key(info)?);
        let data = std::fs::read(&path).ok();
        let kept = std::cell::Cell::new(data.as_ref().map_or(0, Vec::len));
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("alexnet"), data: data.as_deref(), fallback: true };
        // SAFETY: the bytes are what `get_data` gave to an earlier run, in a folder of the user's own, replaced whole;
        // wgpu compares their header with the device's before the driver sees them.
        #[allow(unsafe_code, reason = "a driver trusts what it is given back")]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, path, kept })
    }

    /// Keeps what was compiled since it was last kept.
    pub(super) fn keep(&self) {
        let Some(data) = self.cache.get_data().filter(|data| data.len() != self.kept.get()) else { return };
        match replace(&self.path, &data) {
            Ok(()) => self.kept.set(data.len()),
            Err(e) => log::warn!("compiled kernels are not kept: {e}"),
        }
    }
}
