//! The least that a plugin can cost which has Envoy verify a signature: nothing but the calls that it takes.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use prost::Message;
use serde_json::Value;
use tollgate::clock::Millis;
use tollgate::config::Environment;
use tollgate::exchange::Exchange;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::worker::Worker;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::store::Store;
use tollgate::seam::{Event, Host, SignatureCheck, StreamId};

/// The calibration's calls for a token that Tollgate has not seen.
pub(crate) fn calls(config: &Value, token: &str) -> String {
    let arguments: String = check(config, token).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("headers\nclock\nforeign verify_signature {arguments}\nreplace")
}

/// What Tollgate would have Envoy verify.
fn check(config: &Value, token: &str) -> Vec<u8> {
    let config = decode(config.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let plan = Plan::compile(&config, &Environment::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let headers = [
        (":method", "GET"),
        (":authority", "a"),
        (":path", "/"),
        ("authorization", &format!("Bearer {token}")),
    ];
    let headers = headers.into_iter().collect();
    let recorder = Recorder::default();
    recorder.world.now.set(tollgate_e2e::issuer::now() * 1000);
    let event = Event::RequestHeaders {
        headers: Rc::new(headers),
        route_name: None,
        has_body: false,
    };
    let worker = Rc::new(Worker::new(Arc::new(plan)));
    Exchange::new(worker, StreamId(0)).on(event, &recorder);
    recorder.asked.take().expect("a signature to verify").encode_to_vec()
}

#[derive(Default)]
struct Recorder {
    world: Simulated,
    asked: RefCell<Option<Arguments>>,
}

impl Host for Recorder {
    fn wall(&self) -> Millis {
        self.world.wall()
    }

    fn monotonic(&self) -> Millis {
        self.world.monotonic()
    }

    fn client_address(&self) -> Option<IpAddr> {
        self.world.client_address()
    }

    fn store(&self) -> &dyn Store {
        self.world.store()
    }

    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool> {
        self.asked.replace(Some(Arguments {
            hash: check.hash.into(),
            public_key: check.public_key.into(),
            signature: check.signature.into(),
            text: check.message.into(),
        }));
        Some(true)
    }
}

/// Envoy's `envoy.source.extensions.common.wasm.VerifySignatureArguments`.
#[derive(Clone, PartialEq, Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}
