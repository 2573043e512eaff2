//! Nothing but tests: they hold `envoy/istio` to Istio's own types.
