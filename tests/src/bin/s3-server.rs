//! The test harness's S3-protocol server as a program: for other network namespaces, and for trying things by hand.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use node_agent_tests::s3::{Access, S3Server};

/// An S3-protocol server with one bucket in memory. For tests only.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The name of the one bucket.
    #[arg(long, default_value = "fleet")]
    bucket: String,
    /// The one access key.
    #[arg(long, default_value = "AKIATESTONLY00000000")]
    access_key: String,
    /// Its secret.
    #[arg(long, default_value = "only-for-tests-on-loopback")]
    secret_key: String,
    /// Stop after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 600)]
    seconds: u64,
    /// Objects to start with: KEY=FILE.
    #[arg(long = "object", value_name = "KEY=FILE")]
    objects: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "the endpoint is this program's output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let access = Access {
        bucket: options.bucket,
        access_key: options.access_key,
        secret_key: options.secret_key,
    };
    let server = S3Server::start_at(options.listen, access)?;
    for object in &options.objects {
        let (key, file) = object.split_once('=').ok_or("--object takes KEY=FILE")?;
        server.put(key, std::fs::read(file)?);
    }
    println!("{}", server.endpoint);
    std::thread::sleep(Duration::from_secs(options.seconds));
    Ok(())
}
