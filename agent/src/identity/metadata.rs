//! The cloud's instance metadata service, version 2 only: a token first, then two questions.

use std::time::Duration;

use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;

use crate::bucket::bounded_http_client;
use crate::report::text::one_line;

/// The most that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Once, and once more where the service stumbled. Not the SDK's four: at boot somebody is waiting.
const ATTEMPTS: u32 = 2;

/// The longest value of a tag, in bytes: EC2's own bound.
const LONGEST_TAG: usize = 256;
/// The most of an error that is shown, in characters.
const SHOWN: usize = 300;

/// What the service came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It answered.
    Answered {
        instance_id: String,
        /// The tag's value, or why there is none.
        tag: Result<String, String>,
    },
    /// It did not answer as it should.
    NoAnswer(String),
}

/// Asks for the instance's id and a tag of it. `endpoint`: another one than the SDK's own chain finds.
pub(super) async fn ask(endpoint: Option<&str>, tag: &str) -> Asked {
    let provider = ProviderConfig::without_region().with_http_client(bounded_http_client());
    let mut builder = Client::builder()
        .configure(&provider)
        .max_attempts(ATTEMPTS)
        .connect_timeout(REQUEST_TIMEOUT)
        .read_timeout(REQUEST_TIMEOUT)
        .operation_attempt_timeout(REQUEST_TIMEOUT)
        .operation_timeout(REQUEST_TIMEOUT * 2);
    if let Some(url) = endpoint {
        builder = match builder.endpoint(url) {
            Ok(builder) => builder,
            Err(error) => return Asked::NoAnswer(format!("{url}: {error}")),
        };
    }
    let client = builder.build();
    let instance_id = match client.get("/latest/meta-data/instance-id").await {
        Ok(text) => String::from(text).trim().to_owned(),
        Err(error) => return Asked::NoAnswer(explain(&error)),
    };
    if !is_word(&instance_id) {
        return Asked::NoAnswer("it answered with something that is no instance id".into());
    }
    let path = format!("/latest/meta-data/tags/instance/{tag}");
    let tag = match client.get(path).await {
        Ok(text) => {
            let text = String::from(text).trim().to_owned();
            if text.len() <= LONGEST_TAG {
                Ok(text)
            } else {
                Err(format!(
                    "it has {} bytes, and no server is called so",
                    text.len()
                ))
            }
        }
        Err(ImdsError::ErrorResponse(response)) if response.response().status().as_u16() == 404 => {
            Err("not set, or tags are not allowed in instance metadata".into())
        }
        Err(error) => Err(explain(&error)),
    };
    Asked::Answered { instance_id, tag }
}

fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The error as a person can use it: the last cause says most.
fn explain(error: &ImdsError) -> String {
    match error {
        ImdsError::ErrorResponse(response) => {
            format!("HTTP status {}", response.response().status().as_u16())
        }
        ImdsError::FailedToLoadToken(_) => {
            format!("it gives no token for IMDSv2: {}", last_cause(error))
        }
        other => last_cause(other),
    }
}

fn last_cause(error: &ImdsError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    one_line(&cause.to_string(), SHOWN)
}
