//! Jobs of all ranks together, made of messages between two: who sends what to whom depends on the number of ranks
//! alone, and so do the bits of every sum.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use half::f16;

use super::{Format, Network, RanksError};
use crate::tensor::share_of_rows;

/// Most numbers in a message around a ring: few enough that a processor still has them at hand when it adds them up.
const PIECE: usize = 1 << 20;

/// Most numbers in a message along a chain: a rank sends one on while the next comes in.
const LINK: usize = 1 << 16;

/// Most bytes in a message.
const BYTES: usize = 1 << 26;

/// Bytes of the scale in front of halves.
const SCALE: usize = 4;

/// Bytes of a length in front of others.
const LENGTH: u64 = 8;

/// What a job needs of a rank.
pub(super) trait Peers {
    /// Number of this rank, counted from 0.
    fn rank(&self) -> usize;

    /// Number of ranks in the job.
    fn size(&self) -> usize;

    /// Sends bytes to another rank.
    fn send(&mut self, to: usize, bytes: &[u8]) -> Result<(), RanksError>;

    /// The next bytes that another rank sends.
    fn receive(&mut self, from: usize) -> Result<Vec<u8>, RanksError>;

    /// Takes back the memory of a message that was received, for the next one.
    fn done_with(&mut self, bytes: Vec<u8>);
}

/// Rows of numbers that ranks share out among them: each has as many rows, those of rank 0 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Number of rows of all ranks together.
    pub count: usize,
    /// Numbers in a row.
    pub numbers: usize,
}

impl Rows {
    /// The numbers of the rows of `rank` of `ranks`.
    fn share(&self, rank: usize, ranks: usize) -> Range<usize> {
        let rows = share_of_rows(self.count, rank, ranks);
        rows.start * self.numbers..rows.end * self.numbers
    }

    fn all(&self) -> usize {
        self.count * self.numbers
    }
}

/// What ranks do with numbers that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "an exchange says what its fields are")]
pub enum Exchange {
    /// Of equally many numbers on all ranks, all of them get the sums.
    Sum,
    /// Of these rows on all ranks, each gets the sums of its share.
    Scatter(Rows),
    /// All ranks get all rows, of which each has its share.
    Gather(Rows),
    /// All ranks get so many numbers, which one of them has.
    Broadcast { from: usize, count: usize },
    /// One rank gets the sums of equally many numbers on all of them, the others nothing.
    Reduce { to: usize },
}

/// Does an exchange with the numbers of this rank, which become those that it gets.
pub(super) fn exchange(
    peers: &mut dyn Peers,
    exchange: Exchange,
    values: &mut Vec<f32>,
    format: Format,
) -> Result<(), RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    match exchange {
        Exchange::Sum => {
            let rows = Rows { count: values.len(), numbers: 1 };
            scatter(peers, rows, values, format)?;
            gather_rows(peers, rows, values, format)
        }
        Exchange::Scatter(rows) => {
            expect(values, rows.all())?;
            scatter(peers, rows, values, format)?;
            values.truncate(rows.share(rank, size).end);
            values.drain(..rows.share(rank, size).start);
            Ok(())
        }
        Exchange::Gather(rows) => {
            let own = rows.share(rank, size);
            expect(values, own.len())?;
            let mut all = vec![0.0; rows.all()];
            all[own].copy_from_slice(values);
            *values = all;
            gather_rows(peers, rows, values, format)
        }
        Exchange::Broadcast { from, count } => {
            values.resize(count, 0.0);
            pass_on(peers, from, values, format)
        }
        Exchange::Reduce { to } => {
            add_on(peers, to, values, format)?;
            if rank != to {
                values.clear();
            }
            Ok(())
        }
    }
}

fn expect(values: &[f32], count: usize) -> Result<(), RanksError> {
    if values.len() == count { Ok(()) } else { Err(RanksError::Different) }
}

/// Ranges of `range` of at most `most` numbers.
fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(most).map(move |begin| begin..range.end.min(begin + most))
}

