//! Whether another server is alive: asked what a visitor or a client would ask it, over the network.
//!
//! Dead is who does not answer at all. A wrong answer is one: whether a server answers as it should, it finds out itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::apply::tls;
use crate::fleet::{EvictPart, Product};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(3);
/// How long an answer may take, connecting included.
const ANSWERING: Duration = Duration::from_secs(10);

/// What a server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LivenessQuestion {
    /// A site, as a visitor asks for it.
    Site {
        /// The port.
        port: u16,
        /// Whether it speaks TLS there.
        tls: bool,
        /// The site's first name.
        host: String,
        /// The path.
        path: String,
    },
    /// A memcached: its version.
    Memcached {
        /// The port.
        port: u16,
    },
}

/// What a server of a product is asked in one part; all must be answered.
pub fn questions(product: &Product, part: EvictPart) -> Vec<LivenessQuestion> {
    match part {
        EvictPart::Web => {
            // What its smoke tests ask for first is what it is there for.
            let tested = product.smoke.first();
            let site = tested.and_then(|test| product.sites.get(&test.site));
            let path = site.and(tested).map_or("/", |test| test.path.as_str());
            let site = site.or_else(|| product.sites.values().next());
            let site =
                site.and_then(|site| Some((site, site.domains.first()?, site.ports().next()?)));
            site.map(|(site, domain, port)| LivenessQuestion::Site {
                port: port.get(),
                tls: site.tls.is_some(),
                host: domain.to_string(),
                path: path.to_owned(),
            })
            .into_iter()
            .collect()
        }
        EvictPart::Cache => (product.all_caches())
            .filter_map(|(_, cache)| cache.port)
            .map(|port| LivenessQuestion::Memcached { port: port.get() })
            .collect(),
    }
}

/// Asks a server all of these, within 10 seconds each. The error says which one it did not answer, and how.
pub async fn is_alive(address: IpAddr, questions: &[LivenessQuestion]) -> Result<(), String> {
    for question in questions {
        let port = match question {
            LivenessQuestion::Site { port, .. } | LivenessQuestion::Memcached { port } => *port,
        };
        let at = SocketAddr::new(address, port);
        let asked = timeout(ANSWERING, ask(at, question)).await;
        let answered = asked.unwrap_or_else(|_| {
            let secs = ANSWERING.as_secs();
            Err(format!("no answer within {secs} s"))
        });
        answered.map_err(|why| format!("{at}: {why}"))?;
    }
    Ok(())
}

async fn ask(at: SocketAddr, question: &LivenessQuestion) -> Result<(), String> {
    let connected = timeout(CONNECTING, TcpStream::connect(at)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no connection within {} s", CONNECTING.as_secs())),
    };
    // Who took the connection lives, whatever it makes of the rest: only silence counts from here on.
    let spoken = match question {
        LivenessQuestion::Site {
            tls: true,
            host,
            path,
            ..
        } => match tls::over(stream, host).await {
            Ok(stream) => exchange(stream, head(host, path, at).as_bytes()).await,
            Err(error) => Err(error),
        },
        LivenessQuestion::Site { host, path, .. } => {
            exchange(stream, head(host, path, at).as_bytes()).await
        }
        LivenessQuestion::Memcached { .. } => exchange(stream, b"version\r\n").await,
    };
    match spoken {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn head(host: &str, path: &str, at: SocketAddr) -> String {
    let host = match at.port() {
        80 | 443 => host.to_owned(),
        port => format!("{host}:{port}"),
    };
    format!(
        "HEAD {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: node-agent liveness\r\nConnection: close\r\n\r\n"
    )
}

/// Sends it, and waits for the first byte of an answer, or the end.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> io::Result<()> {
    stream.write_all(request).await?;
    let mut first = [0_u8; 1];
    stream.read(&mut first).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn product(json: &str) -> Product {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_site_is_asked_for_what_its_first_smoke_test_asks_for_and_each_memcached_for_its_version() {
        let shop = product(
            r#"{"sites": {
                    "api": {"domains": ["api.example.com"], "root": "/srv/api", "port": 8080},
                    "www": {"domains": ["www.example.com"], "root": "/srv/www",
                            "tls": {"certificate": "/etc/www.pem", "key": {"secret": {"file": "/etc/www.key"}}}}},
                "smoke": [{"site": "www", "path": "/health"}],
                "cache": {"port": 11211, "memory": "64M"},
                "caches": {"here": {"socket": true, "memory": "64M"}, "pages": {"port": 11212, "memory": "64M"}}}"#,
        );
        let [
            LivenessQuestion::Site {
                port,
                tls,
                host,
                path,
            },
        ] = &questions(&shop, EvictPart::Web)[..]
        else {
            panic!()
        };
        assert_eq!(
            (*port, *tls, host.as_str(), path.as_str()),
            (443, true, "www.example.com", "/health")
        );
        let ports: Vec<LivenessQuestion> = questions(&shop, EvictPart::Cache);
        let memcached = |port| LivenessQuestion::Memcached { port };
        assert_eq!(ports, [memcached(11211), memcached(11212)]);
        assert!(questions(&product("{}"), EvictPart::Web).is_empty());
    }

    #[tokio::test]
    async fn who_answers_anything_lives_and_who_is_not_there_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let site = |tls| LivenessQuestion::Site {
            port: at.port(),
            tls,
            host: "www.example.com".into(),
            path: "/".into(),
        };
        let questions = [
            site(false),
            site(true),
            LivenessQuestion::Memcached { port: at.port() },
        ];
        let served = tokio::spawn(async move {
            // Neither HTTP nor TLS nor memcached; and once the connection is closed without a word.
            for index in 0..4 {
                let (mut stream, _) = listener.accept().await.unwrap();
                if index < 3 {
                    let mut asked = [0; 512];
                    let _ = stream.read(&mut asked).await.unwrap();
                    stream.write_all(b"ERROR\r\n").await.unwrap();
                }
            }
        });
        assert_eq!(is_alive(at.ip(), &questions).await, Ok(()));
        assert_eq!(is_alive(at.ip(), &[site(false)]).await, Ok(()));
        served.await.unwrap();
        let dead = is_alive(at.ip(), &questions).await.unwrap_err();
        assert!(dead.contains("refused"), "{dead}");
    }
}
