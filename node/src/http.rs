//! HTTP/1.1: health, token keys, and the way to a WebSocket; the admin listener's metrics.
//!
//! Never: a head that may take its time, or state that outlives its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cloudsync_protocol::limits::{HELLO_TIMEOUT, WEBSOCKET_PATH};
use cloudsync_storage::Store;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use crate::serve_websocket;
use crate::shared::{Place, Shared};
use crate::write_stall::{HttpAnswers, Upgraded};

/// What one connection may send as a head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Requests of one connection; it is closed after the last one's answer. A WebSocket takes one, and a client that keeps its
/// connection for more would keep its place from others.
const REQUESTS_MAX: usize = 1000;
/// How long the store may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What the HTTPS and ws listeners serve.
pub(crate) fn public(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(WEBSOCKET_PATH, get(upgrade))
        .route("/healthz", get(health))
        .route("/.well-known/jwks.json", get(jwks))
        .with_state(shared)
}

/// What the admin listener asks.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: PrometheusHandle,
}

/// What the admin listener serves.
pub(crate) fn admin(admin: Admin) -> Router {
    Router::new().route("/healthz", get(health)).route("/readyz", get(ready)).route("/metrics", get(metrics)).with_state(admin)
}

/// Serves one connection until it ends, was idle for [`HELLO_TIMEOUT`], or became a WebSocket. A head must be whole within
/// [`HELLO_TIMEOUT`] of its own, whatever TLS took; a client that takes nothing of its answers for as long is gone.
pub(crate) async fn serve<S>(shared: &Shared, io: S, router: Router, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (service, place) = (TowerToHyperService::new(router), Arc::new(place));
    let (io, upgraded) = HttpAnswers::new(io, HELLO_TIMEOUT);
    let requests = AtomicUsize::new(0);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Arc::clone(&place));
        request.extensions_mut().insert(upgraded.clone());
        let is_last = requests.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_MAX;
        let answering = service.call(request);
        async move { answering.await.map(|answer| if is_last { last(answer) } else { answer }) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HELLO_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = shared.leaving.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        if error.is_timeout() {
            shared.meters_websocket.handshake_failed("http_timeout");
        }
        debug!(%error, "http connection ended");
    }
}

/// An answer after which the connection is closed, unless it is a WebSocket from here on.
fn last(mut answer: Response) -> Response {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn health() -> &'static str {
    "ok\n"
}

async fn jwks(State(shared): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, "application/jwk-set+json")], shared.accounts.jwks().to_owned()).into_response()
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    if admin.shared.leaving.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "leaving\n".to_owned());
    }
    if !admin.shared.region.is_serving() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the region failed: start the node again\n".to_owned());
    }
    match tokio::time::timeout(PING_TIMEOUT, admin.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n".to_owned()),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("the store does not answer: {error}\n")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer in time\n".to_owned()),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.render()).into_response()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The opening handshake (RFC 6455, 4.2).
async fn upgrade(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let headers = request.headers();
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        let message = "this is a WebSocket: send `connection: upgrade` and `upgrade: websocket`\n";
        return (StatusCode::UPGRADE_REQUIRED, [(UPGRADE, "websocket")], message).into_response();
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return (StatusCode::UPGRADE_REQUIRED, [(SEC_WEBSOCKET_VERSION, "13")], "WebSocket version 13 only\n").into_response();
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes())) else {
        return (StatusCode::BAD_REQUEST, "the header sec-websocket-key is missing\n").into_response();
    };
    let extensions = request.extensions_mut();
    let (Some(place), Some(reached)) = (extensions.remove::<Arc<Place>>(), extensions.remove::<Upgraded>()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let serving = Arc::clone(&shared);
    shared.spawn(async move {
        match tokio::time::timeout(HELLO_TIMEOUT, upgraded).await {
            Ok(Ok(upgraded)) => {
                reached.reached();
                serve_websocket::serve(serving, TokioIo::new(upgraded), place).await;
            }
            Ok(Err(_)) | Err(_) => serving.meters_websocket.handshake_failed("http"),
        }
    });
    let head = [(CONNECTION, "upgrade".to_owned()), (UPGRADE, "websocket".to_owned()), (SEC_WEBSOCKET_ACCEPT, key)];
    (StatusCode::SWITCHING_PROTOCOLS, head, Body::empty()).into_response()
}
