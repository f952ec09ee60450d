//! The core's own source of names and uids. It is seeded from outside, so that a run with one
//! seed gives the same uids and generated names every time.

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A source that always gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// Where the source stands, for [`Random::new`] to go on from.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    /// A version 4 UUID (RFC 9562), as `metadata.uid` has it.
    pub fn uuid(&mut self) -> String {
        let high = self.bits() & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = self.bits() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// The five characters that follow `metadata.generateName`. Kubernetes leaves out vowels and
    /// what looks like them, so that no words come out.
    pub fn suffix(&mut self) -> String {
        (0..5).map(|_| SAFE[self.below(SAFE.len() as u64) as usize] as char).collect()
    }
}

/// The alphabet of generated names and of `pod-template-hash`.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A number written with the letters that generated names use, as `pod-template-hash` is.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|b| SAFE[b as usize % SAFE.len()] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_version_four_and_follow_the_seed() {
        let mut one = Random::new(7);
        let mut two = Random::new(7);
        for _ in 0..100 {
            let uuid = one.uuid();
            assert_eq!(uuid, two.uuid());
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
        assert_ne!(Random::new(1).uuid(), Random::new(2).uuid());
    }
}
