//! moto, somebody else's S3 server, that ours is held against. `tests/setup-moto.sh` installs it.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::store::Store;

/// How long it may take to answer first, on a machine that does other things.
const START: Duration = Duration::from_mins(1);
/// How many requests make the user; it takes them unsigned.
const FOR_THE_USER: usize = 3;
/// The policy of a user who may do everything.
const EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// A running moto that checks signatures, with one user who may do everything. Dropped: stopped.
#[derive(Debug)]
pub struct Moto {
    /// How it is asked. The bucket does not exist yet.
    pub store: Store,
    child: Child,
}

impl Moto {
    /// Starts it on a free port of 127.0.0.1, with a user who may do everything.
    pub fn start() -> io::Result<Self> {
        Self::make(EVERYTHING, &[])
    }

    /// The same, with a user who may do what `policy` says, and the bucket `fleet` with these objects.
    pub fn start_with(policy: &str, objects: &[(&str, &str)]) -> io::Result<Self> {
        let bucket = [("/fleet".to_owned(), "")];
        let objects = objects
            .iter()
            .map(|&(key, text)| (format!("/fleet/{key}"), text));
        Self::make(
            policy,
            &bucket.into_iter().chain(objects).collect::<Vec<_>>(),
        )
    }

    /// `puts`: paths and bodies that are put before signatures are checked.
    fn make(policy: &str, puts: &[(String, &str)]) -> io::Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/moto/bin/moto_server");
        if !program.exists() {
            return Err(io::Error::other(
                "moto is not installed: run tests/setup-moto.sh",
            ));
        }
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        // Killed with the thread that starts it, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .env(
                "INITIAL_NO_AUTH_ACTION_COUNT",
                (FOR_THE_USER + puts.len()).to_string(),
            )
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut this = Self {
            store: Store {
                endpoint: format!("http://{address}"),
                bucket: "fleet".into(),
                access_key: String::new(),
                secret_key: String::new(),
            },
            child,
        };
        this.wait(address)?;
        for (path, body) in puts {
            unsigned(address, "s3", "PUT", path, body)?;
        }
        let iam = |form: &str| {
            let form = format!("Version=2010-05-08&{form}");
            unsigned(address, "iam", "POST", "/", &form)
        };
        iam("Action=CreateUser&UserName=agent")?;
        iam(&format!(
            "Action=PutUserPolicy&UserName=agent&PolicyName=it&PolicyDocument={}",
            escaped(policy)
        ))?;
        let keys = iam("Action=CreateAccessKey&UserName=agent")?;
        this.store.access_key = element(&keys, "AccessKeyId")?;
        this.store.secret_key = element(&keys, "SecretAccessKey")?;
        Ok(this)
    }

    fn wait(&mut self, address: SocketAddr) -> io::Result<()> {
        let since = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("moto ended: {status}")));
            }
            if since.elapsed() > START {
                return Err(io::Error::other("moto does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of the first few requests, whose signatures it does not check.
fn unsigned(
    address: SocketAddr,
    service: &str,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(START))?;
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(answer)
    } else {
        Err(io::Error::other(format!("moto answered: {answer}")))
    }
}

/// As a form has it.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut form, byte| {
        if byte.is_ascii_alphanumeric() {
            form.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(form, "%{byte:02X}");
        }
        form
    })
}

fn element(xml: &str, name: &str) -> io::Result<String> {
    xml.split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once("</"))
        .map(|(text, _)| text.to_owned())
        .ok_or_else(|| io::Error::other(format!("moto's IAM gave no {name}")))
}
