//! Numbers that look random and come again: every test that uses them prints its seed.

/// A sequence of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `DECISIONGRAPH_TEST_SEED`, or of this seed.
    ///
    /// # Panics
    /// When the variable holds no number.
    #[allow(clippy::print_stdout, reason = "shown with a test that fails")]
    pub fn seeded(seed: u64) -> Random {
        let seed = std::env::var("DECISIONGRAPH_TEST_SEED")
            .map_or(seed, |text| text.parse().expect("DECISIONGRAPH_TEST_SEED is a number"));
        println!("DECISIONGRAPH_TEST_SEED={seed}");
        Random(seed)
    }

    /// The sequence of this seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Random {
        Random(seed)
    }

    /// Another sequence, as many as are asked for.
    #[must_use]
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Puts them in another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
