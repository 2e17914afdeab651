//! Log lines and progress that do not overwrite each other: bars on a terminal, elsewhere a line every ten seconds.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle,
};
use indicatif_log_bridge::LogWrapper;

use super::fold::fitted;
use super::live::catch;
use super::output::{say, shown, thousands};
use alexnet::backend::SetupProgress;

/// Time between plain lines.
const QUIET: Duration = Duration::from_secs(10);

/// Time between two turns of the sign of life on a terminal.
const TURN: Duration = Duration::from_millis(200);

/// All bars of the program.
pub(super) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Whether this process says nothing, because another one does.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Shows and logs nothing from now on.
pub(super) fn be_quiet() {
    SILENT.store(true, Ordering::Relaxed);
    bars().set_draw_target(ProgressDrawTarget::hidden());
    log::set_max_level(log::LevelFilter::Off);
}

/// Number of this process among those that log, in front of everything it says.
static RANK: OnceLock<usize> = OnceLock::new();

/// Has everything that this process says begin with its number.
pub(super) fn name_rank(rank: usize) {
    let _ = RANK.set(rank);
}

/// `rank 3: ` where several processes talk.
pub(super) fn prefix() -> String {
    RANK.get().map_or_else(String::new, |rank| format!("rank {rank}: "))
}

pub(super) fn is_quiet() -> bool {
    SILENT.load(Ordering::Relaxed)
}

/// Where plain lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Standard output, of a command whose results are files.
    Output,
    /// Standard error, of a command that prints results.
    Errors,
}

/// Work that is shown as it goes on, until it is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    pace: Pace,
    /// Ends the thread that prints lines when it is dropped.
    _lines: Option<Sender<()>>,
}

impl Progress {
    /// Begins to show `what`, which is counted in `unit` once [`Progress::length`] is known.
    pub(super) fn new(what: &str, unit: &'static str, lines: Lines) -> Self {
        let bar = bars().add(ProgressBar::no_length()).with_finish(ProgressFinish::AndClear);
        let pace = Pace::default();
        bar.set_style(style("{spinner} {prefix} {elapsed} {wide_msg}", &pace));
        bar.set_prefix(shown(what));
        bar.enable_steady_tick(TURN);
        let lines =
            (!io::stderr().is_terminal() && !is_quiet()).then(|| print_lines(bar.clone(), pace.clone(), unit, lines));
        Self { bar, pace, _lines: lines }
    }

    /// Begins to show work of which nobody knows how long it takes.
    pub(super) fn busy(what: &str) -> Self {
        Self::new(what, "", Lines::Errors)
    }

    /// Says how much there is to be done.
    pub(super) fn length(&self, length: usize) {
        if self.bar.length() != Some(length as u64) {
            self.bar.set_length(length as u64);
            self.bar.set_style(style("{spinner} {prefix} {bar:12} {percent} %{left}  {wide_msg}", &self.pace));
        }
    }

    /// Says how much is done. The first time it was slow, for all was set up: the speed is measured from then on.
    pub(super) fn position(&self, done: usize) {
        self.bar.set_position(done as u64);
        self.pace.begin(done as u64);
    }

    /// Says that `done` was done before, which tells nothing of the speed.
    pub(super) fn found(&self, done: usize) {
        self.bar.inc(done as u64);
    }

    /// So many more are done.
    pub(super) fn step(&self, more: usize) {
        self.bar.inc(more as u64);
        self.pace.begin(self.bar.position());
    }

    /// Names the part of the work that is being done.
    pub(super) fn name(&self, what: &str) {
        self.bar.set_prefix(shown(what));
    }

    /// Says something of the work; it is cut where the terminal ends.
    pub(super) fn message(&self, message: String) {
        self.bar.set_message(shown(message));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Pace of work, from the first that was done on.
#[derive(Clone, Default)]
struct Pace(Arc<OnceLock<(Instant, u64)>>);

impl Pace {
    /// The first time, notes that so much is done.
    fn begin(&self, done: u64) {
        self.0.get_or_init(|| (Instant::now(), done));
    }

    /// Time until `all` are done, of which `done` are; `None` where that cannot be known.
    fn left(&self, done: u64, all: Option<u64>) -> Option<HumanDuration> {
        let (all, (begin, first)) = (all.filter(|&all| done < all)?, self.0.get()?);
        let since = Some(done.saturating_sub(*first)).filter(|&since| since > 0)?;
        let seconds = begin.elapsed().as_secs_f64() * (all - done) as f64 / since as f64;
        // A whole number of seconds that no Duration overflows.
        Some(HumanDuration(Duration::from_secs(seconds as u64)))
    }
}

// The templates are constants; a slip in one falls back to the default style.
fn style(template: &str, pace: &Pace) -> ProgressStyle {
    let pace = pace.clone();
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).with_key(
        "left",
        move |state: &ProgressState, text: &mut dyn fmt::Write| {
            let _ = pace.left(state.pos(), state.len()).map(|left| write!(text, ", {left:#} left"));
        },
    )
}

/// Starts a thread that prints how far `bar` is every ten seconds, until what it gives is dropped.
fn print_lines(bar: ProgressBar, pace: Pace, unit: &'static str, lines: Lines) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        while receiver.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
            let text = state(&bar, &pace, unit);
            match lines {
                Lines::Output => say(text),
                Lines::Errors => drop(writeln!(io::stderr(), "{text}")),
            }
        }
    });
    sender
}

