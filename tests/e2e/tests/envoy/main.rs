//! What only a real Envoy can show.

mod aggregates;
mod api_keys;
mod attacked;
mod bodies;
mod bundled;
mod cases;
mod comparison;
mod configuration;
mod fallback;
mod grpc;
mod hostile;
mod http2;
mod istio;
mod jwks;
mod kong;
mod observability;
mod oidc;
mod policies;
mod rate_limit_service;
mod rate_limits;
mod refusals;
mod replicas;
mod rerouted;
mod resilience;
mod tls;
mod verification;
