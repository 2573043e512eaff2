//! A plugin for tests only. A request carries a key, an algorithm, a message and a signature, each in base64url; the
//! answer says whether Tollgate accepts them, and whether it asked the host.
#![cfg(target_arch = "wasm32")]

use std::cell::Cell;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use tollgate::auth::jose::verify::verify;
use tollgate::auth::jose::{Algorithm, Key};
use tollgate::clock::Millis;
use tollgate::host::Envoy;
use tollgate::seam::store::Store;
use tollgate::seam::{Host, SignatureCheck};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;
struct Http;

/// The host, watched.
struct Watched {
    answered: Cell<bool>,
}

impl Host for Watched {
    fn wall(&self) -> Millis {
        Envoy.wall()
    }

    fn monotonic(&self) -> Millis {
        Envoy.monotonic()
    }

    fn client_address(&self) -> Option<IpAddr> {
        Envoy.client_address()
    }

    fn store(&self) -> &dyn Store {
        Envoy.store()
    }

    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool> {
        let answer = Envoy.verify_signature(check);
        self.answered.set(answer.is_some());
        answer
    }
}

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let world = Watched {
            answered: Cell::new(false),
        };
        let accepted = self.accepts(&world).unwrap_or(false);
        let body = format!("{accepted} {}", world.answered.get());
        self.send_http_response(200, vec![], Some(body.as_bytes()));
        Action::Pause
    }
}

impl Http {
    fn accepts(&self, world: &dyn Host) -> Option<bool> {
        let part = |name: &str| URL_SAFE_NO_PAD.decode(self.get_http_request_header_bytes(name)?).ok();
        let jwk = serde_json::from_slice(&part("x-key")?).ok()?;
        let key = Key::from_jwk(&jwk).ok()?;
        let algorithm = Algorithm::from_name(&self.get_http_request_header("x-algorithm")?)?;
        Some(verify(
            world,
            &key,
            algorithm,
            &part("x-message")?,
            &part("x-signature")?,
        ))
    }
}
