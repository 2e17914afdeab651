//! The wire of MPI. Every call of MPI is made by the thread that started it; waiting is polling with pauses, because
//! MPI's own waiting would take a processor from the work.

use std::cell::RefCell;

use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination as _, Source as _};
use mpi::request::{Request, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, Equivalence as _};

use super::RanksError;
use super::wire::{Kind, Message, Wire};

/// Kinds of messages, whose numbers are their tags.
const KINDS: [Kind; 4] = [Kind::Data, Kind::Beat, Kind::Failure, Kind::Leave];

/// Most messages whose memory is kept, and the fewest bytes that are worth it.
const SPARE: usize = 4;
const LARGE: usize = 1 << 16;

/// This process's place among those that MPI started.
pub(super) struct MpiWire {
    world: SimpleCommunicator,
    local: (usize, usize),
    /// Memory that is kept for later messages.
    free: RefCell<Vec<Vec<u8>>>,
    /// MPI ends with it, after the communicator.
    _universe: Universe,
}

impl MpiWire {
    /// Starts MPI in this thread, which makes all calls from then on.
    pub(super) fn begin() -> Result<Self, RanksError> {
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, provided) = started.ok_or(RanksError::Start("it was started before in this process"))?;
        if provided < Threading::Funneled {
            return Err(RanksError::Start("this MPI library does not allow threads"));
        }
        let world = universe.world();
        let node = world.split_shared(world.rank());
        let local = (node.rank() as usize, node.size() as usize);
        Ok(Self { world, local, free: RefCell::default(), _universe: universe })
    }
}

/// Waits for a request, with `meanwhile` between two looks.
fn complete<'a, D: ?Sized>(request: Request<'a, D, impl mpi::request::Scope<'a>>, meanwhile: &mut dyn FnMut()) {
    let mut open = Some(request);
    while let Some(request) = open.take() {
        open = request.test().err();
        if open.is_some() {
            meanwhile();
        }
    }
}

impl Wire for MpiWire {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn local(&self) -> (usize, usize) {
        self.local
    }

    fn host(&self) -> String {
        mpi::environment::processor_name().unwrap_or_default()
    }

    fn send(&self, to: usize, kind: Kind, bytes: &[u8], meanwhile: &mut dyn FnMut()) {
        let peer = self.world.process_at_rank(to as i32);
        scope(|scope| complete(peer.immediate_send_with_tag(scope, bytes, kind as i32), meanwhile));
    }

    fn receive(&self, meanwhile: &mut dyn FnMut()) -> Option<Message> {
        let (message, status) = self.world.any_process().immediate_matched_probe()?;
        let count = status.count(u8::equivalent_datatype()) as usize;
        let kept = if count < LARGE { None } else { self.free.borrow_mut().pop() };
        let mut bytes = kept.unwrap_or_default();
        bytes.resize(count, 0);
        scope(|scope| complete(message.immediate_matched_receive_into(scope, &mut bytes[..]), meanwhile));
        let kind = KINDS.into_iter().find(|kind| *kind as i32 == status.tag())?;
        Some(Message { from: status.source_rank() as usize, kind, bytes })
    }

    fn reuse(&self, bytes: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if bytes.capacity() >= LARGE && free.len() < SPARE {
            free.push(bytes);
        }
    }

    fn abort(&self) {
        self.world.abort(1)
    }
}
