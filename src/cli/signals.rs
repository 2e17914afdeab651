//! Signals: Ctrl-C, SIGTERM and SIGHUP end a command at once, training once it has saved; SIGUSR1 has it save and go on.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown, register_usize};

use super::progress::bars;

/// What a process that a signal ended is said to exit with, less the signal's number.
const ENDED: i32 = 128;

/// Time between two looks at the flags.
const LOOK: Duration = Duration::from_millis(50);

/// Flags that signals raise, in their handlers.
pub(super) struct Signals {
    /// While it is raised, a signal ends the process where it stands: it exits without the tearing down of drivers,
    /// whose threads are still at work. Else a signal raises it.
    stop: Arc<AtomicBool>,
    /// Number of the last signal that raised it.
    received: Arc<AtomicUsize>,
    /// Wish for a checkpoint, raised by SIGUSR1.
    save: Arc<AtomicBool>,
    /// Whether the user knows that the command will stop.
    announced: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to handle signals; each of them ends the process at once.
    pub(super) fn new() -> Result<Self> {
        let signals = Self {
            stop: Arc::new(true.into()),
            received: Arc::default(),
            save: Arc::default(),
            announced: Arc::default(),
        };
        signals.handle().context("signals cannot be handled")?;
        Ok(signals)
    }

    fn handle(&self) -> io::Result<()> {
        for signal in [Some(SIGINT), Some(SIGTERM), hangup()].into_iter().flatten() {
            // In this order: the first signal finds the flag as it was.
            register_conditional_shutdown(signal, ENDED + signal, Arc::clone(&self.stop))?;
            register_usize(signal, Arc::clone(&self.received), signal as usize)?;
            register(signal, Arc::clone(&self.stop))?;
        }
        #[cfg(unix)]
        register(signal_hook::consts::SIGUSR1, Arc::clone(&self.save))?;
        Ok(())
    }

    /// The flag that the next signal raises instead of ending the process, which only a second one does then.
    pub(super) fn stop(&self) -> &AtomicBool {
        self.stop.store(false, Ordering::SeqCst);
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

    /// Whether SIGUSR1 has come since this was asked last.
    pub(super) fn save(&self) -> bool {
        self.save.swap(false, Ordering::SeqCst)
    }

    /// The exit code of a command that stopped for the last signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    pub(super) fn exit_code(&self) -> ExitCode {
        announce(&self.announced); // where it took less than a look
        ExitCode::from((ENDED as usize + self.received.load(Ordering::SeqCst)) as u8)
    }
}

/// Says once that a command will stop.
fn announce(announced: &AtomicBool) {
    if !announced.swap(true, Ordering::SeqCst) {
        let _ = bars().suspend(|| writeln!(io::stderr(), "stopping after this step; once more to stop at once"));
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
