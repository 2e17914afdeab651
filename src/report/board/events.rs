//! Files of events: records of a length and a message, each with its CRC-32C, as TensorFlow frames them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;

use super::proto::event::What;
use super::proto::session_log::SessionStatus;
use super::proto::{Event, SessionLog, Summary, summary};

/// Bytes that are kept until they are written together.
const KEPT: usize = 1 << 16;

/// A file of events, to which more are added.
#[derive(Debug)]
pub(super) struct EventFile {
    file: File,
    kept: Vec<u8>,
}

impl EventFile {
    /// A new file in `folder` for events after step `step`; what older files there tell of later ones no longer counts.
    pub(super) fn create(folder: &Path, step: u64) -> io::Result<Self> {
        let (seconds, process) = (now() as u64, std::process::id());
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.alexnet.{process}"));
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let mut events = Self { file, kept: Vec::new() };
        events.add(0, What::FileVersion("brain.Event:2".into()))?;
        if step > 0 {
            events.add(step + 1, What::SessionLog(SessionLog { status: SessionStatus::Start.into() }))?;
        }
        events.flush()?;
        Ok(events)
    }

    /// Adds values of one step.
    pub(super) fn summary(&mut self, step: u64, value: Vec<summary::Value>) -> io::Result<()> {
        self.add(step, What::Summary(Summary { value }))
    }

    fn add(&mut self, step: u64, what: What) -> io::Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        frame(&event.encode_to_vec(), &mut self.kept);
        if self.kept.len() > KEPT { self.flush() } else { Ok(()) }
    }

    /// Writes what is kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let kept = std::mem::take(&mut self.kept);
        self.file.write_all(&kept)
    }
}

/// Seconds since the start of 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Appends a record: the length, its checksum, the message, its checksum.
fn frame(message: &[u8], bytes: &mut Vec<u8>) {
    let length = (message.len() as u64).to_le_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&masked(&length).to_le_bytes());
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(&masked(message).to_le_bytes());
}

/// The checksum of `bytes`, turned and moved, so that checksums of what holds checksums are none of those.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_as_tensorflow_does() {
        let mut bytes = Vec::new();
        frame(b"abc", &mut bytes);
        assert_eq!(bytes.len(), 8 + 4 + 3 + 4);
        assert_eq!(bytes[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        // RFC 3720: the CRC-32C of 32 zeros is 0x8a9136aa.
        let crc = 0x8a91_36aa_u32;
        assert_eq!(masked(&[0; 32]), crc.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_file_begins_with_its_version_and_says_from_which_step_on_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        EventFile::create(folder.path(), 7).unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let first = Event::decode(&bytes[12..12 + length]).unwrap();
        assert_eq!(first.what, Some(What::FileVersion("brain.Event:2".into())));
        let rest = &bytes[12 + length + 4..];
        let second = Event::decode(&rest[12..rest.len() - 4]).unwrap();
        assert_eq!((second.step, second.what), (8, Some(What::SessionLog(SessionLog { status: 1 }))));
    }
}
