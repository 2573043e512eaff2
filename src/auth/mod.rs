//! Credentials: their sources in a request, tokens (JOSE), published keys (JWKS), and API keys.

pub mod api_key;
pub mod credential;
pub mod jose;
pub mod jwks;
