//! Verification of signatures by AWS-LC, the fastest of the native libraries that were measured (docs/DESIGN.md).

use aws_lc_rs::signature::{self as aws, ParsedPublicKey, VerificationAlgorithm};
use tollgate::auth::jose::Algorithm;
use tollgate::seam::SignatureCheck;

/// Verifies a signature; `None` for algorithms without a public key. The parsed key is kept with the key.
pub fn verify(check: &SignatureCheck<'_>) -> Option<bool> {
    let algorithm = algorithm(check.algorithm)?;
    let key = check.prepared.get_or_make(check.algorithm, || {
        ParsedPublicKey::new(algorithm, check.public_key).ok()
    });
    let is_good = |key: &ParsedPublicKey| key.verify_sig(check.message, check.signature).is_ok();
    Some(key.is_some_and(is_good))
}

fn algorithm(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::RS256 => &aws::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &aws::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &aws::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &aws::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &aws::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &aws::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &aws::ECDSA_P256_SHA256_ASN1,
        Algorithm::ES384 => &aws::ECDSA_P384_SHA384_ASN1,
        Algorithm::ES512 => &aws::ECDSA_P521_SHA512_ASN1,
        Algorithm::EdDSA => &aws::ED25519,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
    })
}
