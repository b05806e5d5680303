//! Outbound proxies as the environment names them: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
//!
//! What is on this machine or on its link is asked directly, whatever `NO_PROXY` says: the instance's metadata service gives
//! the credentials of whoever asks it, and a proxy would get its own.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::error::ConnectorError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use hyper_util::client::proxy::matcher::Matcher;

/// The metadata service's address in IPv6: unique to the instance, though not of its link.
const METADATA_V6: &str = "fd00:ec2::254";

/// Which requests go through which proxy, and the client that sends them there.
pub(super) struct OutboundProxies {
    rules: Matcher,
    client: OnceLock<SharedHttpClient>,
}

impl fmt::Debug for OutboundProxies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OutboundProxies").finish_non_exhaustive()
    }
}

impl OutboundProxies {
    /// Those of the environment.
    pub(super) fn from_environment() -> Self {
        Self::new(Matcher::from_env())
    }

    const fn new(rules: Matcher) -> Self {
        Self {
            rules,
            client: OnceLock::new(),
        }
    }

    /// The proxy that a request to `uri` goes through, without its password. `None`: none.
    pub(super) fn of(&self, uri: &str) -> Option<Proxy> {
        let uri = uri.parse().ok()?;
        let proxy = self.rules.intercept(&uri)?;
        if is_at_hand(uri.host()?) {
            return None;
        }
        Some(Proxy(proxy.uri().to_string()))
    }

    /// The client that sends requests through proxies, made when it is first needed.
    pub(super) fn client(&self) -> &SharedHttpClient {
        self.client.get_or_init(|| {
            Builder::new().build_with_connector_fn(|settings, components| {
                let mut connector = Connector::builder();
                connector.set_connector_settings(settings.cloned());
                if let Some(components) = components {
                    connector.set_sleep_impl(components.sleep_impl());
                }
                connector
                    .proxy_config(ProxyConfig::from_env())
                    .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                    .build()
            })
        })
    }
}

/// Whether a host is this machine or what its link alone leads to.
fn is_at_hand(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || METADATA_V6.parse() == Ok(address)
        }
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

/// A proxy, by its address without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy(String);

impl Proxy {
    /// The same failure, with the word that it happened on the way through the proxy: who reads that the connection was
    /// refused looks at S3 first.
    pub(super) fn blame(&self, error: ConnectorError) -> ConnectorError {
        let (timeout, user, other) = (error.is_timeout(), error.is_user(), error.as_other());
        let is_io = error.is_io();
        let source = Box::new(ThroughProxy {
            proxy: self.clone(),
            source: error.into_source(),
        });
        if timeout {
            ConnectorError::timeout(source)
        } else if is_io {
            ConnectorError::io(source)
        } else if user {
            ConnectorError::user(source)
        } else {
            ConnectorError::other(source, other)
        }
    }
}

/// A request failed on its way through a proxy.
#[derive(Debug)]
struct ThroughProxy {
    proxy: Proxy,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for ThroughProxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "through the proxy {} (from the environment: HTTPS_PROXY and the like; hosts in NO_PROXY are reached without it)",
            self.proxy.0.trim_end_matches('/')
        )
    }
}

impl Error for ThroughProxy {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> OutboundProxies {
        let rules = Matcher::builder()
            .https("http://user:secret@proxy.example.com:3128")
            .http("http://plain.example.com:8080")
            .no("s3.internal, 10.0.0.0/8");
        OutboundProxies::new(rules.build())
    }

    #[test]
    fn each_scheme_has_its_proxy_and_passwords_are_not_shown() {
        let of = |uri| proxies().of(uri).map(|proxy| proxy.0);
        let https = of("https://bucket.s3.eu-west-1.amazonaws.com/fleet.json");
        assert_eq!(https.unwrap(), "http://proxy.example.com:3128/");
        let http = of("http://s3.example.com:9000/bucket");
        assert_eq!(http.unwrap(), "http://plain.example.com:8080/");
        assert_eq!(of("https://s3.internal/"), None);
        assert_eq!(of("https://10.1.2.3/"), None);
        let none = OutboundProxies::new(Matcher::builder().build());
        assert_eq!(none.of("https://s3.example.com/"), None);
    }

    #[test]
    fn what_is_on_this_machine_or_its_link_is_never_asked_through_a_proxy() {
        for uri in [
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://[fd00:ec2::254]/latest/api/token",
            "http://[fe80::1]/",
            "http://127.0.0.1:9000/",
            "http://[::1]:9000/",
            "http://localhost:9000/",
        ] {
            assert_eq!(proxies().of(uri), None, "{uri}");
        }
        assert_ne!(proxies().of("http://192.0.2.1/"), None);
    }

    #[test]
    fn a_failure_stays_of_its_kind_and_names_the_proxy() {
        let proxy = Proxy("http://proxy.example.com:3128/".into());
        let refused = || Box::<dyn Error + Send + Sync>::from("connection refused");
        assert!(proxy.blame(ConnectorError::timeout(refused())).is_timeout());
        assert!(proxy.blame(ConnectorError::user(refused())).is_user());
        assert!(
            proxy
                .blame(ConnectorError::other(refused(), None))
                .is_other()
        );
        let blamed = proxy.blame(ConnectorError::io(refused()));
        assert!(blamed.is_io());
        let source = blamed.into_source();
        let told = crate::system::chain(source.as_ref());
        assert!(
            told.starts_with("through the proxy http://proxy.example.com:3128 ("),
            "{told}"
        );
        assert!(told.ends_with("): connection refused"), "{told}");
    }
}
