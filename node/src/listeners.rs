//! The TCP listeners: HTTPS, ws on the loopback address, admin.
//!
//! Never: waiting on a TLS handshake without an end.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use cloudsync_protocol::limits::HELLO_TIMEOUT;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::http;
use crate::shared::{Place, Shared};
use crate::sockets::accept;
use crate::throttle::{Handshake, Way};
use crate::tls::TLS_BUFFER_BYTES_MAX;

/// Connections of the admin listener, which are not among the clients'.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Serves HTTP over TLS.
pub(crate) async fn https(shared: Arc<Shared>, listener: TcpListener, tls: Arc<ServerConfig>, router: Router) {
    let acceptor = TlsAcceptor::from(tls);
    accept(shared, listener, move |shared, stream, peer| {
        let visitor = shared.throttles.visitor(peer.ip(), Way::Direct);
        // Nobody can be told before there is TLS, which is what costs.
        if visitor.connected().is_err() {
            return;
        }
        let (Some(handshake), Some(place)) = (shared.handshakes.begin(), shared.place(visitor)) else { return };
        let place = (place, handshake);
        let task = tls_connection(Arc::clone(shared), acceptor.clone(), (stream, peer), router.clone(), place);
        shared.spawn(task);
    })
    .await;
}

/// The TLS handshake, within [`HELLO_TIMEOUT`]; what follows has its own.
async fn tls_connection(
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    (stream, peer): (TcpStream, SocketAddr),
    router: Router,
    (place, handshake): (Place, Handshake),
) {
    match tokio::time::timeout(HELLO_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(mut stream)) => {
            drop(handshake);
            stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
            http::serve(&shared, stream, router, place).await;
        }
        Ok(Err(error)) => {
            shared.meters_websocket.handshake_failed("tls");
            debug!(%peer, %error, "no TLS handshake");
        }
        Err(_) => {
            shared.meters_websocket.handshake_failed("tls_timeout");
            debug!(%peer, "TLS handshake not finished in time");
        }
    }
}

/// Serves HTTP as it is; the listener is bound to a loopback address.
pub(crate) async fn plain(shared: Arc<Shared>, listener: TcpListener, router: Router) {
    accept(shared, listener, move |shared, stream, peer| {
        let visitor = shared.throttles.visitor(peer.ip(), Way::Proxy);
        if visitor.connected().is_err() {
            return;
        }
        let Some(place) = shared.place(visitor) else { return };
        let (serving, router) = (Arc::clone(shared), router.clone());
        shared.spawn(async move { http::serve(&serving, stream, router, place).await });
    })
    .await;
}

/// Serves health and metrics, whoever fills the clients' places.
pub(crate) async fn admin(shared: Arc<Shared>, listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    accept(shared, listener, move |shared, stream, peer| {
        let Some(place) = Place::among(&places, shared.throttles.visitor(peer.ip(), Way::Proxy)) else { return };
        let (serving, router) = (Arc::clone(shared), router.clone());
        shared.spawn(async move { http::serve(&serving, stream, router, place).await });
    })
    .await;
}
