//! moto, somebody else's S3 server, that ours is held against. `tests/setup-moto.sh` installs it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::store::Store;

/// How long it may take to answer first, on a machine that does other things.
const START: Duration = Duration::from_mins(1);
/// How many requests it takes unsigned: those that make the user.
const UNSIGNED: &str = "3";

/// A running moto that checks signatures, with one user who may do everything. Dropped: stopped.
#[derive(Debug)]
pub struct Moto {
    /// How it is asked. The bucket does not exist yet.
    pub store: Store,
    child: Child,
}

impl Moto {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Self> {
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
            .env("INITIAL_NO_AUTH_ACTION_COUNT", UNSIGNED)
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
        let iam = |form: &str| iam(address, form);
        iam("Action=CreateUser&UserName=agent")?;
        iam(concat!(
            "Action=PutUserPolicy&UserName=agent&PolicyName=all&PolicyDocument=",
            "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22",
            "%2C%22Action%22%3A%22*%22%2C%22Resource%22%3A%22*%22%7D%5D%7D"
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

/// One request to its IAM, which takes the first few unsigned.
fn iam(address: SocketAddr, form: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(START))?;
    let body = format!("Version=2010-05-08&{form}");
    write!(
        connection,
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=x\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(answer)
    } else {
        Err(io::Error::other(format!("moto's IAM answered: {answer}")))
    }
}

fn element(xml: &str, name: &str) -> io::Result<String> {
    xml.split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once("</"))
        .map(|(text, _)| text.to_owned())
        .ok_or_else(|| io::Error::other(format!("moto's IAM gave no {name}")))
}
