//! The standard chain of credentials, made when it is needed: a machine whose credentials stand in the environment never
//! pays for the clients of the services that others ask for theirs.

use std::sync::OnceLock;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_credential_types::provider::{ProvideCredentials, Result};
use aws_sdk_s3::config::Region;
use tokio::sync::OnceCell;

/// How often the metadata service is asked for one thing: it is on the same host, and the next poll asks again.
const ATTEMPTS: u32 = 2;

/// The client of the instance's metadata service, made when it is first needed.
#[derive(Debug)]
pub(super) struct Metadata {
    provider: ProviderConfig,
    client: OnceLock<imds::Client>,
}

impl Metadata {
    pub(super) fn new(provider: &ProviderConfig) -> Self {
        Self {
            provider: provider.clone(),
            client: OnceLock::new(),
        }
    }

    pub(super) fn client(&self) -> imds::Client {
        let make = || {
            imds::Client::builder()
                .configure(&self.provider)
                .max_attempts(ATTEMPTS)
                .build()
        };
        self.client.get_or_init(make).clone()
    }
}

/// The standard chain: the environment, the profile, a web identity, the container, the instance.
#[derive(Debug)]
pub(super) struct StandardCredentials {
    environment: EnvironmentVariableCredentialsProvider,
    region: Region,
    metadata: Metadata,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl StandardCredentials {
    pub(super) fn new(region: Region, metadata: Metadata) -> Self {
        Self {
            environment: EnvironmentVariableCredentialsProvider::new(),
            region,
            metadata,
            chain: OnceCell::new(),
        }
    }

    async fn find(&self) -> Result {
        match self.environment.provide_credentials().await {
            // The chain's first link is the environment again, which costs nothing; what it says of all links is whole.
            Err(CredentialsError::CredentialsNotLoaded(_)) => {
                let chain = self.chain.get_or_init(|| self.make_chain()).await;
                chain.provide_credentials().await
            }
            found => found,
        }
    }

    async fn make_chain(&self) -> DefaultCredentialsChain {
        let provider = self.metadata.provider.clone();
        DefaultCredentialsChain::builder()
            .configure(provider.with_region(Some(self.region.clone())))
            .region(self.region.clone())
            .imds_client(self.metadata.client())
            .build()
            .await
    }
}

impl ProvideCredentials for StandardCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.find())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.chain.get()?.fallback_on_interrupt()
    }
}
