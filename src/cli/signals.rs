//! Signals: Ctrl-C, SIGTERM, SIGHUP and SIGUSR2 end a command at once, training once it has saved; SIGUSR1 has it save
//! and go on. SIGUSR2 does what SIGTERM does, for launchers that pass it on and wait, where they soon kill after the
//! other.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown, register_usize};
use signal_hook::low_level::{emulate_default_handler, unregister};

use super::output::warn;
use super::progress::is_quiet;

/// What a process that a signal ended is said to exit with, less the signal's number.
const ENDED: i32 = 128;

/// Time between two looks at the flags.
const LOOK: Duration = Duration::from_millis(50);

/// Flags that signals raise, in their handlers.
#[derive(Clone)]
pub(super) struct Signals {
    /// While it is raised, a signal ends the process where it stands: it exits without the tearing down of drivers,
    /// whose threads are still at work. Else a signal raises it, where no live view has to give the terminal back
    /// first.
    end: Arc<AtomicBool>,
    /// Raised by a signal.
    stop: Arc<AtomicBool>,
    /// Number of the last signal that raised it.
    received: Arc<AtomicUsize>,
    /// Wish for a checkpoint, raised by SIGUSR1.
    save: Arc<AtomicBool>,
    /// Whether the user knows that the command will stop.
    announced: Arc<AtomicBool>,
    /// Number of a signal that other programs end or pause for, of those that a live view looks after.
    foreign: Arc<AtomicUsize>,
    /// Number of the signal or key that a live view has taken note of.
    first: Arc<AtomicUsize>,
    /// Handlers that set `end`; a live view removes them.
    raising: Vec<SigId>,
}

/// What a live view has to do for a signal.
pub(super) enum Ending {
    None,
    /// Give the terminal back while the signal does what it does to other programs.
    Foreign(i32),
    /// Give the terminal back and end the process.
    Now,
}

/// Signals that stop a command, besides that of a terminal that closes.
#[cfg(unix)]
const STOPPING: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGUSR2];
#[cfg(not(unix))]
const STOPPING: &[i32] = &[SIGINT, SIGTERM];

/// Signals that end or pause other programs, and must not leave a terminal that a live view has taken.
#[cfg(unix)]
const FOREIGN: &[i32] = {
    use signal_hook::consts::{SIGALRM, SIGPROF, SIGQUIT, SIGTSTP, SIGVTALRM, SIGXCPU};
    &[SIGQUIT, SIGTSTP, SIGALRM, SIGPROF, SIGVTALRM, SIGXCPU]
};
#[cfg(not(unix))]
const FOREIGN: &[i32] = &[];

impl Signals {
    /// Begins to handle signals; each of them ends the process at once.
    pub(super) fn new() -> Result<Self> {
        let mut signals = Self {
            end: Arc::new(true.into()),
            stop: Arc::default(),
            received: Arc::default(),
            save: Arc::default(),
            announced: Arc::default(),
            foreign: Arc::default(),
            first: Arc::default(),
            raising: Vec::new(),
        };
        signals.handle().context("signals cannot be handled")?;
        Ok(signals)
    }

    fn handle(&mut self) -> io::Result<()> {
        for signal in STOPPING.iter().copied().chain(hangup()) {
            // In this order: the first signal finds the flag as it was.
            register_conditional_shutdown(signal, ENDED + signal, Arc::clone(&self.end))?;
            register_usize(signal, Arc::clone(&self.received), signal as usize)?;
            register(signal, Arc::clone(&self.stop))?;
            self.raising.push(register(signal, Arc::clone(&self.end))?);
        }
        #[cfg(unix)]
        register(signal_hook::consts::SIGUSR1, Arc::clone(&self.save))?;
        Ok(())
    }

    /// The flag that the next signal raises instead of ending the process, which only a second one does then.
    pub(super) fn stop(&self) -> &AtomicBool {
        self.end.store(false, Ordering::SeqCst);
        let [stop, announced] = [&self.stop, &self.announced].map(Arc::clone);
        // A handler cannot print. The thread ends with the process.
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                thread::sleep(LOOK);
            }
            announce(&announced);
        });
        &self.stop
    }

    /// The same for a live view, which looks after signals itself: none of them ends the process any more.
    pub(super) fn live(&self) -> io::Result<Self> {
        self.announced.store(true, Ordering::SeqCst);
        for raising in &self.raising {
            unregister(*raising);
        }
        for &signal in FOREIGN {
            register_usize(signal, Arc::clone(&self.foreign), signal as usize)?;
        }
        // Of a signal that came meanwhile the run ends, as of one that comes now.
        self.end.store(false, Ordering::SeqCst);
        Ok(self.clone())
    }

    /// What a live view has to do.
    pub(super) fn ending(&self) -> Ending {
        let foreign = self.foreign.swap(0, Ordering::SeqCst);
        if foreign > 0 {
            return Ending::Foreign(foreign as i32);
        }
        let again = match self.received.swap(0, Ordering::SeqCst) {
            0 => false,
            signal => self.first.swap(signal, Ordering::SeqCst) > 0,
        };
        if again { Ending::Now } else { Ending::None }
    }

    /// A look at whether the command was told to stop, for another thread.
    pub(super) fn watch(&self) -> impl Fn() -> bool + Send + 'static {
        let stop = Arc::clone(&self.stop);
        move || stop.load(Ordering::SeqCst)
    }

    /// Whether the run ends after its step.
    pub(super) fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Has the run end after its step, as Ctrl-C does; whether it would have anyway.
    pub(super) fn interrupt(&self) -> bool {
        self.first.store(SIGINT as usize, Ordering::SeqCst);
        self.stop.swap(true, Ordering::SeqCst)
    }

    /// Has the run save, as SIGUSR1 does.
    pub(super) fn ask_to_save(&self) {
        self.save.store(true, Ordering::SeqCst);
    }

    /// Has a live view pause the process, as Ctrl-Z does.
    pub(super) fn suspend(&self) {
        #[cfg(unix)]
        self.foreign.store(signal_hook::consts::SIGTSTP as usize, Ordering::SeqCst);
    }

    /// Number with which a process exits that the last signal ended.
    pub(super) fn code(&self) -> i32 {
        let [received, first] = [&self.received, &self.first].map(|number| number.load(Ordering::SeqCst));
        ENDED + (if received > 0 { received } else { first }) as i32
    }

    /// Whether SIGUSR1 has come since this was asked last.
    pub(super) fn save(&self) -> bool {
        self.save.swap(false, Ordering::SeqCst)
    }

    /// The exit code of a command that stopped for the last signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP,
    /// 140 for SIGUSR2.
    pub(super) fn exit_code(&self) -> ExitCode {
        announce(&self.announced); // where it took less than a look
        ExitCode::from(self.code() as u8)
    }
}

/// Does what `signal` does to other programs.
pub(super) fn obey(signal: i32) -> io::Result<()> {
    emulate_default_handler(signal)
}

/// Says once that a command will stop.
fn announce(announced: &AtomicBool) {
    if !announced.swap(true, Ordering::SeqCst) && !is_quiet() {
        warn("stopping after this step, or before it if it takes long; once more to stop at once");
    }
}

/// The signal of a terminal that closes, unless it is ignored, as under `nohup`, or the platform has none.
fn hangup() -> Option<i32> {
    #[cfg(unix)]
    return Some(signal_hook::consts::SIGHUP).filter(|&signal| !is_ignored(signal));
    #[cfg(not(unix))]
    None
}

/// Whether Linux says that the process was started with `signal` ignored; elsewhere none is.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
