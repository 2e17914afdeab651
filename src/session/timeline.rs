//! What happens in a step, and when: on the host, between devices, on each of them.

use std::time::Instant;

use super::{Session, SessionError};
use crate::backend::{ClockDetail, Span, Transfer};
use crate::program::{Command, Pass};

/// Something that took time, in seconds since the profile was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The device, by its place in [`crate::backend::Cluster::devices`]; `None` for the host.
    pub device: Option<usize>,
    /// What was done: a phase of the host, an exchange, a kernel.
    pub name: String,
    /// `host`, `exchange`, or the row of the network that a kernel belongs to.
    pub category: String,
    /// Begin in seconds.
    pub begin: f64,
    /// End in seconds.
    pub end: f64,
}

/// A profile in progress.
pub(super) struct Timeline {
    /// Origin of all times.
    origin: Instant,
    /// Events of the host since the last [`Session::take_profile`].
    events: Vec<Event>,
}

impl Timeline {
    fn add(&mut self, name: &str, begin: Instant, end: Instant) {
        let seconds = |at: Instant| at.duration_since(self.origin).as_secs_f64();
        let (begin, end) = (seconds(begin), seconds(end));
        self.events.push(Event { device: None, name: name.into(), category: "host".into(), begin, end });
    }
}

impl Session {
    /// Notes from now on what happens when, kernel by kernel, in seconds since `origin`. It costs a little time.
    pub fn start_profile(&mut self, origin: Instant) {
        self.profile = Some(Timeline { origin, events: Vec::new() });
        self.backend.start_clock(ClockDetail::Commands, origin);
    }

    /// Adds a phase of the host's work to the profile, where there is one.
    pub fn note(&mut self, name: &str, begin: Instant, end: Instant) {
        if let Some(profile) = &mut self.profile {
            profile.add(name, begin, end);
        }
    }

    /// Does something as a phase of the host's work.
    pub(super) fn phase<R>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut Self) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let begin = Instant::now();
        let outcome = act(self);
        self.note(name, begin, Instant::now());
        outcome
    }

    /// What happened since this was asked for last, once everything queued is done.
    pub fn take_profile(&mut self) -> Result<Vec<Event>, SessionError> {
        let begin = Instant::now();
        let spans = self.backend.spans()?;
        self.note("wait for the end", begin, Instant::now());
        let Some(profile) = &mut self.profile else { return Ok(Vec::new()) };
        let mut events = std::mem::take(&mut profile.events);
        let origin = profile.origin;
        events.extend(self.backend.exchanges().iter().map(|exchange| self.exchanged(exchange)));
        for (device, spans) in spans.into_iter().enumerate() {
            events.extend(spans.into_iter().flatten().map(|span| self.ran(device, &span)));
        }
        self.backend.start_clock(ClockDetail::Commands, origin);
        Ok(events)
    }

    /// Ends the profile.
    pub fn stop_profile(&mut self) {
        self.profile = None;
        self.backend.stop_clock();
    }

    fn exchanged(&self, it: &Transfer) -> Event {
        let devices = self.backend.devices();
        let name = format!("{} → {}, {} bytes", devices[it.from].0, devices[it.to].0, it.bytes);
        Event { device: None, name, category: "exchange".into(), begin: it.begin, end: it.end }
    }

    fn ran(&self, device: usize, span: &Span) -> Event {
        let commands = self.backend.part(device).commands(span.pass);
        let (name, layer) = match &commands[span.commands.start] {
            Command::Run { kernel, label, .. } => (kernel.name, label.layer.to_string()),
            Command::Copy { .. } | Command::Send { .. } | Command::Receive { .. } => ("copy", String::new()),
        };
        Event { device: Some(device), name: name.into(), category: layer, begin: span.begin, end: span.end }
    }

    /// The most events that a training step of so many images can have.
    pub fn events_of_a_step(&self, images: usize) -> usize {
        let (program, batches) = (&self.lowered.program, images.div_ceil(self.lowered.images));
        let of = |pass| program.commands(pass).len();
        // What every device does counts for each; a copy becomes a run on both sides and an exchange.
        let gradients = of(Pass::Gradients).max(of(Pass::Accumulate));
        3 * self.backend.devices().len() * (batches * gradients + of(Pass::Update)) + 8 * batches
    }
}
