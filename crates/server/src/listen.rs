//! The listener loop: accepts connections, and when told to stop lets the calls
//! in flight finish.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Most streams one connection may hold open; what bounds streaming calls.
const MAX_STREAMS: u32 = 1024;
/// Bytes a client may have in flight per stream and per connection: a batch of
/// events fits without waiting for a window update.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How often a silent connection is probed, and how long it may take to answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which protocols a listener speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// HTTP/2 without TLS, as gRPC needs it.
    Grpc,
    /// HTTP/1.1, and HTTP/2 for those who ask.
    Http,
}

/// Serves until `closing` is cancelled, then for at most `drain` what is in
/// flight, and then closes what is still open.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    protocol: Protocol,
    drain: Duration,
    closing: CancellationToken,
) {
    let builder = builder(protocol);
    let connections = GracefulShutdown::new();
    // Closes every connection when this function ends, however it does.
    let closed = CancellationToken::new();
    let _close = closed.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                serve(stream, router.clone(), &builder, &connections, closed.clone())
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let open = connections.count();
    if tokio::time::timeout(drain, connections.shutdown()).await.is_err() {
        tracing::warn!(?protocol, connections = open, "calls did not finish in time");
    }
}

fn builder(protocol: Protocol) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder.http1().timer(TokioTimer::new());
    match protocol {
        Protocol::Grpc => builder.http2_only(),
        Protocol::Http => builder,
    }
}

fn serve(
    stream: TcpStream,
    router: Router,
    builder: &Builder<TokioExecutor>,
    connections: &GracefulShutdown,
    closed: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "no TCP_NODELAY");
    }
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            () = closed.cancelled() => {}
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(error, "connection ended");
                }
            }
        }
    });
}
