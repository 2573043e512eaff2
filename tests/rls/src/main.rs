//! A Rate Limit Service as Limitador's own server is one: its library, on a real Redis, behind Envoy's protocol.
//!
//! The one argument is a [`Config`] as JSON. It prints where it listens. Each line of its input is a number of milliseconds
//! by which it answers later from then on, which it confirms; it ends with its input.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use limitador::counter::Counter;
use limitador::limit::Limit;
use limitador::storage::redis::AsyncRedisStorage;
use limitador::{AsyncRateLimiter, CheckResult};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Of Redis.
    url: String,
    /// Where it listens; by default on loopback, on a port that the system chooses.
    #[serde(default = "loopback")]
    listen: SocketAddr,
    /// Whether answers tell what is left.
    headers: bool,
    limits: Vec<LimitConfig>,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// As in Limitador's limits file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitConfig {
    namespace: String,
    max_value: i64,
    seconds: u64,
    conditions: Vec<String>,
    variables: Vec<String>,
}

struct Service {
    limiter: AsyncRateLimiter,
    headers: bool,
    delay: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = request.into_inner();
        let entries = request
            .descriptors
            .into_iter()
            .flat_map(|descriptor| descriptor.entries);
        let values: HashMap<_, _> = entries.map(|entry| (entry.key, entry.value)).collect();
        let namespace = request.domain.into();
        match self.delay.load(Ordering::Relaxed) {
            0 => {}
            millis => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
        let checked = self
            .limiter
            .check_rate_limited_and_update(&namespace, &values, request.hits_addend.max(1).into(), self.headers)
            .await;
        let checked = checked.map_err(|error| {
            eprintln!("{error}");
            Status::unavailable("Service unavailable")
        })?;
        let code = if checked.limited { Code::OverLimit } else { Code::Ok };
        Ok(Response::new(RateLimitResponse {
            overall_code: code.into(),
            response_headers_to_add: headers(&checked),
            ..RateLimitResponse::default()
        }))
    }
}

/// draft-ietf-httpapi-ratelimit-headers-03, of the counter of which the least is left.
fn headers(checked: &CheckResult) -> Vec<HeaderValue> {
    let left = |counter: &&Counter| counter.remaining().unwrap_or_default();
    let Some(counter) = checked.counters.iter().min_by_key(left) else {
        return Vec::new();
    };
    let header = |key: &str, value: String| HeaderValue {
        key: key.to_owned(),
        value,
        raw_value: Vec::new(),
    };
    let limit = counter.max_value();
    let mut headers = vec![
        header("X-RateLimit-Limit", format!("{limit}, {limit};w={}", counter.seconds())),
        header("X-RateLimit-Remaining", left(&counter).max(0).to_string()),
    ];
    if let Some(expires_in) = counter.expires_in() {
        headers.push(header("X-RateLimit-Reset", expires_in.as_secs().to_string()));
    }
    headers
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = std::env::args()
        .nth(1)
        .ok_or("the argument is a configuration as JSON")?;
    let config: Config = serde_json::from_str(&config)?;
    let limiter = AsyncRateLimiter::new_with_storage(Box::new(AsyncRedisStorage::new(&config.url).await?));
    for limit in config.limits {
        limiter.add_limit(Limit::new(
            limit.namespace,
            limit.max_value,
            limit.seconds,
            limit.conditions,
            limit.variables,
        ));
    }
    // Small answers that wait for each other's acknowledgement would take 40 ms.
    let incoming = TcpIncoming::bind(config.listen)?.with_nodelay(Some(true));
    println!("listening on {}", incoming.local_addr()?);
    let delay = Arc::new(AtomicU64::new(0));
    let service = Service {
        limiter,
        headers: config.headers,
        delay: Arc::clone(&delay),
    };
    let ended = async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut taken = 0_u64;
        while let Ok(Some(line)) = lines.next_line().await {
            match line.trim().parse() {
                Ok(millis) => delay.store(millis, Ordering::Relaxed),
                Err(error) => eprintln!("\"{line}\": {error}"),
            }
            taken = taken.saturating_add(1);
            println!("line {taken} taken");
        }
    };
    tokio::select! {
        served = tonic::transport::Server::builder()
            .add_service(RateLimitServiceServer::new(service))
            .serve_with_incoming(incoming) => served?,
        () = ended => {}
    }
    Ok(())
}
