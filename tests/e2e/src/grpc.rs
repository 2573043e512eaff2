//! `envoy/rest-to-grpc.yaml` in front of a real gRPC service.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Once;

use serde_json::Value;

use crate::bundled::bootstrap;
use crate::case::repository;
use crate::envoy::Envoy;
use crate::program::{Program, built};

/// Envoy and the service behind it.
pub struct RestToGrpc {
    /// The gateway.
    pub envoy: Envoy,
    service: Program,
}

impl RestToGrpc {
    /// Starts both. `change` may change Envoy's configuration.
    pub fn start(change: impl FnOnce(&mut Value)) -> Self {
        build_descriptors();
        let mut service = Program::start(
            "the gRPC service",
            &mut Command::new(built("tollgate-grpc", "tollgate-grpc")),
        );
        let address: SocketAddr = service.wait_for("listening on ").parse().expect("an address");
        let mut bootstrap = bootstrap("rest-to-grpc.yaml", &[("product-service", address)].into());
        change(&mut bootstrap);
        Self {
            envoy: Envoy::start(&bootstrap),
            service,
        }
    }

    /// Ends the service, as a failure would; Envoy stays.
    pub fn kill_service(self) -> Envoy {
        self.service.kill();
        self.envoy
    }
}

/// Makes `target/products.pb` by the very command that the file names, once for this process.
pub fn build_descriptors() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let output = Command::new(repository().join("scripts/descriptors"))
            .current_dir(repository())
            .args(["target/products.pb", "tests/grpc/proto", "products/v1/products.proto"])
            .output()
            .expect("scripts/descriptors runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}
