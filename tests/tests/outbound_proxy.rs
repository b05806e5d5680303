//! Promise: a machine that reaches S3 through an outbound proxy only needs `HTTPS_PROXY` in the agent's environment, and is told
//! where the proxy is in the way.

#![cfg(test)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use node_agent_tests::agent::Scratch;
use node_agent_tests::machine::{Output, built, run};
use node_agent_tests::s3::S3Server;

const DOCUMENT: &str = include_str!("../fleets/heavy.json");
/// A name that nobody resolves but the proxy.
const S3: &str = "s3.example.test";
/// `user:secret`, as basic authorization has it.
const AUTHORIZATION: &str = "Basic dXNlcjpzZWNyZXQ=";
const DEADLINE: Duration = Duration::from_mins(1);

/// Ends TLS before an HTTP server: with a certificate and a key, to a port of this machine. Prints its own.
const TLS_FRONT: &str = r"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        try:
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
def serve(client):
    try:
        client = context.wrap_socket(client, server_side=True)
    except (OSError, ssl.SSLError):
        return
    server = socket.create_connection(('127.0.0.1', int(sys.argv[3])))
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

/// What a request's first lines say to a proxy.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    authorization: Option<String>,
}

/// An outbound proxy that knows one name, `s3.example.test`: port 443 is `tls`, any other `plain`.
struct HttpProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl HttpProxy {
    fn start(plain: SocketAddr, tls: SocketAddr, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let record = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let record = Arc::clone(&record);
                thread::spawn(move || serve(client, &record, plain, tls, authorization));
            }
        });
        Self { address, asked }
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    client: TcpStream,
    record: &Mutex<Vec<Asked>>,
    plain: SocketAddr,
    tls: SocketAddr,
    authorization: Option<&str>,
) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let asked = Asked {
        line: head.lines().next().unwrap_or_default().to_owned(),
        authorization: head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
            .map(|(_, value)| value.to_owned()),
    };
    record.lock().unwrap().push(asked.clone());
    let mut client = client;
    if authorization.is_some() && asked.authorization.as_deref() != authorization {
        let _ = client.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"out\"\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return;
    }
    if !asked.line.contains(S3) {
        let _ = client
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let tunnel = asked.line.starts_with("CONNECT ");
    let Ok(mut server) = TcpStream::connect(if tunnel { tls } else { plain }) else {
        return;
    };
    if tunnel {
        let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    } else {
        let _ = server.write_all(head.as_bytes());
    }
    let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let answers = thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut reader, &mut server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = answers.join();
}

/// A running TLS front, stopped when dropped.
struct TlsFront {
    process: Child,
    address: SocketAddr,
    certificate: PathBuf,
}

impl TlsFront {
    fn start(dir: &Path, before: SocketAddr) -> Self {
        let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
        let made = run(
            &[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=s3.example.test",
                "-addext",
                "subjectAltName=DNS:s3.example.test",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                key.to_str().unwrap(),
                "-out",
                certificate.to_str().unwrap(),
            ],
            b"",
            DEADLINE,
        );
        assert!(made.as_ref().unwrap().success(), "{made:?}");
        let mut process = Command::new("python3")
            .args(["-c", TLS_FRONT])
            .args([&certificate, &key])
            .arg(before.port().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().unwrap();
        Self {
            process,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            certificate,
        }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One run of the agent whose bucket is at `endpoint`, with this environment and no other.
fn once(endpoint: &str, server: &S3Server, environment: &[String]) -> (Scratch, Output) {
    let config = format!(
        "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\nnode = \"web-1\"\n\
         [s3]\nendpoint = \"{endpoint}\"\npath_style = true\ntimeout = \"5s\"\n"
    );
    let scratch = Scratch::new(&config).unwrap();
    let mut argv = vec!["env".to_owned(), "-i".to_owned()];
    let own = server.env();
    argv.extend(own.iter().map(|(name, value)| format!("{name}={value}")));
    argv.extend_from_slice(environment);
    argv.push(built("agentd").unwrap().display().to_string());
    argv.extend(["--once".into(), "--root".into()]);
    argv.push(scratch.root().display().to_string());
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let output = run(&argv, b"", DEADLINE).unwrap();
    (scratch, output)
}

fn applied(scratch: &Scratch) -> bool {
    scratch.read("/etc/hosts").contains("mysql-master")
}

fn server() -> S3Server {
    let server = S3Server::start().unwrap();
    server.put("prod/fleet.json", DOCUMENT);
    server
}

#[test]
fn https_goes_through_a_tunnel_and_nobody_on_the_way_sees_what() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let front = TlsFront::start(dir.path(), server.address);
    let proxy = HttpProxy::start(server.address, front.address, Some(AUTHORIZATION));
    let certificates = format!("SSL_CERT_FILE={}", front.certificate.display());
    let endpoint = format!("https://{S3}");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let through = format!("{variable}={}", proxy.url("user:secret@"));
        let (scratch, output) = once(&endpoint, &server, &[through, certificates.clone()]);
        assert!(applied(&scratch), "{output:?}");
        let asked = proxy.asked();
        let last = asked.last().unwrap();
        assert_eq!(last.line, format!("CONNECT {S3}:443 HTTP/1.1"));
        assert_eq!(last.authorization.as_deref(), Some(AUTHORIZATION));
    }

    // A proxy that wants to know who is asking says so, and the password of nobody is shown.
    let wrong = format!("HTTPS_PROXY={}", proxy.url("user:guess@"));
    let (scratch, output) = once(&endpoint, &server, &[wrong, certificates]);
    assert!(!applied(&scratch));
    let told = output.stdout + &output.stderr;
    let named = format!("through the proxy {}", proxy.url(""));
    assert!(told.contains(&named), "{told}");
    assert!(told.contains("proxy authorization required"), "{told}");
    assert!(!told.contains("guess"), "{told}");
}

#[test]
fn plain_http_goes_through_its_own_proxy_and_what_is_near_through_none() {
    let server = server();
    let proxy = HttpProxy::start(server.address, server.address, Some(AUTHORIZATION));
    let endpoint = format!("http://{S3}:9000");
    let through = format!("HTTP_PROXY={}", proxy.url("user:secret@"));
    let (scratch, output) = once(&endpoint, &server, &[through]);
    assert!(applied(&scratch), "{output:?}");
    let asked = proxy.asked();
    assert!(!asked.is_empty());
    for request in &asked {
        let wanted = format!("GET {endpoint}/");
        assert!(request.line.starts_with(&wanted), "{request:?}");
        assert_eq!(request.authorization.as_deref(), Some(AUTHORIZATION));
    }

    let nameless = format!("http_proxy={}", proxy.url(""));
    let (_, output) = once(&endpoint, &server, std::slice::from_ref(&nameless));
    let told = output.stdout + &output.stderr;
    let wanted = "the proxy answered 407; it wants a user and a password";
    assert!(told.contains(wanted), "{told}");

    let gone = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let closed = format!("HTTP_PROXY=http://{gone}");
    let (_, output) = once(&endpoint, &server, std::slice::from_ref(&closed));
    let told = output.stdout + &output.stderr;
    let named = format!("through the proxy http://{gone}");
    assert!(told.contains(&named), "{told}");

    // This machine itself is asked directly, whatever the environment says.
    let before = proxy.asked().len();
    let near = format!("http://{}", server.address);
    let (scratch, output) = once(&near, &server, &[closed, nameless]);
    assert!(applied(&scratch), "{output:?}");
    assert_eq!(proxy.asked().len(), before);
}
