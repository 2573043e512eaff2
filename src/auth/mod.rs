//! Credentials and keys: where a credential is found, what a token says and who signed it, and how an API key is known.

pub mod api_key;
pub mod credential;
pub mod jose;
pub mod jwks;
