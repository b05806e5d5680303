//! The HTTP client under the SDK: TLS and its root certificates are loaded by the first `https://` request.
//!
//! A daemon that speaks plain HTTP to a local endpoint, or that only reads instance metadata, never pays for them.

use std::sync::{Arc, OnceLock};

use aws_sdk_s3::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// The two clients, of which the second is made when it is first needed.
#[derive(Debug)]
struct Clients {
    plain: SharedHttpClient,
    tls: OnceLock<SharedHttpClient>,
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
        let client = if request.uri().starts_with("https:") {
            self.clients.tls()
        } else {
            &self.clients.plain
        };
        client
            .http_connector(&self.settings, &self.components)
            .call(request)
    }
}

/// An HTTP client for the SDK that makes what it needs when it needs it.
pub(super) fn lazy_http_client() -> SharedHttpClient {
    let clients = Arc::new(Clients {
        plain: Builder::new().build_http(),
        tls: OnceLock::new(),
    });
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(ByScheme {
            clients: Arc::clone(&clients),
            settings: settings.clone(),
            components: components.clone(),
        })
    })
}
