//! A bucket that speaks S3, through the SDK. What S3's answers mean is in [`answer`].

mod answer;

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStreamError;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::https::lazy_http_client;
use super::{BucketErrorKind, Condition, Failure, Fetched, Tag};
use crate::settings::S3Settings;

/// How long a TCP connection may take, unless the whole request has less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the metadata service is asked for one thing: it is on the same host, and the next poll asks again.
const METADATA_ATTEMPTS: u32 = 2;
/// The region to sign for where an endpoint is set and nobody names a region: most S3 servers take any.
const ANY_REGION: &str = "us-east-1";

/// A bucket on an S3 server.
#[derive(Debug)]
pub(super) struct S3Bucket {
    bucket: String,
    prefix: String,
    settings: S3Settings,
    /// In place of the standard chain.
    credentials: Option<Credentials>,
    /// Made by the first request: region and credentials may have to be asked for.
    client: OnceCell<Client>,
}

impl S3Bucket {
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        settings: &S3Settings,
        credentials: Option<(&str, &str)>,
    ) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.into(),
            settings: settings.clone(),
            credentials: credentials
                .map(|(key, secret)| Credentials::new(key, secret, None, None, "given")),
            client: OnceCell::new(),
        }
    }

    fn full_key(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            key.into()
        } else {
            format!("{}/{key}", self.prefix)
        }
    }

    pub(super) async fn get(
        &self,
        key: &str,
        known: Option<&Tag>,
        limit: u64,
    ) -> Result<Fetched, Failure> {
        let answer = self
            .client()
            .await?
            .get_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .set_if_none_match(known.map(|tag| tag.0.clone()))
            .send()
            .await;
        match answer {
            Ok(object) => {
                let tag = Tag(object.e_tag().unwrap_or_default().into());
                let bytes = read_body(object, limit).await?;
                Ok(Fetched::Object { bytes, tag })
            }
            // Without a tag to compare, 304 says nothing: let it be an answer that is not as it should be.
            Err(error) if known.is_some() && answer::is_not_modified(&error) => {
                Ok(Fetched::Unchanged)
            }
            Err(error) => Err(answer::failure(error)),
        }
    }

    /// The `Date` of an answer: read where it is no success (304, 403), for of successes the SDK does not show it.
    pub(super) async fn date(&self, key: &str, known: Option<&Tag>) -> Option<Timestamp> {
        let any = || "*".to_owned();
        let answer = self
            .client()
            .await
            .ok()?
            .get_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .if_none_match(known.map_or_else(any, |tag| tag.0.clone()))
            .send()
            .await;
        answer.err().and_then(|error| answer::date(&error))
    }

    pub(super) async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        condition: Option<&Condition>,
    ) -> Result<Tag, Failure> {
        let request = self
            .client()
            .await?
            .put_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .body(bytes.into());
        let request = match condition {
            None => request,
            Some(Condition::Absent) => request.if_none_match("*"),
            Some(Condition::Matches(tag)) => request.if_match(&tag.0),
        };
        let done = request.send().await.map_err(answer::failure)?;
        Ok(Tag(done.e_tag().unwrap_or_default().into()))
    }

    async fn client(&self) -> Result<&Client, Failure> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let http_client = lazy_http_client();
        let provider = ProviderConfig::without_region().with_http_client(http_client.clone());
        let metadata = imds::Client::builder()
            .configure(&provider)
            .max_attempts(METADATA_ATTEMPTS)
            .build();
        let region = self.region(&provider, &metadata).await?;

        let credentials = match &self.credentials {
            Some(given) => SharedCredentialsProvider::new(given.clone()),
            None => SharedCredentialsProvider::new(
                DefaultCredentialsChain::builder()
                    .configure(provider.with_region(Some(region.clone())))
                    .region(region.clone())
                    .imds_client(metadata)
                    .build()
                    .await,
            ),
        };
        // The poll is the retry. The deadline is one for all of a request, set by whoever calls; a stalled
        // stream meets it too.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client)
            .region(region)
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT.min(self.settings.timeout))
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Checksums that only some S3 servers know would shut out the others.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &self.settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let shared = loader.load().await;
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(self.settings.path_style)
            .build();
        Ok(Client::from_conf(config))
    }

    /// The region of the settings, of the environment, of the profile or, on AWS itself, of the instance.
    async fn region(
        &self,
        provider: &ProviderConfig,
        metadata: &imds::Client,
    ) -> Result<Region, Failure> {
        if let Some(region) = &self.settings.region {
            return Ok(Region::new(region.clone()));
        }
        let told = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(
                ProfileFileRegionProvider::builder()
                    .configure(provider)
                    .build(),
            );
        let elsewhere = self.settings.endpoint.is_some()
            || ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
                .iter()
                .any(|name| std::env::var_os(name).is_some());
        let chain = if elsewhere {
            told.or_else(Region::from_static(ANY_REGION))
        } else {
            told.or_else(
                ImdsRegionProvider::builder()
                    .configure(provider)
                    .imds_client(metadata.clone())
                    .build(),
            )
        };
        chain.region().await.ok_or_else(|| {
            Failure::new(
                BucketErrorKind::Region,
                "no region is set: neither in agentd.toml, nor AWS_REGION, nor the profile, nor the instance metadata",
            )
        })
    }
}

/// An answer's body did not come whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off after {received} bytes")]
struct BrokenOff {
    received: usize,
    source: ByteStreamError,
}

/// Reads an answer's body of at most `limit` bytes, and all that was announced.
async fn read_body(object: GetObjectOutput, limit: u64) -> Result<Vec<u8>, Failure> {
    let too_large = |size: u64| {
        Failure::new(
            BucketErrorKind::TooLarge,
            format!("it has {size} bytes or more, the limit is {limit}"),
        )
    };
    let announced = object
        .content_length()
        .and_then(|length| u64::try_from(length).ok());
    if let Some(size) = announced.filter(|size| *size > limit) {
        return Err(too_large(size));
    }

    let capacity = announced.unwrap_or_default();
    let mut bytes = Vec::with_capacity(usize::try_from(capacity).unwrap_or_default());
    let mut body = object.body;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|source| {
            let broken = BrokenOff {
                received: bytes.len(),
                source,
            };
            Failure::new(BucketErrorKind::Unavailable, broken)
        })?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(too_large(bytes.len() as u64));
        }
    }
    match announced {
        Some(size) if size != bytes.len() as u64 => Err(Failure::new(
            BucketErrorKind::Unavailable,
            format!("truncated: {} of {size} bytes came", bytes.len()),
        )),
        _ => Ok(bytes),
    }
}
