//! The fingerprint of weak RSA keys made by Infineon's library (ROCA, CVE-2017-15361).

/// Whether a modulus (big-endian) has the fingerprint: its residue modulo each small prime is a power of 65537.
/// A sound key passes for one with a chance below 2^-27.
pub(super) fn is_vulnerable(modulus: &[u8]) -> bool {
    PRIMES
        .iter()
        .all(|&prime| is_power_of_65537(residue(modulus, prime), prime))
}

fn residue(modulus: &[u8], prime: u32) -> u32 {
    modulus.iter().fold(0, |rest, &byte| {
        rest.saturating_mul(256)
            .saturating_add(u32::from(byte))
            .checked_rem(prime)
            .unwrap_or_default()
    })
}

fn is_power_of_65537(value: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == value {
            return true;
        }
        power = 65537_u32
            .checked_rem(prime)
            .unwrap_or_default()
            .saturating_mul(power)
            .checked_rem(prime)
            .unwrap_or_default();
    }
    false
}

/// The primes up to 167 for which the powers of 65537 do not cover all residues; other primes distinguish nothing.
const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_primes_tell_something() {
        let mut passing = 1.0_f64;
        for prime in PRIMES {
            let residues = (1..prime).filter(|&value| is_power_of_65537(value, prime)).count();
            assert!(residues < prime as usize - 1, "{prime}");
            passing *= residues as f64 / f64::from(prime - 1);
        }
        assert!(passing < 2_f64.powi(-27), "{passing:e}");
    }

    #[test]
    fn a_power_of_65537_has_the_fingerprint_and_its_double_has_not() {
        let modulus = 65537_u128.pow(7);
        assert!(is_vulnerable(&modulus.to_be_bytes()));
        assert!(!is_vulnerable(&(modulus * 2).to_be_bytes()));
    }
}
