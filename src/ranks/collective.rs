//! Jobs of all ranks together, made of messages between two: who sends what to whom depends on the number of ranks
//! alone, and so do the bits of every sum.

use std::ops::Range;
use std::time::Duration;

use half::f16;

use super::{Format, Network, RanksError};

/// Most numbers in a message.
const PIECE: usize = 1 << 22;

/// Most bytes in a message.
const BYTES: usize = 1 << 26;

/// Bytes of the scale in front of halves.
const SCALE: usize = 4;

/// Bytes of a length in front of others.
const LENGTH: u64 = 8;

/// What a job needs of a rank.
pub(super) trait Peers {
    /// Number of this rank.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Sends bytes.
    fn send(&mut self, to: usize, bytes: &[u8]) -> Result<(), RanksError>;

    /// The next bytes that another rank sends.
    fn receive(&mut self, from: usize) -> Result<Vec<u8>, RanksError>;
}

/// Adds up `values` of all ranks: around a ring each share of them collects the ranks' parts, beginning with the rank
/// behind its owner, and once around again all get the sums. A rank sends 2 (R - 1) / R of the bytes.
pub(super) fn sum(peers: &mut dyn Peers, values: &mut [f32], format: Format) -> Result<(), RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    let (right, left) = ((rank + 1) % size, (rank + size - 1) % size);
    let count = values.len();
    // The share of some number, as many pieces as a message at most allows.
    let pieces = |share: usize| {
        let share = share % size;
        let (begin, end) = (count * share / size, count * (share + 1) / size);
        (begin..end).step_by(PIECE).map(move |piece| piece..end.min(piece + PIECE))
    };
    for turn in 0..size - 1 {
        let mut arriving = pieces(rank + 2 * size - turn - 1);
        let mut leaving = pieces(rank + size - turn);
        loop {
            let (out, into) = (leaving.next(), arriving.next());
            if let Some(out) = &out {
                peers.send(right, &encode(&values[out.clone()], format))?;
            }
            if let Some(into) = &into {
                let bytes = peers.receive(left)?;
                let part = decoded(&bytes, into, format)?;
                // In this order on every rank: what came, then what is here.
                values[into.clone()].iter_mut().zip(part).for_each(|(own, came)| *own += came);
            }
            if out.is_none() && into.is_none() {
                break;
            }
        }
    }
    // The sums that this rank owns, as all others will get them.
    let mut whole: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for piece in pieces(rank + 1) {
        let bytes = encode(&values[piece.clone()], format);
        write(&mut values[piece.clone()], &bytes, format)?;
        whole.push((piece, bytes));
    }
    for turn in 0..size - 1 {
        let mut arriving = pieces(rank + size - turn);
        let mut leaving = std::mem::take(&mut whole).into_iter();
        loop {
            let (out, into) = (leaving.next(), arriving.next());
            if let Some((_, bytes)) = &out {
                peers.send(right, bytes)?;
            }
            if let Some(into) = into.clone() {
                let bytes = peers.receive(left)?;
                write(&mut values[into.clone()], &bytes, format)?;
                whole.push((into, bytes));
            }
            if out.is_none() && into.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Bytes that all ranks together send to add up `count` numbers.
pub fn bytes_of_sum(count: u64, size: u64, format: Format) -> u64 {
    let turns = 2 * (size - 1);
    match format {
        Format::Floats => 4 * count * turns,
        Format::Halves => {
            let shares = (0..size).map(|share| count * (share + 1) / size - count * share / size);
            let messages: u64 = shares.map(|share| share.div_ceil(PIECE as u64)).sum();
            (2 * count + SCALE as u64 * messages) * turns
        }
    }
}

/// Time that a sum of `count` numbers takes on a network: every turn a share moves on, a message at a time.
pub fn time_of_sum(count: u64, size: u64, format: Format, network: &Network) -> Duration {
    let (share, turns) = (count.div_ceil(size), 2 * (size - 1));
    let messages = share.div_ceil(PIECE as u64);
    let bytes = match format {
        Format::Floats => 4 * share,
        Format::Halves => 2 * share + SCALE as u64 * messages,
    };
    (network.time(bytes) + network.latency * messages.saturating_sub(1) as u32) * turns as u32
}

/// Time after which every rank has `bytes` of every other: each round two messages, of which the second is twice as long
/// as in the round before.
pub fn time_of_gather(bytes: u64, size: u64, network: &Network) -> Duration {
    let rounds = size.next_power_of_two().trailing_zeros();
    network.time((size - 1) * (bytes + LENGTH)).saturating_sub(network.latency)
        + 2 * rounds * network.latency
        + network.time(u64::from(rounds) * LENGTH).saturating_sub(network.latency)
}

/// Numbers as they travel.
fn encode(values: &[f32], format: Format) -> Vec<u8> {
    match format {
        Format::Floats => bytemuck::cast_slice(values).to_vec(),
        Format::Halves => {
            let largest = values.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f32::max);
            // The largest becomes 2^14 to 2^15; a factor of 1 will do for zeros.
            let scale = if largest > 0.0 { (14.0 - largest.log2().floor()).clamp(-126.0, 126.0).exp2() } else { 1.0 };
            let mut bytes = Vec::with_capacity(SCALE + 2 * values.len());
            bytes.extend_from_slice(&scale.to_ne_bytes());
            bytes.extend(values.iter().flat_map(|value| f16::from_f32(value * scale).to_ne_bytes()));
            bytes
        }
    }
}

/// The numbers of a message for the places `into`.
fn decoded<'b>(
    bytes: &'b [u8],
    into: &Range<usize>,
    format: Format,
) -> Result<Box<dyn Iterator<Item = f32> + 'b>, RanksError> {
    let (each, front) = if format == Format::Floats { (4, 0) } else { (2, SCALE) };
    if bytes.len() != front + each * into.len() {
        return Err(RanksError::Different);
    }
    Ok(match format {
        Format::Floats => Box::new(bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes))),
        Format::Halves => {
            let (scale, halves) = bytes.split_at(SCALE);
            let scale = f32::from_ne_bytes(scale.try_into().unwrap_or_default());
            Box::new(halves.as_chunks().0.iter().map(move |bytes| f16::from_ne_bytes(*bytes).to_f32() / scale))
        }
    })
}

