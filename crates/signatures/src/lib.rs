//! Verification of signatures by AWS-LC, the fastest of the native libraries that were measured (docs/DESIGN.md).

use aws_lc_rs::signature::{self as aws, ParsedPublicKey, VerificationAlgorithm};
use tollgate::seam::SignatureCheck;

/// Verifies a signature; `None` for algorithms without a public key. The parsed key is kept with the key.
pub fn verify(check: &SignatureCheck<'_>) -> Option<bool> {
    let algorithm = algorithm(check.algorithm)?;
    let parse = || ParsedPublicKey::new(algorithm, check.public_key).ok();
    let key = check.prepared.get_or_make(parse);
    let is_good = |key: &ParsedPublicKey| key.verify_sig(check.message, check.signature).is_ok();
    Some(key.is_some_and(is_good))
}

/// By its registered name.
fn algorithm(name: &str) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match name {
        "RS256" => &aws::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &aws::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &aws::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &aws::RSA_PSS_2048_8192_SHA256,
        "PS384" => &aws::RSA_PSS_2048_8192_SHA384,
        "PS512" => &aws::RSA_PSS_2048_8192_SHA512,
        "ES256" => &aws::ECDSA_P256_SHA256_ASN1,
        "ES384" => &aws::ECDSA_P384_SHA384_ASN1,
        "ES512" => &aws::ECDSA_P521_SHA512_ASN1,
        "EdDSA" => &aws::ED25519,
        _ => return None,
    })
}
