//! What the core may ask of the world around it.

/// The clock and the host's cryptography, as arguments: the core itself has neither.
///
/// Each call may be a call into the host, so the core asks only when the answer decides something.
pub trait World {
    /// Seconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64;

    /// Verifies a signature outside the core. `None`: this world cannot, and the core computes it itself.
    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool>;
}

/// An RSASSA-PKCS1-v1_5 or ECDSA signature to verify.
#[derive(Debug, Clone, Copy)]
pub struct SignatureCheck<'a> {
    /// The hash function's name, as OpenSSL spells it: `sha256`, `sha384`, `sha512`.
    pub hash: &'static str,
    /// The public key as SubjectPublicKeyInfo (RFC 5280), DER.
    pub public_key: &'a [u8],
    /// The signed bytes.
    pub message: &'a [u8],
    /// RSA: as in RFC 8017. ECDSA: `ECDSA-Sig-Value` (RFC 3279), minimal DER.
    pub signature: &'a [u8],
}
