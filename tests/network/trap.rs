//! Faults of a device on demand, and a bound for how long a test may take to meet them.

use std::cell::Cell;
use std::ops::Range;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use alexnet::backend::{Backend, BackendError, ClockDetail, Data, Footprint, Placement, Sink, Span};
use alexnet::program::{Pass, Program, Slot};

/// What a device is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Write,
    Run,
    Read,
    Fetch,
    Take,
}

/// Every kind of call that can be made to fail.
pub(crate) const OPERATIONS: [Operation; 5] =
    [Operation::Write, Operation::Run, Operation::Read, Operation::Fetch, Operation::Take];

/// A call that is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The device, in the order of a placement.
    pub(crate) member: usize,
    /// What it is asked for.
    pub(crate) operation: Operation,
    /// Calls that go well before.
    pub(crate) after: usize,
    /// Otherwise the device is lost.
    pub(crate) out_of_memory: bool,
}

/// Has one call to the devices of a placement fail, once.
#[derive(Default)]
pub(crate) struct Trap {
    fault: Cell<Option<Fault>>,
}

impl Trap {
    /// Counts calls from now on.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    /// Whether it was set and has not snapped; it will not any more.
    pub(crate) fn unset(&self) -> bool {
        self.fault.take().is_some()
    }

    /// `placement` with the trap in it.
    pub(crate) fn hide_in(self: &Rc<Self>, placement: Placement) -> Placement {
        let trap = Rc::clone(self);
        placement.wrapped(move |member, inner| Box::new(Trapped { inner, member, trap: Rc::clone(&trap) }))
    }
}

/// A device with a trap in it.
struct Trapped {
    inner: Box<dyn Backend>,
    member: usize,
    trap: Rc<Trap>,
}

impl Trapped {
    fn meet(&self, operation: Operation) -> Result<(), BackendError> {
        let Some(fault) = self.trap.fault.get() else { return Ok(()) };
        if (fault.member, fault.operation) != (self.member, operation) {
            return Ok(());
        }
        if let Some(after) = fault.after.checked_sub(1) {
            self.trap.set(Fault { after, ..fault });
            return Ok(());
        }
        self.trap.unset();
        let (device, reason) = (self.inner.device(), format!("trap in {operation:?}"));
        Err(if fault.out_of_memory {
            BackendError::OutOfMemory { device, reason }
        } else {
            BackendError::Lost { device, reason }
        })
    }
}

impl Backend for Trapped {
    fn program(&self) -> &Program {
        self.inner.program()
    }

    fn device(&self) -> String {
        self.inner.device()
    }

    fn write(&mut self, slot: Slot, data: Data<'_>) -> Result<(), BackendError> {
        self.meet(Operation::Write)?;
        self.inner.write(slot, data)
    }

    fn run_commands_unless(
        &mut self,
        pass: Pass,
        commands: Range<usize>,
        stop: &AtomicBool,
    ) -> Result<bool, BackendError> {
        self.meet(Operation::Run)?;
        self.inner.run_commands_unless(pass, commands, stop)
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        self.meet(Operation::Read)?;
        self.inner.read(slot)
    }

    fn read_words(&mut self, slot: Slot) -> Result<Vec<u32>, BackendError> {
        self.meet(Operation::Read)?;
        self.inner.read_words(slot)
    }

    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError> {
        self.meet(Operation::Fetch)?;
        self.inner.fetch(slot)
    }

    fn take(&mut self, slot: Slot, keep: bool, sink: &mut Sink<'_>) -> Result<(), BackendError> {
        self.meet(Operation::Take)?;
        self.inner.take(slot, keep, sink)
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn footprint(&self) -> Footprint {
        self.inner.footprint()
    }

    fn allocated(&self) -> Option<u64> {
        self.inner.allocated()
    }

    fn waited(&self) -> Duration {
        self.inner.waited()
    }

    fn start_clock(&mut self, detail: ClockDetail, origin: Instant) {
        self.inner.start_clock(detail, origin);
    }

    fn stop_clock(&mut self) {
        self.inner.stop_clock();
    }

    fn spans(&mut self) -> Result<Option<Vec<Span>>, BackendError> {
        self.inner.spans()
    }
}

/// What `body` gives, which has so long for it.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(limit: Duration, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = channel();
    let thread = thread::spawn(move || {
        let value = body();
        // Nobody listens any more where it took too long.
        let _ = done.send(());
        value
    });
    assert_ne!(ended.recv_timeout(limit), Err(RecvTimeoutError::Timeout), "no end after {limit:?}");
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
