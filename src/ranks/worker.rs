//! The thread of a rank: one job after the other, and in between an ear for the others. Ranks send the first one signs
//! of life, and the first sends them to the second, so that two watch over all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::collective::{self, Peers};
use super::wire::{Kind, Message, Wire};
use super::{Exchange, Format, Moment, RanksError, Watch};

/// Time between two signs of life.
const BEAT: Duration = Duration::from_millis(100);

/// A rank that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// A rank that is silent for so long is gone if the others are told to stop meanwhile: launchers do that when a process
/// dies, and kill the rest a second later.
const SILENCE_AT_STOP: Duration = Duration::from_millis(600);

/// Time that the first rank has to save and to say why the job ends, and the time after which another ends it.
const LAST_WORDS: [Duration; 2] = [Duration::from_secs(40), Duration::from_secs(50)];

/// Time between two looks at the others while there is nothing to do.
const LOOK: Duration = Duration::from_micros(500);

/// Work for all ranks, which every one of them asks for in the same order, or the end.
pub(super) enum Job {
    Numbers { values: Vec<f32>, exchange: Exchange, format: Format, reply: Sender<Result<Vec<f32>, RanksError>> },
    Gather { own: Vec<u8>, reply: Sender<Result<Vec<Vec<u8>>, RanksError>> },
    Broadcast { own: Vec<u8>, reply: Sender<Result<Vec<u8>, RanksError>> },
    Fail(String),
    Abort,
    End,
}

/// A rank as its thread sees it.
pub(super) struct Worker {
    wire: Box<dyn Wire>,
    others: Others,
    sent: Arc<AtomicU64>,
}

/// What is known of the other ranks.
struct Others {
    rank: usize,
    /// Messages of jobs that have arrived, by rank.
    inbox: Vec<VecDeque<Vec<u8>>>,
    /// When each rank was heard last; `None` for those that have left, and those that another rank watches over.
    heard: Vec<Option<Instant>>,
    /// Ranks that have said that they end.
    left: Vec<bool>,
    /// Names of the ranks with their machines and processes.
    names: Vec<String>,
    beaten: Instant,
    /// Why the job fails, and since when.
    failure: Option<(String, Instant)>,
    /// When this process was told to stop.
    stopped: Option<Instant>,
    /// Whether the job was ended.
    ended: bool,
    watch: Watch,
    moment: Arc<Mutex<Moment>>,
    /// Looks since the last message.
    idle: u32,
}

impl Worker {
    pub(super) fn new(wire: Box<dyn Wire>, watch: Watch, moment: Arc<Mutex<Moment>>, sent: Arc<AtomicU64>) -> Self {
        let (rank, size, now) = (wire.rank(), wire.size(), Instant::now());
        // The first watches over all others, the second over the first.
        let watched = |other| (rank == 0 && other > 0) || (rank == 1 && other == 0);
        let others = Others {
            rank,
            inbox: vec![VecDeque::new(); size],
            heard: (0..size).map(|other| watched(other).then_some(now)).collect(),
            left: vec![false; size],
            names: (0..size).map(|other| format!("rank {other}")).collect(),
            beaten: now,
            failure: None,
            stopped: None,
            ended: false,
            watch,
            moment,
            idle: 0,
        };
        Self { wire, others, sent }
    }

    /// Does jobs until there are no more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let own = format!("rank {} on {} (process {})", self.rank(), self.wire.host(), std::process::id());
        if let Ok(names) = collective::gather(&mut self, own.into_bytes()) {
            self.others.names = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        }
        let mut aborting = false;
        while !self.others.ended {
            let Self { wire, others, .. } = &mut self;
            match jobs.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => others.turn(&**wire),
                Ok(Job::Numbers { mut values, exchange, format, reply }) => {
                    let done = self.job(|peers| collective::exchange(peers, exchange, &mut values, format));
                    let _ = reply.send(done.map(|()| values));
                }
                Ok(Job::Gather { own, reply }) => {
                    let _ = reply.send(self.job(|peers| collective::gather(peers, own)));
                }
                Ok(Job::Broadcast { own, reply }) => {
                    let _ = reply.send(self.job(|peers| collective::broadcast(peers, own)));
                }
                Ok(Job::Fail(why)) => others.fail(&**wire, &why),
                // The first ends all of them; the others wait for it.
                Ok(Job::Abort) if others.rank == 0 || others.failure.is_none() => others.abort(&**wire),
                Ok(Job::Abort) => aborting = true,
                Err(RecvTimeoutError::Disconnected) if aborting => {
                    thread::sleep(LOOK);
                    others.turn(&**wire);
                }
                Ok(Job::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let Self { wire, others, .. } = &mut self;
        wire.send(others.watcher(), Kind::Leave, &[], &mut || others.turn(&**wire));
    }

    fn job<T>(&mut self, act: impl FnOnce(&mut dyn Peers) -> Result<T, RanksError>) -> Result<T, RanksError> {
        self.others.idle = 0;
        self.others.healthy()?;
        let done = act(self);
        if let Err(error) = &done {
            self.others.fail(&*self.wire, &error.to_string());
        }
        done
    }
}

impl Peers for Worker {
    fn rank(&self) -> usize {
        self.others.rank
    }

