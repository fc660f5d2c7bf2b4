//! Identifiers made from a number: nothing is remembered, and no identifier repeats within a seed
//! and a purpose, because each holds all 64 bits of a bijective mix of its number.
//!
//! Hexadecimal digits and hyphens only: no pattern of the content guard can be spelled with them.

use super::rng::{key, mix};

/// What an identifier is for. Two purposes give unrelated identifiers for the same number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// An event.
    Event = 1,
    /// A trace.
    Trace,
    /// Any thing a payload introduces; its number is that of the event.
    Thing,
    /// A second thing of the same event.
    Other,
}

/// A UUID of version 4 by its shape.
pub(super) fn uuid(seed: u64, purpose: Purpose, number: u64) -> String {
    let [high, low] = words(seed, purpose, number);
    // The version displaces four bits of the high word; they move to the low one to keep it unique.
    let low = (low & 0x03FF_FFFF_FFFF_FFFF) | ((high >> 12) & 0xF) << 58;
    let [a, b, c] = [high >> 32, (high >> 16) & 0xFFFF, high & 0xFFF];
    let [d, e] = [(low >> 48) | 0x8000, low & 0xFFFF_FFFF_FFFF];
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
}

/// A shorter identifier, 24 hexadecimal digits.
pub(super) fn hex(seed: u64, purpose: Purpose, number: u64) -> String {
    let [high, low] = words(seed, purpose, number);
    format!("{high:016x}{:08x}", low >> 32)
}

fn words(seed: u64, purpose: Purpose, number: u64) -> [u64; 2] {
    let key = key(seed, purpose as u64);
    let high = mix(number ^ key);
    [high, mix(high ^ key.rotate_left(32))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn uuids_have_the_shape_of_version_4() {
        for number in 0..1_000 {
            let id = uuid(9, Purpose::Event, number);
            let widths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(widths, [8, 4, 4, 4, 12]);
            assert_eq!(id.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    #[test]
    fn differ_by_number_purpose_and_seed() {
        let mut seen = HashSet::new();
        for seed in 0..5 {
            for purpose in [Purpose::Event, Purpose::Trace, Purpose::Thing, Purpose::Other] {
                for number in 0..1_000 {
                    assert!(seen.insert(uuid(seed, purpose, number)));
                    assert!(seen.insert(hex(seed, purpose, number)));
                }
            }
        }
    }

    #[test]
    fn are_lower_case_hexadecimal() {
        let text = uuid(1, Purpose::Trace, 2).replace('-', "") + &hex(3, Purpose::Thing, 4);
        assert_eq!(text.len(), 32 + 24);
        assert!(text.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
    }
}
