//! Files kept from one run to the next: the driver's compiled pipelines and the tuner's choices, in the
//! platform's cache folder. Without such a folder nothing is kept, and everything works as on the first day.

use std::path::{Path, PathBuf};

use crate::files::{FileError, cache_folder, one_line, read_file, write_file};

/// Replaces what the file at `path` holds; its folder is made where there is none.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(FileError::write(folder))?;
    write_file(path, bytes)
}

/// First bytes of a kept file, before their number and their CRC-32.
const MAGIC: &[u8; 16] = b"alexnet cache 1\n";

/// `bytes` with their number and checksum in front.
fn seal(bytes: &[u8]) -> Vec<u8> {
    let (count, sum) = ((bytes.len() as u64).to_le_bytes(), crc32fast::hash(bytes).to_le_bytes());
    [MAGIC, &count[..], &sum, bytes].concat()
}

/// The bytes of a file that [`seal`] made; `None` where one of them is missing, added or changed.
fn unseal(file: &[u8]) -> Option<&[u8]> {
    let (count, rest) = file.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (sum, bytes) = rest.split_first_chunk()?;
    let whole = u64::from_le_bytes(*count) == bytes.len() as u64 && u32::from_le_bytes(*sum) == crc32fast::hash(bytes);
    whole.then_some(bytes)
}

/// Removes a file that is of no use, and says so.
pub(super) fn drop_file(path: &Path, reason: &str) {
    log::warn!("{}: {reason}; the file is dropped and made again", path.display());
    if let Err(e) = std::fs::remove_file(path) {
        log::warn!("{}: cannot be removed ({e})", path.display());
    }
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
        // Names the adapter; that the driver is the same wgpu finds in the file.
        Self::at(device, cache_folder()?.join("pipelines").join(wgpu::util::pipeline_cache_key(info)?))
    }

    /// The cache of `device` in the file at `path`, empty where that is damaged or another device's.
    fn at(device: &wgpu::Device, path: PathBuf) -> Option<Self> {
        let file = read_file(&path).ok();
        let data = file.as_deref().and_then(unseal);
        if file.is_some() && data.is_none() {
            drop_file(&path, "the compiled kernels in it are damaged");
        }
        let refused = |reason: wgpu::Error| {
            drop_file(&path, &format!("the driver refuses the compiled kernels in it ({})", one_line(&reason)));
        };
        let found = data.and_then(|data| create(device, Some(data)).map_err(refused).ok());
        let kept = std::cell::Cell::new(if found.is_some() { data.map_or(0, <[u8]>::len) } else { 0 });
        let cache = match found {
            Some(cache) => cache,
            None => create(device, None)
                .inspect_err(|e| log::warn!("compiled kernels are not kept: {}", one_line(e)))
                .ok()?,
        };
        Some(Self { cache, path, kept })
    }

    /// Keeps what was compiled since it was last kept.
    pub(super) fn keep(&self) {
        let Some(data) = self.cache.get_data().filter(|data| data.len() != self.kept.get()) else { return };
        match replace(&self.path, &seal(&data)) {
            Ok(()) => self.kept.set(data.len()),
            Err(e) => log::warn!("compiled kernels are not kept: {e}"),
        }
    }
}

/// A cache of `device` with the contents `data`, or why it takes none: an error that is not caught is a lost device.
fn create(device: &wgpu::Device, data: Option<&[u8]>) -> Result<wgpu::PipelineCache, wgpu::Error> {
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("alexnet"), data, fallback: true };
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    // SAFETY: the bytes are what `get_data` gave to an earlier run, to the last bit, in a folder of the user's own;
    // wgpu compares their header with the device's before the driver sees them.
    #[allow(unsafe_code, reason = "a driver trusts what it is given back")]
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    pollster::block_on(scope.pop()).map_or(Ok(cache), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::testing;

    /// A kept cache of wgpu for another device than this one, whose refusal by wgpu is an error of the device.
    const REFUSED: &[u8] = include_bytes!("../../../tests/fixtures/runs/pipeline-cache-refused");

    #[test]
    fn a_file_is_taken_as_it_was_kept_or_not_at_all() {
        let (bytes, file) = (b"compiled", seal(b"compiled"));
        assert_eq!(unseal(&file), Some(&bytes[..]));
        for bit in 0..8 * file.len() {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&damaged), None, "bit {bit}");
        }
        assert!((0..file.len()).all(|end| unseal(&file[..end]).is_none()));
        assert_eq!(unseal(&[&file[..], &[0]].concat()), None);
        assert_eq!(unseal(REFUSED), None, "older versions kept no checksum");
    }

    #[test]
    fn a_cache_that_is_damaged_or_refused_is_dropped_and_the_device_works_on() {
        let Some(device) = testing::device() else { return };
        if !device.features.contains(wgpu::Features::PIPELINE_CACHE) {
            return println!("NOT RUN: the driver's cache cannot be kept");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        for file in [REFUSED.to_vec(), seal(REFUSED), vec![0; 3]] {
            std::fs::write(&path, file).unwrap();
            let cache = Compiled::at(&device.raw, path.clone()).unwrap();
            device.check().unwrap();
            assert!(!path.exists());
            cache.keep();
            let kept = std::fs::read(&path).unwrap();
            assert_eq!(unseal(&kept), cache.cache.get_data().as_deref());
        }
        Compiled::at(&device.raw, path.clone()).unwrap();
        assert!(path.exists(), "what was made again is taken");
    }
}
