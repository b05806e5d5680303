//! Puts standard input into a bucket as one object: for other network namespaces, and for trying things by hand.

use std::io::Read;
use std::time::Duration;

use clap::Parser;
use node_agent::bucket::Bucket;
use node_agent::settings::{BucketUrl, S3Settings};

/// Puts standard input into a bucket as one object.
#[derive(Debug, Parser)]
struct Options {
    /// The S3 service: `http://address:port`.
    #[arg(long)]
    endpoint: String,
    /// The bucket.
    #[arg(long, default_value = "fleet")]
    bucket: String,
    /// The access key.
    #[arg(long)]
    access_key: String,
    /// Its secret.
    #[arg(long)]
    secret_key: String,
    /// The object's key.
    key: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let url = BucketUrl::S3 {
        bucket: options.bucket,
        prefix: String::new(),
    };
    let settings = S3Settings {
        endpoint: Some(options.endpoint),
        region: Some("us-east-1".into()),
        path_style: true,
        timeout: Duration::from_secs(10),
    };
    let bucket = Bucket::open_as(&url, &settings, &options.access_key, &options.secret_key);
    Box::pin(bucket.put(&options.key, bytes, None)).await?;
    Ok(())
}
