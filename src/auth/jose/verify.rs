//! Signature verification, by the host's native code for what it can verify; everything else runs in this module.

use rsa::signature::Verifier as _;
use sha2::{Sha256, Sha384, Sha512};

use super::algorithm::Hash;
use super::jwk::Material;
use super::{Algorithm, Key};
use crate::seam::{Host, SignatureCheck};

/// Verifies `signature` over `message` with one key. Also `false` if the key does not fit the algorithm.
pub fn verify(host: &dyn Host, key: &Key, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    if !key.fits(algorithm) {
        return false;
    }
    let by_host = |public_key: &[u8], signature: &[u8]| {
        host.verify_signature(&SignatureCheck {
            algorithm: algorithm.name(),
            hash: algorithm.hash().name(),
            public_key,
            prepared: key.prepared(algorithm)?,
            message,
            signature,
        })
    };
    match &key.material {
        Material::Rsa(public) => {
            // RFC 8017 section 8.2.2: a signature is exactly as long as the modulus.
            if signature.len() != rsa::traits::PublicKeyParts::size(public.as_ref()) {
                return false;
            }
            let verify = if is_pss(algorithm) { rsa_pss } else { rsa_pkcs1 };
            by_host(&key.spki, signature).unwrap_or_else(|| verify(public, algorithm.hash(), message, signature))
        }
        // RFC 7518 section 3.4: r and s side by side, each of the field's size. The length is checked before the
        // conversion to DER, and the conversion refuses r or s outside [1, n-1].
        Material::P256(public) => p256::ecdsa::Signature::from_slice(signature).is_ok_and(|parsed| {
            by_host(&key.spki, parsed.to_der().as_bytes()).unwrap_or_else(|| public.verify(message, &parsed).is_ok())
        }),
        Material::P384(public) => p384::ecdsa::Signature::from_slice(signature).is_ok_and(|parsed| {
            by_host(&key.spki, parsed.to_der().as_bytes()).unwrap_or_else(|| public.verify(message, &parsed).is_ok())
        }),
        Material::P521(public) => p521::ecdsa::Signature::from_slice(signature).is_ok_and(|parsed| {
            by_host(&key.spki, parsed.to_der().as_bytes()).unwrap_or_else(|| public.verify(message, &parsed).is_ok())
        }),
        Material::Ed25519(public) => ed25519_compact::Signature::from_slice(signature).is_ok_and(|parsed| {
            by_host(public.as_ref(), signature).unwrap_or_else(|| public.verify(message, &parsed).is_ok())
        }),
        Material::Hmac(secret) => match algorithm.hash() {
            Hash::Sha256 => hmac::<hmac::Hmac<Sha256>>(secret, message, signature),
            Hash::Sha384 => hmac::<hmac::Hmac<Sha384>>(secret, message, signature),
            Hash::Sha512 => hmac::<hmac::Hmac<Sha512>>(secret, message, signature),
        },
    }
}

fn is_pss(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512)
}

fn rsa_pkcs1(key: &rsa::PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    let Ok(signature) = Signature::try_from(signature) else {
        return false;
    };
    match hash {
        Hash::Sha256 => VerifyingKey::<Sha256>::new(key.clone()).verify(message, &signature),
        Hash::Sha384 => VerifyingKey::<Sha384>::new(key.clone()).verify(message, &signature),
        Hash::Sha512 => VerifyingKey::<Sha512>::new(key.clone()).verify(message, &signature),
    }
    .is_ok()
}

/// The salt is as long as the hash, and MGF1 uses the same hash (RFC 7518 section 3.5).
fn rsa_pss(key: &rsa::PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    use rsa::pss::{Signature, VerifyingKey};
    let Ok(signature) = Signature::try_from(signature) else {
        return false;
    };
    match hash {
        Hash::Sha256 => VerifyingKey::<Sha256>::new(key.clone()).verify(message, &signature),
        Hash::Sha384 => VerifyingKey::<Sha384>::new(key.clone()).verify(message, &signature),
        Hash::Sha512 => VerifyingKey::<Sha512>::new(key.clone()).verify(message, &signature),
    }
    .is_ok()
}

/// Compares the whole tag in constant time.
fn hmac<M: hmac::Mac + hmac::KeyInit>(secret: &[u8], message: &[u8], tag: &[u8]) -> bool {
    M::new_from_slice(secret)
        .map(|mac| mac.chain_update(message))
        .is_ok_and(|mac| mac.verify_slice(tag).is_ok())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::seam::simulated::Simulated;

    /// Verifies with a host that accepts every signature: `true` if the signature passes all checks before the host's.
    fn verified(key: &Key, algorithm: Algorithm, signature: &[u8]) -> bool {
        let host = Simulated::default();
        host.verdict.set(Some(true));
        let verified = verify(&host, key, algorithm, b"message", signature);
        assert_eq!(verified, host.asked.get() == 1);
        verified
    }

    #[test]
    fn the_host_is_asked_only_about_a_key_that_fits_and_a_signature_of_the_right_size() {
        let mut modulus = [0xa5; 256];
        modulus[255] = 1;
        let rsa = Key::from_jwk(&json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})).unwrap();
        assert!(verified(&rsa, Algorithm::RS256, &[1; 256]));
        assert!(!verified(&rsa, Algorithm::RS256, &[1; 255]) && !verified(&rsa, Algorithm::RS256, &[1; 257]));
        assert!(!verified(&rsa, Algorithm::ES256, &[1; 256]) && !verified(&rsa, Algorithm::HS256, &[1; 256]));
        assert!(verified(&rsa, Algorithm::PS256, &[1; 256]) && !verified(&rsa, Algorithm::PS256, &[1; 255]));

        let (x, y) = (
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        );
        let ec = Key::from_jwk(&json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})).unwrap();
        assert!(verified(&ec, Algorithm::ES256, &[1; 64]));
        for bad in [&[1; 63][..], &[1; 65], &[1; 72], &[1; 96], &[0; 64], &[0xff; 64], &[]] {
            assert!(!verified(&ec, Algorithm::ES256, bad), "{bad:?}");
        }
        assert!(!verified(&ec, Algorithm::ES384, &[1; 64]) && !verified(&ec, Algorithm::RS256, &[1; 64]));
        let bound = Key::from_jwk(&json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256"})).unwrap();
        assert!(verified(&bound, Algorithm::ES256, &[1; 64]));
    }
}
