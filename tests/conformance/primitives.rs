//! Wycheproof's vectors of the primitives behind JWS, as one list: what each algorithm must accept and refuse.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wycheproof::TestResult;
use wycheproof::{ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

/// One signature, or one thing that is none.
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    /// The set and the number in it.
    pub(crate) name: String,
    /// The key, as a JWK; `oct` for a shared secret.
    pub(crate) jwk: Value,
    /// The JWS algorithm.
    pub(crate) algorithm: &'static str,
    /// The signed bytes.
    pub(crate) message: Vec<u8>,
    /// The signature as JWS has it.
    pub(crate) signature: Vec<u8>,
    /// Whether it must be accepted.
    pub(crate) valid: bool,
}

/// All of them.
pub(crate) fn all() -> Vec<Vector> {
    let mut vectors = Vec::new();
    use ecdsa::TestName as Ec;
    for (name, algorithm, curve, all_bad) in [
        (Ec::EcdsaSecp256r1Sha256P1363, "ES256", "P-256", false),
        (Ec::EcdsaSecp384r1Sha384P1363, "ES384", "P-384", false),
        (Ec::EcdsaSecp521r1Sha512P1363, "ES512", "P-521", false),
        // DER is no JWS signature, however good.
        (Ec::EcdsaSecp256r1Sha256, "ES256", "P-256", true),
    ] {
        for group in ecdsa::TestSet::load(name).expect("vectors").test_groups {
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let jwk = json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)});
            for test in group.tests {
                let valid = !all_bad && is_valid(test.result);
                vectors.push(vector(name, test.tc_id, &jwk, algorithm, &test.msg, &test.sig, valid));
            }
        }
    }
    use rsa_pkcs1_verify::TestName as Rsa;
    for (name, algorithm) in [
        (Rsa::Rsa2048Sha256, "RS256"),
        (Rsa::Rsa2048Sha384, "RS384"),
        (Rsa::Rsa2048Sha512, "RS512"),
        (Rsa::Rsa3072Sha256, "RS256"),
        (Rsa::Rsa3072Sha384, "RS384"),
        (Rsa::Rsa4096Sha512, "RS512"),
        (Rsa::Rsa8192Sha256, "RS256"),
        // Another hash than the algorithm's.
        (Rsa::Rsa2048Sha512_256, "RS256"),
        (Rsa::Rsa2048Sha3_256, "RS256"),
    ] {
        let all_bad = matches!(name, Rsa::Rsa2048Sha512_256 | Rsa::Rsa2048Sha3_256);
        for group in rsa_pkcs1_verify::TestSet::load(name).expect("vectors").test_groups {
            let jwk = rsa(&group.key.n, &group.key.e);
            for test in group.tests {
                let right = if all_bad {
                    is_right_by_accident(&test.comment)
                } else {
                    is_valid(test.result)
                };
                let valid = right && has_usual_exponent(&jwk);
                vectors.push(vector(name, test.tc_id, &jwk, algorithm, &test.msg, &test.sig, valid));
            }
        }
    }
    use rsa_pss_verify::TestName as Pss;
    for (name, algorithm, all_bad) in [
        (Pss::RsaPss2048Sha256Mgf1SaltLen32, "PS256", false),
        (Pss::RsaPss3072Sha256Mgf1SaltLen32, "PS256", false),
        (Pss::RsaPss2048Sha384Mgf1SaltLen48, "PS384", false),
        (Pss::RsaPss4096Sha384Mgf1SaltLen48, "PS384", false),
        (Pss::RsaPss4096Sha512Mgf1SaltLen64, "PS512", false),
        // Another length of the salt, or another hash in the mask.
        (Pss::RsaPss2048Sha256Mgf1SaltLen0, "PS256", true),
        (Pss::RsaPss2048Sha256Mgf1Sha1_20, "PS256", true),
        (Pss::RsaPss4096Sha512Mgf1SaltLen32, "PS512", true),
    ] {
        for group in rsa_pss_verify::TestSet::load(name).expect("vectors").test_groups {
            let jwk = rsa(&group.key.n, &group.key.e);
            for test in group.tests {
                let right = if all_bad {
                    has_right_salt(name, &test.comment)
                } else {
                    is_valid(test.result)
                };
                let valid = right && has_usual_exponent(&jwk);
                vectors.push(vector(name, test.tc_id, &jwk, algorithm, &test.msg, &test.sig, valid));
            }
        }
    }
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519)
        .expect("vectors")
        .test_groups
    {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&group.key.pk)});
        for test in group.tests {
            vectors.push(vector(
                "Ed25519",
                test.tc_id,
                &jwk,
                "EdDSA",
                &test.msg,
                &test.sig,
                is_valid(test.result),
            ));
        }
    }
    use mac::TestName as Mac;
    for (name, algorithm, bits) in [
        (Mac::HmacSha256, "HS256", 256),
        (Mac::HmacSha384, "HS384", 384),
        (Mac::HmacSha512, "HS512", 512),
    ] {
        for group in mac::TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests {
                let jwk = json!({"kty": "oct", "k": encode(&test.key)});
                // JWS has no truncated tags, and no keys that are shorter than the hash.
                let valid = is_valid(test.result) && group.tag_size == bits && test.key.len() * 8 >= bits;
                vectors.push(vector(name, test.tc_id, &jwk, algorithm, &test.msg, &test.tag, valid));
            }
        }
    }
    vectors
}

fn vector(
    set: impl std::fmt::Debug,
    id: usize,
    jwk: &Value,
    algorithm: &'static str,
    message: &[u8],
    signature: &[u8],
    valid: bool,
) -> Vector {
    Vector {
        name: format!("{set:?} {id}"),
        jwk: jwk.clone(),
        algorithm,
        message: message.into(),
        signature: signature.into(),
        valid,
    }
}

/// `Acceptable` marks what some may refuse; these sets have none that matters here.
fn is_valid(result: TestResult) -> bool {
    result == TestResult::Valid
}

/// Invalid for the set's own scheme by being made for the very one that it is held against here.
fn is_right_by_accident(comment: &str) -> bool {
    comment.starts_with("The message is hashed with SHA-256 instead of")
}

/// The same for a set with another length of the salt.
fn has_right_salt(set: rsa_pss_verify::TestName, comment: &str) -> bool {
    set == rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen0 && comment == "s_len changed to 32"
}

fn rsa(n: &[u8], e: &[u8]) -> Value {
    let trim = |bytes: &[u8]| encode(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]);
    json!({"kty": "RSA", "n": trim(n), "e": trim(e)})
}

/// Keys with another exponent are refused when they are loaded.
fn has_usual_exponent(jwk: &Value) -> bool {
    jwk["e"] == "AQAB"
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
