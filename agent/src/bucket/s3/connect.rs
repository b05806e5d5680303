//! Making the client of an S3 server: region, credentials, and how requests are made.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
    StalledStreamProtectionConfig,
};

use super::super::error::{BucketErrorKind, Failure};
use super::S3Bucket;
use super::credentials::{Metadata, StandardCredentials};
use super::http_client::lazy_http_client;

/// How long a TCP connection may take, unless the whole request has less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The region to sign for where an endpoint is set and nobody names a region: most S3 servers take any.
const ANY_REGION: &str = "us-east-1";

impl S3Bucket {
    pub(super) async fn client(&self) -> Result<&Client, Failure> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let http_client = lazy_http_client();
        let provider = ProviderConfig::without_region().with_http_client(http_client.clone());
        let metadata = Metadata::new(&provider);
        let region = self.region(&provider, &metadata).await?;

        let credentials = match &self.credentials {
            Some(given) => SharedCredentialsProvider::new(given.clone()),
            None => {
                SharedCredentialsProvider::new(StandardCredentials::new(region.clone(), metadata))
            }
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
        metadata: &Metadata,
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
        let found = match told.region().await {
            None if elsewhere => Some(Region::from_static(ANY_REGION)),
            None => {
                ImdsRegionProvider::builder()
                    .configure(provider)
                    .imds_client(metadata.client())
                    .build()
                    .region()
                    .await
            }
            found => found,
        };
        found.ok_or_else(|| {
            Failure::new(
                BucketErrorKind::Region,
                "no region is set: neither in agentd.toml, nor AWS_REGION, nor the profile, nor the instance metadata",
            )
        })
    }
}
