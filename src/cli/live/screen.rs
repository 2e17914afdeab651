//! The terminal while it is taken: drawn, listened to, and given back however the process ends.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use crossterm::cursor::Show;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use indicatif::ProgressDrawTarget;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::{DefaultTerminal, Terminal};

use super::view::draw;
use super::{Saving, State, lock};
use crate::cli::progress::bars;
use crate::cli::signals::{Ending, Signals, obey};

/// Time between two drawings, in which keys are waited for.
const TURN: Duration = Duration::from_millis(200);

/// Who gets the lines of the log while the terminal is taken.
static TAKEN: Mutex<Option<Arc<Mutex<State>>>> = Mutex::new(None);

/// Whether the live view has the terminal.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Held by who draws.
static DRAWING: Mutex<()> = Mutex::new(());

/// Times, and milliseconds each, that a panic waits for a drawing to end. It may have happened in one, which never
/// does.
const PATIENCE: usize = 100;
const WAIT: Duration = Duration::from_millis(5);

fn taken() -> MutexGuard<'static, Option<Arc<Mutex<State>>>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands a line of the log to the live view; `false` where there is none.
pub(in crate::cli) fn catch(line: impl Display) -> bool {
    // Clone first: the view may log while it holds the state.
    let state = taken().clone();
    state.is_some_and(|state| {
        lock(&state).note(&line.to_string());
        true
    })
}

/// Refuses standard input and output that are no terminal.
pub(in crate::cli) fn expect_terminal() -> io::Result<()> {
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        return Ok(());
    }
    Err(io::Error::other("found a pipe or a file as standard input or output, expected a terminal"))
}

/// The terminal, taken: raw, without a line of its own.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal, to show `state`. A panic, on whichever thread, gives it back before it is told.
    pub(super) fn take(state: Arc<Mutex<State>>) -> io::Result<Self> {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back(&mut io::stdout());
            told(panic);
        }));
        let terminal = open()?;
        bars().set_draw_target(ProgressDrawTarget::hidden());
        *taken() = Some(state);
        Ok(Self { terminal })
    }

    /// Gives the terminal to the shell while `signal` does what it does to other programs: stops or ends this one.
    fn yield_to(&mut self, signal: i32) -> io::Result<()> {
        give_back(&mut io::stdout());
        obey(signal)?;
        self.terminal = open()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        *taken() = None;
        give_back(&mut io::stdout());
        bars().set_draw_target(ProgressDrawTarget::stderr());
    }
}

/// The terminal without lines of its own, where the view takes all of it.
fn open() -> io::Result<DefaultTerminal> {
    enable_raw_mode()?;
    SHOWN.store(true, Ordering::SeqCst);
    crossterm::execute!(io::stdout(), EnterAlternateScreen)?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Gives the terminal, which `out` writes to, back where the view has it, its cursor too: drawing hides it, and only
/// dropping the terminal would show it. Nothing is drawn afterwards.
fn give_back(out: &mut impl Write) {
    if !SHOWN.swap(false, Ordering::SeqCst) {
        return;
    }
    for _ in 0..PATIENCE {
        match DRAWING.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(WAIT),
            _ => break,
        }
    }
    // There is nobody to tell: the terminal is gone.
    let _ = disable_raw_mode();
    let _ = crossterm::execute!(out, LeaveAlternateScreen, Show);
}

/// Draws `state`, where the view still has the terminal; whether it has.
fn shows<B: Backend>(terminal: &mut Terminal<B>, state: &State) -> Result<bool, B::Error> {
    let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    let shown = SHOWN.load(Ordering::SeqCst);
    if shown {
        terminal.draw(|frame| draw(state, frame.area(), frame.buffer_mut()))?;
    }
    Ok(shown)
}

/// Draws `state` and obeys keys and signals until the run has ended.
pub(super) fn watch(mut screen: Screen, state: &Mutex<State>, signals: &Signals) {
    while let Ok(true) = turn(&mut screen, state, signals) {}
}

/// Draws once, and obeys what comes meanwhile; whether the run goes on.
fn turn(screen: &mut Screen, state: &Mutex<State>, signals: &Signals) -> io::Result<bool> {
    {
        let mut state = lock(state);
        if state.ended {
            return Ok(false);
        }
        state.stopping = signals.stops();
        if !shows(&mut screen.terminal, &state)? {
            return Ok(false);
        }
    }
    match signals.ending() {
        Ending::None => (),
        Ending::Foreign(signal) => screen.yield_to(signal)?,
        Ending::Now => leave(signals),
    }
    if event::poll(TURN)?
        && let Event::Key(key) = event::read()?
        && key.kind != KeyEventKind::Release
    {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => interrupt(signals),
            KeyCode::Char('q') => interrupt(signals),
            KeyCode::Char('s') => {
                signals.ask_to_save();
                lock(state).saving = Saving::Asked;
            }
            KeyCode::Char('l') => {
                let mut state = lock(state);
                state.shows_log = !state.shows_log;
            }
            KeyCode::Char('z') if key.modifiers.contains(KeyModifiers::CONTROL) => signals.suspend(),
            _ => (),
        }
    }
    Ok(true)
}

/// Has the run end after its step; a second time ends the process.
fn interrupt(signals: &Signals) {
    if signals.interrupt() {
        leave(signals);
    }
}

/// Ends the process, whose terminal is given back.
fn leave(signals: &Signals) -> ! {
    give_back(&mut io::stdout());
    std::process::exit(signals.code())
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    /// What the hook of a panic does, while another thread draws.
    #[test]
    fn a_terminal_is_given_back_once_and_nothing_is_drawn_afterwards() {
        let state = State::empty("run".into());
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        SHOWN.store(true, Ordering::SeqCst);
        assert!(shows(&mut terminal, &state).unwrap());
        let drawing = DRAWING.lock().unwrap();
        let hook = thread::spawn(|| {
            let mut out = Vec::new();
            give_back(&mut out);
            out
        });
        while SHOWN.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        drop(drawing);
        let bytes = hook.join().unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "\u{1b}[?1049l\u{1b}[?25h");
        terminal.clear().unwrap();
        assert!(!shows(&mut terminal, &state).unwrap());
        terminal.backend().assert_buffer_lines([" ".repeat(80).as_str(); 24]);
        let mut out = Vec::new();
        give_back(&mut out);
        assert!(out.is_empty());
    }
}
