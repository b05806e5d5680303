//! An S3 bucket somewhere, and the clients that tests ask it with.

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use node_agent::bucket::Bucket;
use node_agent::settings::{BucketUrl, S3Settings};

/// Where a bucket is and who may use it.
#[derive(Debug, Clone)]
pub struct Store {
    /// `http://address:port`.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// An access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
}

impl Store {
    /// The agent's own client.
    pub fn agent(&self, timeout: Duration) -> Bucket {
        self.agent_under("", timeout)
    }

    /// The same, whose objects lie under a prefix.
    pub fn agent_under(&self, prefix: &str, timeout: Duration) -> Bucket {
        let url = BucketUrl::S3 {
            bucket: self.bucket.clone(),
            prefix: prefix.into(),
        };
        let settings = S3Settings {
            endpoint: Some(self.endpoint.clone()),
            region: Some("us-east-1".into()),
            path_style: true,
            timeout,
        };
        Bucket::open_as(&url, &settings, &self.access_key, &self.secret_key)
    }

    /// The SDK as it comes, but for retries, of which there are none: for requests that the agent does not make itself.
    pub fn sdk(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(self.sdk_config().build())
    }

    /// The settings of [`Store::sdk`], for tests that change them.
    pub fn sdk_config(&self) -> aws_sdk_s3::config::Builder {
        let credentials = Credentials::new(&self.access_key, &self.secret_key, None, None, "test");
        self.unsigned().credentials_provider(credentials)
    }

    /// The SDK without credentials: its requests are not signed.
    pub fn anonymous(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(self.unsigned().allow_no_auth().build())
    }

    fn unsigned(&self) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(Region::from_static("us-east-1"))
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
    }
}
