//! The HTTP client under the SDK: TLS and its root certificates are loaded by the first `https://` request, and answers
//! that the SDK keeps in memory are bounded.
//!
//! A daemon that speaks plain HTTP to a local endpoint, or that only reads instance metadata, never pays for TLS.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use aws_sdk_s3::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use bytes::Bytes;
use http_body::{Body, Frame};

use super::outbound_proxy::OutboundProxies;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The most of an answer that is no success, in bytes: S3's have less than 2 KiB.
const LARGEST_ERROR: usize = 64 * 1024;
/// The most of an answer that is no object, in bytes: a list of 1000 keys of 1 KiB, all escaped, has less.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The clients: for plain HTTP, for TLS, and for what goes through a proxy. The others are made when they are first needed.
#[derive(Debug)]
struct Clients {
    plain: SharedHttpClient,
    tls: OnceLock<SharedHttpClient>,
    proxies: OutboundProxies,
}

impl Clients {
    fn tls(&self) -> &SharedHttpClient {
        self.tls.get_or_init(|| {
            Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .build_https()
        })
    }
}

/// Picks the client by the request's scheme. The clients keep the connectors and their pools.
#[derive(Debug)]
struct ByScheme {
    clients: Arc<Clients>,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for ByScheme {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let proxy = self.clients.proxies.of(request.uri());
        let client = if proxy.is_some() {
            self.clients.proxies.client()
        } else if request.uri().starts_with("https:") {
            self.clients.tls()
        } else {
            &self.clients.plain
        };
        // The one answer that the SDK hands on as it comes; whoever reads it has a limit.
        let streamed = request.uri().contains("x-id=GetObject");
        let answer = client
            .http_connector(&self.settings, &self.components)
            .call(request);
        HttpConnectorFuture::new(async move {
            match (answer.await, proxy) {
                (Ok(answer), _) => Ok(bounded(answer, streamed)),
                (Err(error), Some(proxy)) => Err(proxy.blame(error)),
                (Err(error), None) => Err(error),
            }
        })
    }
}

/// An answer of which no more is read than a good server sends.
fn bounded(mut answer: HttpResponse, streamed: bool) -> HttpResponse {
    let success = answer.status().is_success();
    if success && streamed {
        return answer;
    }
    let limit = if success {
        LARGEST_ANSWER
    } else {
        LARGEST_ERROR
    };
    if !success {
        // What is cut must not look cut short: the status says enough.
        answer.headers_mut().remove("content-length");
    }
    answer.map(|body| {
        SdkBody::from_body_1_x(Bounded {
            body,
            left: limit,
            whole: success,
        })
    })
}

/// A body that ends after so many bytes: with an error, where only the whole is of use.
struct Bounded {
    body: SdkBody,
    left: usize,
    whole: bool,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 && !self.whole {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    if data.len() > self.left {
                        if self.whole {
                            return Poll::Ready(Some(Err("the answer is too long".into())));
                        }
                        data.truncate(self.left);
                    }
                    self.left -= data.len();
                    Some(Ok(Frame::data(data)))
                }
                Err(trailers) => Some(Ok(trailers)),
            },
            other => other,
        })
    }
}

/// An HTTP client for the SDK that makes what it needs when it needs it.
pub(super) fn lazy_http_client() -> SharedHttpClient {
    let clients = Arc::new(Clients {
        plain: Builder::new().build_http(),
        tls: OnceLock::new(),
        proxies: OutboundProxies::from_environment(),
    });
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(ByScheme {
            clients: Arc::clone(&clients),
            settings: settings.clone(),
            components: components.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::ByteStream;

    use super::*;

    /// What is read of a body of so many bytes, and whether its length is still announced.
    async fn read(status: u16, size: usize, streamed: bool) -> (Option<usize>, bool) {
        let mut answer =
            HttpResponse::new(status.try_into().unwrap(), SdkBody::from(vec![b'x'; size]));
        answer
            .headers_mut()
            .insert("content-length", size.to_string());
        let answer = bounded(answer, streamed);
        let announced = answer.headers().contains_key("content-length");
        let read = ByteStream::new(answer.into_body()).collect().await;
        (read.ok().map(|read| read.to_vec().len()), announced)
    }

    #[tokio::test]
    async fn errors_are_cut_lists_are_refused_and_objects_go_through() {
        assert_eq!(read(500, 100, false).await, (Some(100), false));
        assert_eq!(read(500, 1 << 20, true).await, (Some(LARGEST_ERROR), false));
        assert_eq!(
            read(200, LARGEST_ANSWER, false).await,
            (Some(LARGEST_ANSWER), true)
        );
        assert_eq!(read(200, LARGEST_ANSWER + 1, false).await, (None, true));
        assert_eq!(
            read(200, LARGEST_ANSWER + 1, true).await,
            (Some(LARGEST_ANSWER + 1), true)
        );
    }
}
