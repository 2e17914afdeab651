//! The wire between ranks that are threads of one process: a channel from each to each.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::wire::{Kind, Message, Wire};

/// One end of it.
pub(super) struct ThreadWire {
    rank: usize,
    peers: Vec<Sender<Message>>,
    arrived: Receiver<Message>,
}

/// The ends of `count` ranks.
pub(super) fn wires(count: usize) -> Vec<ThreadWire> {
    let (peers, arrived): (Vec<_>, Vec<_>) = (0..count).map(|_| channel()).unzip();
    let wire = |(rank, arrived)| ThreadWire { rank, peers: peers.clone(), arrived };
    arrived.into_iter().enumerate().map(wire).collect()
}

impl Wire for ThreadWire {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.peers.len()
    }

    fn local(&self) -> (usize, usize) {
        (self.rank, self.peers.len())
    }

    fn host(&self) -> String {
        format!("thread {}", self.rank)
    }

    fn send(&self, to: usize, kind: Kind, bytes: &[u8], _meanwhile: &mut dyn FnMut()) {
        // A rank that is gone will be missed.
        let _ = self.peers[to].send(Message { from: self.rank, kind, bytes: bytes.to_vec() });
    }

    fn receive(&self, _meanwhile: &mut dyn FnMut()) -> Option<Message> {
        self.arrived.try_recv().ok()
    }

    fn abort(&self) {}
}
