//! The terminal while it is taken: drawn, listened to, and given back however the process ends.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use indicatif::ProgressDrawTarget;
use ratatui::DefaultTerminal;

use super::view::draw;
use super::{State, lock};
use crate::cli::progress::bars;
use crate::cli::signals::{Ending, Signals, obey};

/// Time between two drawings, in which keys are waited for.
const TURN: Duration = Duration::from_millis(200);

/// Who gets the lines of the log while the terminal is taken.
static TAKEN: Mutex<Option<Arc<Mutex<State>>>> = Mutex::new(None);

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
    /// Takes the terminal, to show `state`. A panic gives it back before it is told.
    pub(super) fn take(state: Arc<Mutex<State>>) -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        bars().set_draw_target(ProgressDrawTarget::hidden());
        *taken() = Some(state);
        Ok(Self { terminal })
    }

    /// Gives the terminal to the shell while `signal` does what it does to other programs: stops or ends this one.
    fn yield_to(&mut self, signal: i32) -> io::Result<()> {
        give_back();
        obey(signal)?;
        self.terminal = ratatui::try_init()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        *taken() = None;
        give_back();
        bars().set_draw_target(ProgressDrawTarget::stderr());
    }
}

/// Gives the terminal back, its cursor too: drawing hides it, and only dropping the terminal would show it.
fn give_back() {
    ratatui::restore();
    // There is nobody to tell: the terminal is gone.
    let _ = crossterm::execute!(io::stdout(), crossterm::cursor::Show);
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
        screen.terminal.draw(|frame| draw(&state, frame.area(), frame.buffer_mut()))?;
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
            KeyCode::Char('s') => signals.ask_to_save(),
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
    give_back();
    std::process::exit(signals.code())
}