/// Adds up the rows of all ranks around a ring: each share collects the ranks' parts, beginning with the rank behind
/// its owner. The others are of no use afterwards.
fn scatter(peers: &mut dyn Peers, rows: Rows, values: &mut [f32], format: Format) -> Result<(), RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    let share = |back: usize| pieces(rows.share((rank + size - back) % size, size), PIECE);
    for turn in 1..size {
        let (mut leaving, mut arriving) = (share(turn), share((turn + 1) % size));
        loop {
            let (out, into) = (leaving.next(), arriving.next());
            if let Some(out) = out.clone() {
                peers.send((rank + 1) % size, &encode(&values[out], format))?;
            }
            if let Some(into) = into.clone() {
                let bytes = peers.receive((rank + size - 1) % size)?;
                add(&mut values[into], &bytes, format)?;
                peers.done_with(bytes);
            }
            if out.is_none() && into.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Sends every rank's share of the rows around a ring. A rank has its own as all others get it.
fn gather_rows(peers: &mut dyn Peers, rows: Rows, values: &mut [f32], format: Format) -> Result<(), RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    let share = |back: usize| pieces(rows.share((rank + size - back) % size, size), PIECE);
    // Halves go on as they came: made anew, the least of them could lose a bit.
    let mut messages = Vec::new();
    if format == Format::Halves {
        for piece in share(0) {
            let bytes = encode(&values[piece.clone()], format).into_owned();
            write(&mut values[piece], &bytes, format)?;
            messages.push(bytes);
        }
    }
    for turn in 1..size {
        let (mut leaving, mut arriving) = (share(turn - 1), share(turn));
        let mut kept = std::mem::take(&mut messages).into_iter();
        loop {
            let (out, into) = (leaving.next(), arriving.next());
            if let Some(out) = out.clone() {
                let bytes = kept.next();
                peers.send((rank + 1) % size, bytes.as_deref().unwrap_or(bytemuck::cast_slice(&values[out])))?;
            }
            if let Some(into) = into.clone() {
                let bytes = peers.receive((rank + size - 1) % size)?;
                write(&mut values[into], &bytes, format)?;
                if format == Format::Halves {
                    messages.push(bytes);
                } else {
                    peers.done_with(bytes);
                }
            }
            if out.is_none() && into.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Passes what `from` has on from rank to rank, a piece after the other, so that all of them are busy at once.
fn pass_on(peers: &mut dyn Peers, from: usize, values: &mut [f32], format: Format) -> Result<(), RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    let place = (rank + size - from) % size;
    pieces(0..values.len(), LINK).try_for_each(|piece| {
        let values = &mut values[piece];
        let mut bytes = Vec::new();
        if place > 0 {
            bytes = peers.receive((rank + size - 1) % size)?;
        } else if format == Format::Halves {
            bytes = encode(values, format).into_owned();
        }
        if place > 0 || format == Format::Halves {
            write(values, &bytes, format)?;
        }
        if place + 1 < size {
            peers.send((rank + 1) % size, if bytes.is_empty() { bytemuck::cast_slice(values) } else { &bytes })?;
        }
        peers.done_with(bytes);
        Ok(())
    })
}

/// Adds up what all ranks have on the way from the rank behind `to` to that one, a piece after the other.
fn add_on(peers: &mut dyn Peers, to: usize, values: &mut [f32], format: Format) -> Result<(), RanksError> {
    let (rank, size) = (peers.rank(), peers.size());
    pieces(0..values.len(), LINK).try_for_each(|piece| {
        let values = &mut values[piece];
        if rank != (to + 1) % size {
            let bytes = peers.receive((rank + size - 1) % size)?;
            add(values, &bytes, format)?;
            peers.done_with(bytes);
        }
        if rank == to { Ok(()) } else { peers.send((rank + 1) % size, &encode(values, format)) }
    })
}

/// Bytes of `count` numbers in messages of at most `most`.
fn bytes_of(count: u64, most: usize, format: Format) -> u64 {
    match format {
        Format::Floats => 4 * count,
        Format::Halves => 2 * count + SCALE as u64 * count.div_ceil(most as u64),
    }
}

impl Exchange {
    /// Bytes that all of `size` ranks together send; `count` numbers are on every rank, or on all of them.
    pub fn bytes(&self, count: u64, size: u64, format: Format) -> u64 {
        let around = |rows: Rows| {
            let shares = (0..size).map(|rank| rows.share(rank as usize, size as usize).len() as u64);
            shares.map(|share| bytes_of(share, PIECE, format)).sum::<u64>() * (size - 1)
        };
        match *self {
            Self::Sum => 2 * around(Rows { count: count as usize, numbers: 1 }),
            Self::Scatter(rows) | Self::Gather(rows) => around(rows),
            Self::Broadcast { .. } | Self::Reduce { .. } => (size - 1) * bytes_of(count, LINK, format),
        }
    }

    /// Time that it takes on a network: around a ring every turn a share moves on, a message at a time; along a chain
    /// the last rank has the last message after those before it and as many hops as there are.
    pub fn time(&self, count: u64, size: u64, format: Format, network: &Network) -> Duration {
        let around = |rows: Rows| {
            let share = rows.count.div_ceil(size as usize) as u64 * rows.numbers as u64;
            messages(share, PIECE, format, network) * (size - 1) as u32
        };
        match *self {
            Self::Sum => 2 * around(Rows { count: count as usize, numbers: 1 }),
            Self::Scatter(rows) | Self::Gather(rows) => around(rows),
            Self::Broadcast { .. } | Self::Reduce { .. } if size > 1 => {
                let hop = network.time(bytes_of(count.min(LINK as u64), LINK, format));
                messages(count, LINK, format, network) + hop * (size - 2) as u32
            }
            Self::Broadcast { .. } | Self::Reduce { .. } => Duration::ZERO,
        }
    }
}

/// Time of `count` numbers in messages of at most `most`, one after the other.
fn messages(count: u64, most: usize, format: Format, network: &Network) -> Duration {
    let messages = count.div_ceil(most as u64).max(1);
    network.time(bytes_of(count, most, format)) + network.latency * (messages - 1) as u32
}

/// Bytes that all of `size` ranks together send so that every one has `bytes` of every other.
pub fn bytes_of_gather(bytes: u64, size: u64) -> u64 {
    let rounds = u64::from(size.next_power_of_two().trailing_zeros());
    size * ((size - 1) * (bytes + LENGTH) + rounds * LENGTH)
}

/// Time after which every rank has `bytes` of every other: each round two messages, of which the second is twice as
/// long as in the round before.
pub fn time_of_gather(bytes: u64, size: u64, network: &Network) -> Duration {
    let rounds = size.next_power_of_two().trailing_zeros();
    network.time((size - 1) * (bytes + LENGTH)).saturating_sub(network.latency)
        + 2 * rounds * network.latency
        + network.time(u64::from(rounds) * LENGTH).saturating_sub(network.latency)
}

/// Numbers as they travel; floats as they are in memory.
fn encode(values: &[f32], format: Format) -> Cow<'_, [u8]> {
    if format == Format::Floats {
        return Cow::Borrowed(bytemuck::cast_slice(values));
    }
    let largest = values.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f32::max);
    // The largest becomes 2^14 to 2^15; a factor of 1 will do for zeros.
    let scale = if largest > 0.0 { (14.0 - largest.log2().floor()).clamp(-126.0, 126.0).exp2() } else { 1.0 };
    let mut bytes = Vec::with_capacity(SCALE + 2 * values.len());
    bytes.extend_from_slice(&scale.to_ne_bytes());
    bytes.extend(values.iter().flat_map(|value| f16::from_f32(value * scale).to_ne_bytes()));
    Cow::Owned(bytes)
}

/// Calls `act` with every value and its number in a message.
fn decode(values: &mut [f32], bytes: &[u8], format: Format, act: impl Fn(&mut f32, f32)) -> Result<(), RanksError> {
    let (each, front) = if format == Format::Floats { (4, 0) } else { (2, SCALE) };
    if bytes.len() != front + each * values.len() {
        return Err(RanksError::Different);
    }
    match format {
        Format::Floats => {
            let numbers = bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes));
            values.iter_mut().zip(numbers).for_each(|(value, number)| act(value, number));
        }
        Format::Halves => {
            let (scale, halves) = bytes.split_at(SCALE);
            let scale = f32::from_ne_bytes(scale.try_into().unwrap_or_default());
            let numbers = halves.as_chunks().0.iter().map(|bytes| f16::from_ne_bytes(*bytes).to_f32() / scale);
            values.iter_mut().zip(numbers).for_each(|(value, number)| act(value, number));
        }
    }
    Ok(())
}

/// Writes the numbers of a message in the place of `values`.
fn write(values: &mut [f32], bytes: &[u8], format: Format) -> Result<(), RanksError> {
    decode(values, bytes, format, |value, number| *value = number)
}

/// Adds the numbers of a message to `values`: in this order on every rank, what came, then what is here.
fn add(values: &mut [f32], bytes: &[u8], format: Format) -> Result<(), RanksError> {
    decode(values, bytes, format, |value, number| *value += number)
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
