//! What S3's answers mean for the agent, and how they are told to a person.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use jiff::Timestamp;

use super::super::{BucketErrorKind, Failure};

/// An answer of S3 that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u16,
    code: String,
    message: String,
    request_id: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "S3 answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(out, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(out, ": {}", self.message.trim())?;
        }
        if let Some(id) = &self.request_id {
            write!(out, " (request {id})")?;
        }
        if let Some(hint) = self.hint() {
            write!(out, "; {hint}")?;
        }
        Ok(())
    }
}

impl Error for Answer {}

impl Answer {
    fn kind(&self) -> BucketErrorKind {
        match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket") => BucketErrorKind::MissingBucket,
            (
                _,
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
            )
            | (301 | 302 | 307 | 308, _) => BucketErrorKind::Region,
            (401 | 403, _) | (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                BucketErrorKind::Denied
            }
            (404, _) => BucketErrorKind::Missing,
            (409 | 412, _) => BucketErrorKind::Conflict,
            _ => BucketErrorKind::Unavailable,
        }
    }

    /// What the code alone does not tell someone who reads it for the first time.
    fn hint(&self) -> Option<&'static str> {
        match self.code.as_str() {
            "RequestTimeTooSkewed" => Some("this machine's clock is wrong: check chronyd"),
            "SignatureDoesNotMatch" => Some("the secret access key is wrong"),
            "InvalidAccessKeyId" => Some("the access key is unknown there"),
            "AccessDenied" => Some(
                "S3 says so also of an object that does not exist, where the policy lacks s3:ListBucket",
            ),
            _ => None,
        }
    }
}

/// Whether the answer is 304: the object is still the one that was asked about.
pub(super) fn is_not_modified<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error
        .raw_response()
        .is_some_and(|response| response.status().as_u16() == 304)
}

/// When the server says that it answered.
pub(super) fn date<E>(error: &SdkError<E, HttpResponse>) -> Option<Timestamp> {
    let date = error.raw_response()?.headers().get("date")?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(date.timestamp())
}

/// What a failed request means.
pub(super) fn failure<E>(error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let request_id = answer.raw().request_id().map(str::to_owned);
            let said = answer.into_err();
            let answer = Answer {
                status,
                code: said.code().unwrap_or_default().into(),
                message: said.message().unwrap_or_default().into(),
                request_id,
            };
            Failure::new(answer.kind(), answer)
        }
        unanswered => {
            let kind = unanswered_kind(&unanswered);
            let source = unanswered.into_source().unwrap_or_else(Into::into);
            // "io error" or "other", and nothing that its own source does not say better.
            let source = match source.downcast::<ConnectorError>() {
                Ok(connector) => connector.into_source(),
                Err(source) => source,
            };
            Failure {
                kind,
                source: Some(source),
            }
        }
    }
}

/// The kind of a failure without an answer: refused, reset, late, or never sent.
fn unanswered_kind<E>(error: &SdkError<E, HttpResponse>) -> BucketErrorKind
where
    E: Error + Send + Sync + 'static,
{
    let mut link: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = link {
        if cause.is::<CredentialsError>() {
            return BucketErrorKind::Credentials;
        }
        link = cause.source();
    }
    match error {
        // Never sent: credentials are told apart above, so it is the endpoint or the region that makes no URL.
        SdkError::ConstructionFailure(_) => BucketErrorKind::Region,
        _ => BucketErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        Answer {
            status,
            code: code.into(),
            message: String::new(),
            request_id: None,
        }
    }

    #[test]
    fn each_answer_has_its_kind() {
        use BucketErrorKind as Kind;
        for (status, code, kind) in [
            (404, "NoSuchKey", Kind::Missing),
            (404, "", Kind::Missing),
            (404, "NoSuchBucket", Kind::MissingBucket),
            (403, "AccessDenied", Kind::Denied),
            (403, "RequestTimeTooSkewed", Kind::Denied),
            (403, "SignatureDoesNotMatch", Kind::Denied),
            (401, "", Kind::Denied),
            (400, "ExpiredToken", Kind::Denied),
            (412, "PreconditionFailed", Kind::Conflict),
            (409, "ConditionalRequestConflict", Kind::Conflict),
            (301, "PermanentRedirect", Kind::Region),
            (400, "AuthorizationHeaderMalformed", Kind::Region),
            (429, "TooManyRequests", Kind::Unavailable),
            (503, "SlowDown", Kind::Unavailable),
            (500, "InternalError", Kind::Unavailable),
            (400, "BadRequest", Kind::Unavailable),
        ] {
            assert_eq!(answer(status, code).kind(), kind, "{status} {code}");
        }
    }

    #[test]
    fn a_person_sees_status_code_message_request_and_what_to_do() {
        let mut skewed = answer(403, "RequestTimeTooSkewed");
        skewed.message = "The difference is too large.".into();
        skewed.request_id = Some("4442587FB7D0A2F9".into());
        insta::assert_snapshot!(skewed, @"S3 answered 403 RequestTimeTooSkewed: The difference is too large. (request 4442587FB7D0A2F9); this machine's clock is wrong: check chronyd");
        insta::assert_snapshot!(answer(503, ""), @"S3 answered 503");
    }
}