/// Writes the numbers of a message in the place of `values`.
fn write(values: &mut [f32], bytes: &[u8], format: Format) -> Result<(), RanksError> {
    let numbers = decoded(bytes, &(0..values.len()), format)?;
    values.iter_mut().zip(numbers).for_each(|(value, number)| *value = number);
    Ok(())
}

/// What every rank gives, in the order of ranks: each round a rank passes on what it knows, twice as much as before.
pub(super) fn gather(peers: &mut dyn Peers, own: Vec<u8>) -> Result<Vec<Vec<u8>>, RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    // Those of this rank, the next one, and so on.
    let mut known = vec![own];
    while known.len() < size {
        let distance = known.len();
        let count = distance.min(size - distance);
        let mut bytes = Vec::new();
        for block in &known[..count] {
            bytes.extend_from_slice(&(block.len() as u64).to_ne_bytes());
            bytes.extend_from_slice(block);
        }
        send_long(peers, (rank + size - distance) % size, &bytes)?;
        let came = receive_long(peers, (rank + distance) % size)?;
        let mut rest = &came[..];
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (block, behind) = behind.split_at(behind.len().min(u64::from_ne_bytes(*length) as usize));
            known.push(block.to_vec());
            rest = behind;
        }
    }
    known.truncate(size);
    known.rotate_right(rank);
    Ok(known)
}

/// What the first rank gives: it tells the one half of the ranks away, both tell those a quarter away, and so on.
pub(super) fn broadcast(peers: &mut dyn Peers, own: Vec<u8>) -> Result<Vec<u8>, RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    let lowest = if rank == 0 { size.next_power_of_two() } else { 1 << rank.trailing_zeros() };
    let bytes = if rank == 0 { own } else { receive_long(peers, rank - lowest)? };
    let mut distance = lowest / 2;
    while distance > 0 {
        if rank + distance < size {
            send_long(peers, rank + distance, &bytes)?;
        }
        distance /= 2;
    }
    Ok(bytes)
}

/// Sends bytes of any number: their number first.
fn send_long(peers: &mut dyn Peers, to: usize, bytes: &[u8]) -> Result<(), RanksError> {
    peers.send(to, &(bytes.len() as u64).to_ne_bytes())?;
    bytes.chunks(BYTES).try_for_each(|piece| peers.send(to, piece))
}

/// Receives what [`send_long`] sends.
fn receive_long(peers: &mut dyn Peers, from: usize) -> Result<Vec<u8>, RanksError> {
    let length = peers.receive(from)?;
    let length = u64::from_ne_bytes(length[..].try_into().unwrap_or_default()) as usize;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.append(&mut peers.receive(from)?);
    }
    Ok(bytes)
}
