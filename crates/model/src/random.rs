//! Numbers that follow from a seed: whoever has the seed has them all, and nothing is drawn from the world.

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). Its state
/// is one number; a seed may be any.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::GAMMA);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 when that is 0: a little more often a small one.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }

    /// Stirs in what comes from outside.
    pub fn stir(&mut self, entropy: u64) {
        self.0 ^= entropy.wrapping_mul(Self::GAMMA);
    }

    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        // The first of seed 0, as the reference implementation (Vigna, splitmix64.c) gives them.
        let mut random = SplitMix64(0);
        assert_eq!([random.bits(), random.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }
}