    fn size(&self) -> usize {
        self.others.inbox.len()
    }

    fn send(&mut self, to: usize, bytes: &[u8]) -> Result<(), RanksError> {
        self.others.healthy()?;
        let Self { wire, others, sent } = self;
        wire.send(to, Kind::Data, bytes, &mut || others.turn(&**wire));
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn receive(&mut self, from: usize) -> Result<Vec<u8>, RanksError> {
        loop {
            if let Some(bytes) = self.others.inbox[from].pop_front() {
                return Ok(bytes);
            }
            self.others.healthy()?;
            if self.others.left[from] {
                return Err(RanksError::Failed(format!("{} has ended before the others", self.others.names[from])));
            }
            self.others.turn(&*self.wire);
        }
    }

    fn done_with(&mut self, bytes: Vec<u8>) {
        self.wire.reuse(bytes);
    }
}

impl Others {
    /// Whether jobs can be done.
    fn healthy(&self) -> Result<(), RanksError> {
        match &self.failure {
            Some((why, _)) => Err(RanksError::Failed(why.clone())),
            None if self.ended => Err(RanksError::Ended),
            None => Ok(()),
        }
    }

    /// The rank that watches over this one.
    fn watcher(&self) -> usize {
        usize::from(self.rank == 0 && self.inbox.len() > 1)
    }

    /// Takes in what has arrived, and looks after the others.
    fn turn(&mut self, wire: &dyn Wire) {
        while let Some(Message { from, kind, bytes }) = wire.receive(&mut || self.look(wire)) {
            if kind != Kind::Beat {
                self.idle = 0;
            }
            if let Some(heard) = &mut self.heard[from] {
                *heard = Instant::now();
            }
            match kind {
                Kind::Data => self.inbox[from].push_back(bytes),
                Kind::Beat => (),
                Kind::Leave => (self.heard[from], self.left[from]) = (None, true),
                Kind::Failure => {
                    let why = String::from_utf8_lossy(&bytes).into_owned();
                    self.failure.get_or_insert((why, Instant::now()));
                }
            }
        }
        self.look(wire);
    }

    /// Gives a sign of life, ends the job where another no longer does, and pauses.
    fn look(&mut self, wire: &dyn Wire) {
        if self.ended {
            return;
        }
        let (now, watcher) = (Instant::now(), self.watcher());
        let listens = self.heard[watcher].is_none_or(|heard| now - heard < SILENCE / 4);
        if now - self.beaten >= BEAT && watcher != self.rank && listens {
            self.beaten = now;
            wire.send(watcher, Kind::Beat, &[], &mut thread::yield_now);
        }
        if self.stopped.is_none() && (self.watch.stopping)() {
            self.stopped = Some(now);
        }
        let stopping = self.stopped.is_some_and(|stopped| now - stopped >= SILENCE_AT_STOP);
        let allowed = if stopping { SILENCE_AT_STOP } else { SILENCE };
        let silent = |heard: &Option<Instant>| heard.is_some_and(|heard| now - heard >= allowed);
        if let Some(gone) = self.heard.iter().position(silent) {
            let why = if stopping { "is gone".into() } else { format!("has been silent for {} s", allowed.as_secs()) };
            self.tell(&format!("{} {why}", self.names[gone]));
            return self.abort(wire);
        }
        let last_words = LAST_WORDS[usize::from(self.rank > 0)];
        if let Some((why, since)) = &self.failure
            && now - *since >= last_words
        {
            if self.rank == 0 {
                self.tell(why);
            }
            return self.abort(wire);
        }
        self.idle = self.idle.saturating_add(1);
        match self.idle {
            ..16 => std::hint::spin_loop(),
            16..256 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(50)),
        }
    }

    /// Tells all ranks that this one cannot go on.
    fn fail(&mut self, wire: &dyn Wire, why: &str) {
        if self.failure.is_some() {
            return;
        }
        let why = format!("{}: {why}", self.names[self.rank]);
        let rank = self.rank;
        for other in (0..self.inbox.len()).filter(|other| *other != rank) {
            wire.send(other, Kind::Failure, why.as_bytes(), &mut || self.look(wire));
        }
        self.failure = Some((why, Instant::now()));
    }

    /// Says why the job ends, when, and how it could go on.
    fn tell(&self, what: &str) {
        let Moment { step, advice } = self.moment.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let when = step.map_or_else(|| ", before the first step".into(), |step| format!(", after step {step}"));
        let how = if advice.is_empty() { String::new() } else { format!("; {advice}") };
        (self.watch.tell)(&format!("{what}{when}{how}"));
    }

    fn abort(&mut self, wire: &dyn Wire) {
        self.ended = true;
        wire.abort();
    }
}
