//! Times of the transfers between devices, with nothing computed in between.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::{Link, median, ways};
use crate::backend::ClockDetail;
use crate::program::Pass;
use crate::session::{Session, SessionError};

/// Times of the transfers between devices for one batch.
#[derive(Clone, Debug, Serialize)]
pub struct ExchangeTimes {
    /// Images of the batch.
    pub images: usize,
    /// Forward pass; then all of a training step's gradients, forward and back; then its update.
    pub passes: Vec<PassTimes>,
}

/// The transfers of a pass, with nothing computed in between.
#[derive(Clone, Debug, Serialize)]
pub struct PassTimes {
    /// `forward`, `forward and backward`, or `update`.
    pub pass: &'static str,
    /// Median seconds of all transfers, one after the other.
    pub seconds: f64,
    /// Bytes transferred in a second.
    pub bytes_per_second: f64,
    /// Traffic by pair of devices.
    pub ways: Vec<Link>,
}

/// Times the transfers between devices for one batch, `repeats` times.
pub fn exchange(session: &mut Session, repeats: usize) -> Result<ExchangeTimes, SessionError> {
    let mut passes = Vec::new();
    let measured = [("forward", Pass::Evaluate), ("forward and backward", Pass::Gradients), ("update", Pass::Update)];
    for (name, pass) in measured {
        session.cluster_mut().exchange_all(pass)?;
        let (mut times, mut traffic) = (Vec::new(), BTreeMap::new());
        for _ in 0..repeats {
            session.cluster_mut().start_clock(ClockDetail::Stretches, Instant::now());
            let begin = Instant::now();
            session.cluster_mut().exchange_all(pass)?;
            times.push(begin.elapsed().as_secs_f64());
            traffic.clone_from(session.cluster().traffic());
        }
        let (seconds, ways) = (median(times), ways(session, &traffic));
        let bytes: u64 = ways.iter().map(|link| link.bytes).sum();
        passes.push(PassTimes { pass: name, seconds, bytes_per_second: bytes as f64 / seconds, ways });
    }
    Ok(ExchangeTimes { images: session.images(), passes })
}
