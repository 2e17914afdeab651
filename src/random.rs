//! Counter-based random numbers: Philox4x32-10, the same bits here and in `shaders/common/philox.wgsl`.
//!
//! A number is a pure function of `(seed, stream, counter)`: nothing carries state, so dropout masks, crops,
//! shuffles and initial weights depend neither on placement nor on the batch split nor on restarts.
//! Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// One Philox4x32-10 block: four random words for a 128-bit `counter` under a 64-bit `key`.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c, mut k] = [counter, [key[0], key[1], 0, 0]];
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [high(b) ^ c[1] ^ k[0], low(b), high(a) ^ c[3] ^ k[1], low(a)];
        k[0] = k[0].wrapping_add(WEYL[0]);
        k[1] = k[1].wrapping_add(WEYL[1]);
    }
    c
}

/// The upper 32 bits of `product`.
fn high(product: u64) -> u32 {
    (product >> 32) as u32
}

/// The lower 32 bits of `product`.
fn low(product: u64) -> u32 {
    product as u32
}

/// A uniform number in `[0, 1)` from the upper 24 bits of `word`, exact in f32.
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The purpose of a random number. Streams of different purposes never share counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights; the tag is that of the tensor.
    Weights,
    /// Dropout masks; the tag is that of the layer.
    Dropout,
    /// The order of images in an epoch.
    Shuffle,
    /// Crop position and mirror of a training image.
    Crop,
    /// Colour noise of a training image.
    Colour,
    /// Inputs of tests and benches.
    Test,
}

/// A family of random numbers: one seed, one purpose, one tag within the purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    id: u32,
}

impl Stream {
    /// The stream for `purpose`; `tag` distinguishes streams of one purpose.
    pub fn new(seed: u64, purpose: Purpose, tag: u32) -> Self {
        Self { key: key(seed), id: stream_id(purpose, tag) }
    }

    /// Four words for position `(major, minor)`, for example (epoch, image).
    pub fn words(&self, major: u64, minor: u32) -> [u32; 4] {
        philox([minor, low(major), high(major), self.id], self.key)
    }

    /// Four standard normal numbers for position `(major, minor)` (Box and Muller, in f64).
    pub fn normals(&self, major: u64, minor: u32) -> [f64; 4] {
        let w = self.words(major, minor);
        let pair = |a: u32, b: u32| {
            // (a + 1) / 2^32 lies in (0, 1], so the logarithm is finite.
            let radius = (-2.0 * ((f64::from(a) + 1.0) / 4_294_967_296.0).ln()).sqrt();
            let angle = std::f64::consts::TAU * f64::from(b) / 4_294_967_296.0;
            (radius * angle.cos(), radius * angle.sin())
        };
        let ((a, b), (c, d)) = (pair(w[0], w[1]), pair(w[2], w[3]));
        [a, b, c, d]
    }

    /// `count` normal numbers with standard deviation `sd`.
    pub fn normal_vec(&self, count: usize, sd: f64) -> Vec<f32> {
        let blocks = count.div_ceil(4) as u64;
        let numbers = (0..blocks).flat_map(|block| self.normals(block, 0));
        numbers.take(count).map(|z| (z * sd) as f32).collect()
    }

    /// A permutation of `0..count` for `epoch` (Fisher and Yates).
    pub fn permutation(&self, epoch: u64, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count as u32).collect();
        for last in (1..count).rev() {
            let [w, ..] = self.words(epoch, last as u32);
            let pick = (u64::from(w) * (last as u64 + 1)) >> 32;
            order.swap(last, pick as usize);
        }
        order
    }
}

/// The Philox key of a seed, as the shaders receive it.
pub fn key(seed: u64) -> [u32; 2] {
    [low(seed), high(seed)]
}

/// The last counter word: purpose in the top byte, tag below.
pub fn stream_id(purpose: Purpose, tag: u32) -> u32 {
    ((purpose as u32 + 1) << 24) | (tag & 0x00FF_FFFF)
}

/// A 24-bit tag from a name (FNV-1a, folded), so that a stream follows its tensor wherever that is placed.
pub fn tag(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811C_9DC5_u32, |h, byte| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 24) ^ (hash & 0x00FF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the Random123 library (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn normals_have_mean_zero_and_the_deviation_asked_for() {
        let z = Stream::new(7, Purpose::Weights, 3).normal_vec(40_000, 0.5);
        let mean = z.iter().map(|&v| f64::from(v)).sum::<f64>() / z.len() as f64;
        let variance = z.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / z.len() as f64;
        // Four standard errors of each estimate.
        assert!(mean.abs() < 4.0 * 0.5 / 200.0, "{mean}");
        assert!((variance - 0.25).abs() < 4.0 * 0.25 * (2.0_f64 / 40_000.0).sqrt(), "{variance}");
    }

    #[test]
    fn permutations_are_complete_and_differ_between_epochs() {
        let stream = Stream::new(1, Purpose::Shuffle, 0);
        let (a, b) = (stream.permutation(0, 1000), stream.permutation(1, 1000));
        assert_ne!(a, b);
        for mut order in [a, b] {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..1000));
        }
    }
}
