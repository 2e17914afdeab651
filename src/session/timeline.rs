//! Events of a step by the clock: on the host, between devices, on each of them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Session, SessionError};
use crate::backend::{ClockDetail, Span, Transfer};
use crate::program::{Command, Pass};

/// Something that took time, in seconds since the profile was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The device, by its place in [`crate::backend::Cluster::devices`]; `None` for the host.
    pub device: Option<usize>,
    /// Name of the work: a phase of the host, an exchange, a kernel.
    pub name: String,
    /// `host`, `exchange`, or the row of the network that a kernel belongs to.
    pub category: String,
    /// Begin of the event, in seconds since the profile's.
    pub begin: f64,
    /// End of the event, in seconds since the profile's begin.
    pub end: f64,
}

/// A device: its times in a step, and its memory.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct DeviceTimes {
    /// Letters of its towers, with commas between.
    pub towers: String,
    /// Name of the device.
    pub device: String,
    /// Seconds of the step; absent where it has no clock.
    #[serde(flatten)]
    pub parts: Option<StepBreakdown>,
    /// Bytes that the memory plan takes.
    pub planned: u64,
    /// Bytes that the driver's allocator has given; absent where it keeps no count.
    pub allocated: Option<u64>,
}

/// Seconds of a step on one device; their sum is the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct StepBreakdown {
    /// Time in which kernels ran.
    pub compute: f64,
    /// The device idled until a transfer had arrived.
    pub waiting: f64,
    /// Everything else: images and loss on their way between host and device, gaps between submissions.
    pub other: f64,
}

impl StepBreakdown {
    /// Breaks a step of `time` seconds down, on a device that worked during `spans`.
    fn new(spans: &[Span], time: f64) -> Self {
        let compute: f64 = spans.iter().map(|span| span.end - span.begin).sum();
        let gaps = spans.windows(2).filter(|pair| pair[1].received).map(|pair| (pair[1].begin - pair[0].end).max(0.0));
        let waiting = gaps.fold(0.0, |sum, gap| sum + gap);
        Self { compute, waiting, other: (time - compute - waiting).max(0.0) }
    }
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

    /// Events since the last call, once everything queued is done.
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

    /// Stops noting what the devices do.
    pub fn stop_profile(&mut self) {
        self.profile = None;
        self.backend.stop_clock();
    }

    /// Begins to measure the devices, whose clocks run until [`Session::stop_profile`]; it costs next to nothing.
    pub fn start_measuring(&mut self, begin: Instant) {
        self.backend.start_clock(ClockDetail::Stretches, begin);
    }

    /// Seconds since the devices were measured from `begin` on, once everything queued is done, with their times.
    pub fn device_times(&mut self, begin: Instant) -> Result<(f64, Vec<DeviceTimes>), SessionError> {
        let spans = self.backend.spans()?;
        let time = begin.elapsed().as_secs_f64();
        let (planned, allocated) = (self.backend.footprints(), self.backend.allocated());
        let mut times = Vec::with_capacity(spans.len());
        for (member, ((towers, device), spans)) in self.backend.devices().into_iter().zip(spans).enumerate() {
            let parts = spans.map(|spans| StepBreakdown::new(&spans, time));
            let (planned, allocated) = (planned[member].total, allocated[member]);
            times.push(DeviceTimes { towers, device, parts, planned, allocated });
        }
        Ok((time, times))
    }

    /// Time that the host has spent on exchanges since the devices were measured.
    pub fn exchanging(&self) -> Duration {
        self.backend.traffic().values().map(|traffic| traffic.time).sum()
    }

    fn exchanged(&self, transfer: &Transfer) -> Event {
        let devices = self.backend.devices();
        let name = format!("{} → {}, {} bytes", devices[transfer.from].0, devices[transfer.to].0, transfer.bytes);
        Event { device: None, name, category: "exchange".into(), begin: transfer.begin, end: transfer.end }
    }

    fn ran(&self, device: usize, span: &Span) -> Event {
        let commands = self.backend.part(device).commands(span.pass);
        let (name, layer) = match &commands[span.commands.start] {
            Command::Run { kernel, label, .. } => (kernel.name, label.layer.to_string()),
            Command::Copy { .. } | Command::Across { .. } | Command::Send { .. } | Command::Receive { .. } => {
                ("copy", String::new())
            }
        };
        Event { device: Some(device), name: name.into(), category: layer, begin: span.begin, end: span.end }
    }

    /// The most events that a training step of so many images can have.
    pub fn events_of_a_step(&self, images: usize) -> usize {
        let (program, batches) = (&self.lowered.program, images.div_ceil(self.lowered.images));
        let count = |pass| program.commands(pass).len();
        // What every device does counts for each; a copy becomes a run on both sides and an exchange.
        let gradients = count(Pass::Gradients).max(count(Pass::Accumulate));
        3 * self.backend.devices().len() * (batches * gradients + count(Pass::Update)) + 8 * batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_computing_waiting_and_the_rest() {
        let span = |begin, end, received| Span { begin, end, received, pass: Pass::Gradients, commands: 0..1 };
        // Three gaps: of one the exchange is the reason, and two spans overlap.
        let spans = [span(1.0, 2.0, true), span(2.5, 3.0, true), span(4.0, 5.0, false), span(4.5, 6.0, true)];
        let wanted = StepBreakdown { compute: 4.0, waiting: 0.5, other: 3.5 };
        assert_eq!(StepBreakdown::new(&spans, 8.0), wanted);
        assert_eq!(StepBreakdown::new(&[], 1.0), StepBreakdown { compute: 0.0, waiting: 0.0, other: 1.0 });
    }
}
