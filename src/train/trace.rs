//! The first steps of a run as a Chrome trace, which chrome://tracing and ui.perfetto.dev show.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{FolderError, TrainError};
use crate::files::{FileKind, check_target};
use crate::session::{Event, Session, SessionError};

/// Bytes of an event in the file, and more.
const EVENT: usize = 256;

/// A trace that is being taken.
pub struct TraceFile {
    path: PathBuf,
    file: File,
    /// Steps still to come.
    steps: u64,
    origin: Instant,
    events: Vec<Value>,
}

impl TraceFile {
    /// Makes the file at `path`, with room for `steps` steps of so many images, before anything is trained; a trace
    /// that it held before is lost.
    pub fn create(path: &Path, steps: u64, session: &Session, images: usize) -> Result<Self, TrainError> {
        check_target(path, FileKind::Json, None)?;
        let room = EVENT * session.events_of_a_step(images) * steps as usize;
        let refuse = |error: io::Error| FolderError::Profile(error).about(path);
        let mut file = File::create(path).map_err(refuse)?;
        reserve(&mut file, room).map_err(refuse)?;
        Ok(Self { path: path.into(), file, steps, origin: Instant::now(), events: Vec::new() })
    }

    /// Names the tracks and has `session` note what happens.
    pub(super) fn begin(&mut self, session: &mut Session) {
        let name = |tid: usize, name: String| {
            let args = json!({ "name": name });
            json!({ "name": "thread_name", "ph": "M", "pid": 0, "tid": tid, "args": args })
        };
        self.events.push(name(HOST, "host".into()));
        let devices = session.cluster().devices().into_iter().enumerate();
        self.events.extend(devices.map(|(i, (towers, device))| name(track(Some(i)), format!("{towers}: {device}"))));
        session.start_profile(self.origin);
    }

    /// Takes in a step that waited from `asked` on for its images; whether it was the last.
    pub(super) fn step(
        &mut self,
        session: &mut Session,
        step: u64,
        asked: Instant,
        wait: Duration,
    ) -> Result<bool, SessionError> {
        session.note(&format!("step {step}"), asked, Instant::now());
        session.note("wait for images", asked, asked + wait);
        let mut events = session.take_profile()?;
        // The outer of two that begin together first, as the viewers want it.
        events.sort_by(|a, b| a.begin.total_cmp(&b.begin).then(b.end.total_cmp(&a.end)));
        self.events.extend(events.iter().map(complete));
        self.steps = self.steps.saturating_sub(1);
        Ok(self.steps == 0)
    }

    /// Writes what was taken. That it cannot is no reason to end a run.
    pub(super) fn finish(mut self, session: &mut Session) {
        session.stop_profile();
        match self.write() {
            Ok(()) => log::info!("the profile is in {}", self.path.display()),
            Err(e) => log::warn!("{}: the profile cannot be written ({e})", self.path.display()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.events)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&text)?;
        self.file.set_len(text.len() as u64)
    }
}

/// Fills a file with blanks, after which it can be written without need of more room.
fn reserve(file: &mut File, bytes: usize) -> io::Result<()> {
    const BLOCK: usize = 1 << 12;
    for begin in (0..bytes).step_by(BLOCK) {
        file.write_all(&[b' '; BLOCK][..BLOCK.min(bytes - begin)])?;
    }
    file.sync_all()
}

/// Number of the host's track; devices follow.
const HOST: usize = 0;

fn track(device: Option<usize>) -> usize {
    device.map_or(HOST, |device| device + 1)
}

/// A complete event of the trace format, times in microseconds.
fn complete(event: &Event) -> Value {
    let (begin, length) = (1e6 * event.begin, 1e6 * (event.end - event.begin));
    let (name, category, tid) = (&event.name, &event.category, track(event.device));
    json!({ "name": name, "cat": category, "ph": "X", "ts": begin, "dur": length, "pid": 0, "tid": tid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_within_the_room_that_is_taken_for_it() {
        let event = Event {
            device: Some(7),
            name: "lrn_spatial.backward, of some length".into(),
            category: "a layer with a rather long name".into(),
            begin: 1.0 / 3.0 + 1e5,
            end: 2.0 / 3.0 + 1e5,
        };
        let value = complete(&event);
        assert_eq!((&value["ph"], &value["tid"]), (&json!("X"), &json!(8)));
        assert!((value["dur"].as_f64().unwrap() - 1e6 / 3.0).abs() < 1e-3);
        assert!(value.to_string().len() < EVENT, "{value}");
    }
}
