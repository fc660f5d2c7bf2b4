//! SplitMix64 (Steele, Lea and Flood, 2014): small, quick, the same on every machine.
//!
//! Not for secrets. [`mix`] is a bijection on 64 bits, and `ids` relies on that.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer: distinct inputs give distinct outputs, and every input bit reaches every output bit.
pub(super) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The key of one purpose under a seed: two purposes of one seed have nothing in common.
pub(super) const fn key(seed: u64, purpose: u64) -> u64 {
    mix(mix(seed.wrapping_add(GAMMA)) ^ purpose.wrapping_mul(GAMMA))
}

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// The sequence that starts at `state`.
    pub(super) const fn new(state: u64) -> Self {
        Self(state)
    }

    /// The next 64 bits.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number below `bound` (0 when the bound is 0), as even as 64 bits allow.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_sequence() {
        let mut rng = Rng::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| rng.next()).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut rng = Rng::new(7);
        for bound in 1..40 {
            let mut seen = vec![false; bound as usize];
            (0..2_000).for_each(|_| seen[rng.below(bound) as usize] = true);
            assert!(seen.iter().all(|hit| *hit), "bound {bound}");
        }
        assert_eq!(rng.below(0), 0);
    }
}