/// `evaluating: 128 of 500 views, 20 s, 58 seconds left`, with what was said besides.
fn state(bar: &ProgressBar, pace: &Pace, unit: &str) -> String {
    let (what, message, seconds) = (bar.prefix(), bar.message(), bar.elapsed().as_secs());
    let done = bar
        .length()
        .map_or_else(String::new, |length| format!(" {} of {} {unit},", thousands(bar.position()), thousands(length)));
    let message = if message.is_empty() { String::new() } else { format!(", {message}") };
    let left = pace.left(bar.position(), bar.length()).map_or_else(String::new, |left| format!(", {left} left"));
    format!("{what}:{done} {seconds} s{left}{message}")
}

/// Shows how far a network is set up on a device: kernels are compiled and, the first time, measured.
pub(super) fn preparing() -> impl Fn(SetupProgress) + 'static {
    let shown: RefCell<Option<Progress>> = RefCell::default();
    move |SetupProgress { done, total, kernel }| {
        let mut shown = shown.borrow_mut();
        if done == total {
            drop(shown.take());
            return;
        }
        let progress = shown.get_or_insert_with(|| Progress::new("compiling", "kernels", Lines::Errors));
        progress.length(total);
        progress.position(done);
        progress.message(kernel.to_owned());
    }
}

/// Log that the live view shows while there is one.
struct Caught(env_logger::Logger);

impl log::Log for Caught {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.0.matches(record) && !catch(format_args!("{} {}", record.level(), record.args())) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Starts logging: warnings of everything, what `RUST_LOG` asks for besides; quiet about drivers that explain
/// themselves at length.
pub(super) fn init() {
    let environment = env_logger::Env::default().default_filter_or("warn,wgpu_hal=error,wgpu_core=error");
    let logger = env_logger::Builder::from_env(environment)
        .format(|to, record| {
            let (level, style) = (record.level(), to.default_level_style(record.level()));
            // What libraries say may have lines; the names in it are theirs.
            let (target, text) = (record.target(), record.args().to_string());
            let own = target.starts_with("alexnet");
            let text = if own { shown(text) } else { text.lines().map(shown).collect::<Vec<_>>().join("\n") };
            // Our own warnings are for everybody.
            let begin = if own && level == log::Level::Warn {
                format!("{}{style}warning:{style:#}", prefix())
            } else {
                format!("{}[{style}{level:<5}{style:#} {target}]", prefix())
            };
            let text = format!("{begin} {text}");
            text.lines().try_for_each(|line| writeln!(to, "{}", fitted(line, &io::stderr())))
        })
        .build();
    let level = logger.filter();
    // A second initialisation (in tests) keeps the first logger.
    if LogWrapper::new(bars().clone(), Caught(logger)).try_init().is_ok() {
        log::set_max_level(level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_work_is() {
        let progress = Progress { bar: ProgressBar::hidden(), pace: Pace::default(), _lines: None };
        let state = || state(&progress.bar, &progress.pace, "views");
        progress.name("evaluating");
        assert_eq!(state(), "evaluating: 0 s");
        progress.length(5000);
        progress.message("slowly".into());
        assert_eq!(state(), "evaluating: 0 of 5,000 views, 0 s, slowly");
        progress.found(1000);
        progress.position(1128);
        assert_eq!(state(), "evaluating: 1,128 of 5,000 views, 0 s, slowly");
        thread::sleep(Duration::from_millis(20));
        progress.position(1256);
        assert!(state().ends_with(" s, 0 seconds left, slowly"), "{}", state());
        progress.position(5000);
        assert!(!state().contains("left"), "{}", state());
    }
}
