//! Seeds of a run's parts, drawn from the one seed of the run.

use sha2::{Digest, Sha256};

/// The seed of the purpose `name`. Seeds of different names are independent, and neither
/// the order in which they are asked for nor what else is asked for changes them.
pub fn seed_for(seed: u64, name: &str) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_seeds_both_count() {
        assert_eq!(seed_for(7, "train loop 1"), seed_for(7, "train loop 1"));
        assert_ne!(seed_for(7, "train loop 1"), seed_for(8, "train loop 1"));
        assert_ne!(seed_for(7, "train loop 1"), seed_for(7, "train loop 2"));
    }

    #[test]
    fn the_value_is_that_of_sha_256() {
        // printf '\0\0\0\0\0\0\0\0a' | sha256sum | cut -c-16
        assert_eq!(seed_for(0, "a"), 0xd7fe_8b5c_4a50_4869);
    }
}
