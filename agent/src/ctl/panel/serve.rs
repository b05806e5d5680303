//! The panel's connections: few at a time, each with a deadline for what it asks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::work::Panel;
use super::{guard, pages};

/// The most connections at a time: more than a person with some tabs has.
const CONNECTIONS: usize = 64;
/// The most bytes of a form: a document of ten thousand servers, as forms are encoded.
const LARGEST_FORM: usize = 16 * 1024 * 1024;
/// How long a connection may be silent or send its headers.
const SILENCE: Duration = Duration::from_secs(30);
/// After a failure to take a connection (no descriptors).
const PAUSE: Duration = Duration::from_millis(200);

/// All addresses of the panel.
fn router(panel: Arc<Panel>) -> Router {
    Router::new()
        .route("/", get(pages::fleet::fleet))
        .route("/enter", get(guard::enter))
        .route("/style.css", get(guard::style))
        .route(
            "/server/{name}",
            get(pages::server::server).post(pages::server::edit),
        )
        .route("/products", get(pages::product::products))
        .route(
            "/product/{name}",
            get(pages::product::product).post(pages::product::edit),
        )
        .route(
            "/unknown",
            get(pages::unknown::unknown).post(pages::unknown::assign),
        )
        .route("/log", get(pages::log::log).post(pages::log::take))
        .route("/draft", get(pages::draft::draft).post(pages::draft::edit))
        .route("/draft/take-over", post(pages::draft::take_over))
        .route("/draft/discard", post(pages::draft::discard))
        .route("/plan", get(pages::plan::plan))
        .route("/plan/{name}", get(pages::plan::one))
        .route(
            "/publish",
            get(pages::plan::publishing).post(pages::plan::publish),
        )
        .fallback(pages::nothing)
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .layer(from_fn_with_state(Arc::clone(&panel), guard::guard))
        .with_state(panel)
}

/// Serves until the process is told to stop.
pub(super) async fn serve(listener: TcpListener, panel: Arc<Panel>) {
    let router = router(panel);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = tokio::signal::ctrl_c() => return,
            () = async { match &mut terminate { Some(signal) => { signal.recv().await; } None => std::future::pending().await } } => return,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _place = place;
            // A browser that goes away in the middle is no news.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(SILENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    Some((stream, place))
}
