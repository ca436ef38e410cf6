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
/// How long a new connection may take to say which protocol it speaks. Afterwards
/// HTTP/1 has the time limit of its headers, and HTTP/2 is probed.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// What HTTP/2 begins with, <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a greeting that is not complete.
const GREETING_PAUSE: Duration = Duration::from_millis(50);
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
                let ends = [closing.clone(), closed.clone()];
                serve(stream, router.clone(), &builder, &connections, ends)
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
    [closing, closed]: [CancellationToken; 2],
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "no TCP_NODELAY");
    }
    let (builder, watcher) = (builder.clone(), connections.watcher());
    tokio::spawn(async move {
        let greeted = tokio::select! {
            () = closing.cancelled() => return,
            greeted = tokio::time::timeout(GREETING_TIMEOUT, greeting(&stream)) => greeted,
        };
        if !matches!(greeted, Ok(Ok(()))) {
            tracing::debug!("a connection said nothing");
            return;
        }
        let service = TowerToHyperService::new(router);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            () = closed.cancelled() => {}
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(error, "connection ended");
                }
            }
        }
    });
}

/// Waits until a client has said enough to tell its protocol by: the whole
/// preface of HTTP/2, or something else. Without this, whoever connects and keeps
/// silent holds a connection for ever.
async fn greeting(stream: &TcpStream) -> std::io::Result<()> {
    let mut said = [0u8; HTTP2_PREFACE.len()];
    loop {
        let bytes = stream.peek(&mut said).await?;
        let so_far = &said[..bytes];
        if bytes == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if bytes == HTTP2_PREFACE.len() || !HTTP2_PREFACE.starts_with(so_far) {
            return Ok(());
        }
        // What was peeked at stays readable, so there is nothing to wait for but time.
        tokio::time::sleep(GREETING_PAUSE).await;
    }
}
