//! The HTTP side: connections, the log of requests, and what an answer 304 may not have.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::backend::Backend;
use super::{Access, Request, Shared};

/// Serves until `stop` is sent or dropped.
pub(super) async fn serve(
    listener: TcpListener,
    access: Access,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut builder = S3ServiceBuilder::new(Backend::new(&access.bucket, Arc::clone(&shared)));
    builder.set_auth(SimpleAuth::from_single(
        access.access_key,
        access.secret_key.as_str(),
    ));
    let server = Arc::new(Server {
        service: builder.build(),
        root: format!("/{}", access.bucket),
        shared,
        answered: AtomicU64::new(0),
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    let answer = service_fn(move |request| {
                        let server = Arc::clone(&server);
                        async move { Ok::<_, Infallible>(server.answer(request).await) }
                    });
                    // A connection that breaks is the client's affair.
                    let _ = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        }
    }
}

struct Server {
    service: S3Service,
    /// `/bucket`.
    root: String,
    shared: Arc<Shared>,
    answered: AtomicU64,
}

impl Server {
    async fn answer(&self, request: http::Request<Incoming>) -> Response<Body> {
        let method = request.method().to_string();
        let path = request.uri().path();
        let key = path.strip_prefix(&self.root).unwrap_or(path);
        let key = key.trim_start_matches('/').to_owned();

        let mut answer = self
            .service
            .call(request.map(Body::from))
            .await
            .unwrap_or_else(|_| {
                let mut broken = Response::new(Body::empty());
                *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                broken
            });
        if answer.status() == StatusCode::NOT_MODIFIED {
            *answer.body_mut() = Body::empty();
            answer.headers_mut().remove(CONTENT_TYPE);
            answer.headers_mut().remove(CONTENT_LENGTH);
        }
        let number = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if let Ok(id) = HeaderValue::from_str(&format!("TEST{number:012}")) {
            let name = HeaderName::from_static("x-amz-request-id");
            answer.headers_mut().insert(name, id);
        }
        let sent = if method == "HEAD" {
            0
        } else {
            answer.body().size_hint().exact().unwrap_or_default()
        };
        self.shared.requests().push(Request {
            method,
            key,
            status: answer.status().as_u16(),
            sent,
        });
        answer
    }
}
