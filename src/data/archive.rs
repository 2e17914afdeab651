//! Index of a tar archive from its headers, without reading the contents.
//!
//! Archives come from strangers: every number is checked before use, and memory is bounded.

use std::fs::File;
use std::io;
use std::path::Path;

use tar::{EntryType, Header, PaxExtensions};

use super::listing::is_image_name;
use super::{ArchiveFault, DataError, DataFault};

/// Size in bytes to whose multiples headers and contents are padded.
const BLOCK: u64 = 512;

/// Bytes read at once: a header, a small content and the next header.
const WINDOW: u64 = 4096;

/// Most empty blocks behind an archive that are searched for another.
const MOST_EMPTY: usize = 4096;

/// Largest size in bytes of an entry that holds a long name or extended attributes.
const LONGEST_NAME: u64 = 1 << 16;

/// A regular file in an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Path in the archive.
    pub(super) name: Box<str>,
    /// Start of the content, in bytes from the beginning of the outermost file.
    pub(super) offset: u64,
    /// Size of the content in bytes.
    pub(super) length: u64,
}

/// An iterator over the regular files of an archive; it ends after an error.
pub(super) struct Archive<'a> {
    path: &'a Path,
    file: &'a File,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Archive<'a> {
    /// The archive that fills all of `file`; `path` is for messages.
    pub(super) fn new(path: &'a Path, file: &'a File) -> Result<Self, DataError> {
        let length = file.metadata().map_err(DataError::read(path))?.len();
        Ok(Self::within(path, file, 0, length))
    }

    /// The archive in the bytes `begin..end` of `file`.
    pub(super) fn within(path: &'a Path, file: &'a File, begin: u64, end: u64) -> Self {
        Self { path, file, at: begin, end, window: Vec::new(), window_at: 0 }
    }

    /// The content of a member of at most [`WINDOW`] bytes.
    pub(super) fn small_content(&mut self, member: &Member) -> Result<&[u8], DataError> {
        if member.length > WINDOW {
            return Err(self.too_long(member, WINDOW));
        }
        self.bytes(member.offset, member.length)
    }

    /// An error about the byte `at` of the archive.
    pub(super) fn wrong(&self, at: u64, reason: ArchiveFault) -> DataError {
        DataError::content(self.path, DataFault::Archive { at, reason })
    }

    /// An error about a member of which at most `most` bytes are read.
    pub(super) fn too_long(&self, member: &Member, most: u64) -> DataError {
        let Member { name, length, .. } = member;
        self.wrong(member.offset, ArchiveFault::TooLong { name: name.to_string(), length: *length, most })
    }

    /// Reads `length` bytes from byte `at`: at most [`LONGEST_NAME`], all before the end.
    fn bytes(&mut self, at: u64, length: u64) -> Result<&[u8], DataError> {
        let inside = at >= self.window_at && at + length <= self.window_at + self.window.len() as u64;
        if !inside {
            self.window.resize((self.end - at).min(WINDOW.max(length)) as usize, 0);
            self.window_at = at;
            read_exact_at(self.file, &mut self.window, at).map_err(DataError::read(self.path))?;
        }
        Ok(&self.window[(at - self.window_at) as usize..][..length as usize])
    }

    /// Whether the checksum of `header` is right.
    fn is_header(header: &Header) -> bool {
        let bytes = header.as_bytes();
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let total = sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..]);
        header.cksum().is_ok_and(|found| found == total)
    }

    fn step(&mut self) -> Result<Option<Member>, DataError> {
        let (mut long_name, mut long_size, mut empty) = (None, None, 0);
        loop {
            let at = self.at;
            if at >= self.end {
                return Ok(None);
            }
            if self.end - at < BLOCK && empty == 0 {
                return Err(self.wrong(at, ArchiveFault::CutHeader));
            }
            let mut header = Header::new_old();
            let rest = self.bytes(at, BLOCK.min(self.end - at))?;
            header.as_mut_bytes()[..rest.len()].copy_from_slice(rest);
            if header.as_bytes().iter().all(|&byte| byte == 0) {
                // The end, filled up to a whole record, behind which `cat` may have put another archive.
                (empty, self.at) = (empty + 1, at + BLOCK);
                if empty > MOST_EMPTY {
                    return Ok(None);
                }
                continue;
            }
            if !Self::is_header(&header) {
                if empty == 0 {
                    return Err(self.wrong(at, ArchiveFault::NoHeader));
                }
                let (path, left) = (self.path.display(), self.end - at);
                log::warn!("{path}: {left} bytes behind the end of the archive are no archive, and not read");
                return Ok(None);
            }
            let size = header.entry_size().map_err(|error| self.wrong(at, ArchiveFault::Number(error)))?;
            let kind = header.entry_type();
            let own = matches!(kind, EntryType::GNULongName | EntryType::XHeader);
            let length = if own { size } else { long_size.take().unwrap_or(size) };
            let name = || String::from_utf8_lossy(&header.path_bytes()).into_owned();
            let offset = at + BLOCK;
            if length > self.end - offset {
                return Err(self.wrong(at, ArchiveFault::CutMember { name: name(), length }));
            }
            self.at = (offset + length).next_multiple_of(BLOCK).min(self.end);
            if own && length > LONGEST_NAME {
                return Err(self.wrong(at, ArchiveFault::LongName(length)));
            }
            match kind {
                EntryType::GNULongName => {
                    let bytes = self.bytes(offset, length)?;
                    long_name = Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned());
                }
                EntryType::XHeader => {
                    let bytes = self.bytes(offset, length)?.to_vec();
                    for attribute in PaxExtensions::new(&bytes) {
                        let attribute = attribute.map_err(|error| self.wrong(at, ArchiveFault::Number(error)))?;
                        match attribute.key_bytes() {
                            b"path" => long_name = Some(String::from_utf8_lossy(attribute.value_bytes()).into_owned()),
                            b"size" => {
                                let size = attribute.value().ok().and_then(|text| text.parse().ok());
                                long_size = Some(size.ok_or_else(|| self.wrong(at, ArchiveFault::NoSize))?);
                            }
                            _ => {}
                        }
                    }
                }
                EntryType::GNUSparse => {
                    return Err(self.wrong(at, ArchiveFault::Sparse(name())));
                }
                EntryType::Regular | EntryType::Continuous => {
                    return Ok(Some(Member { name: long_name.take().unwrap_or_else(name).into(), offset, length }));
                }
                EntryType::Link | EntryType::Symlink if is_image_name(Path::new(&name())) => {
                    return Err(self.wrong(at, ArchiveFault::Link(name())));
                }
                // Folders, other links and attributes of all entries.
                _ => long_name = None,
            }
        }
    }
}

impl Iterator for Archive<'_> {
    type Item = Result<Member, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.step().transpose();
        if !matches!(member, Some(Ok(_))) {
            self.at = self.end;
        }
        member
    }
}

/// File name of the member whose content begins at byte `offset`, as far as its header has it.
pub(super) fn name_before(file: &File, offset: u64) -> Option<String> {
    let mut header = Header::new_old();
    read_exact_at(file, header.as_mut_bytes(), offset.checked_sub(BLOCK)?).ok()?;
    let name = Archive::is_header(&header).then(|| String::from_utf8_lossy(&header.path_bytes()).into_owned())?;
    Some(file_name(&name).to_owned())
}

/// Name of a member without its folders.
pub(super) fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Fills `buffer` from byte `offset`, without moving the position of the file.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` from byte `offset`.
#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !buffer.is_empty() {
        let count = file.seek_read(buffer, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        offset += count as u64;
    }
    Ok(())
}
