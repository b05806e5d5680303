//! What S3's answers that are no success mean for the agent, and how they are told to a person.

use std::error::Error;
use std::fmt::{self, Write as _};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use jiff::Timestamp;

use super::super::error::{BucketError, BucketErrorKind, Failure};
use crate::system::chain;

/// The most of a server's message that is shown, in characters.
const SHOWN: usize = 300;

/// The status by which a proxy asks for a user and a password.
const PROXY_AUTHENTICATION: u16 = 407;

/// An answer of S3 that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// S3's name of the error, `AccessDenied`; empty where the answer has none, as those of proxies.
    pub code: String,
    /// S3's sentence about it, as it came.
    pub message: String,
    /// What S3's operators know the request by.
    pub request_id: Option<String>,
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.status == PROXY_AUTHENTICATION {
            "the proxy"
        } else {
            "S3"
        };
        write!(out, "{who} answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(out, " {}", Shown(&self.code))?;
        }
        if !self.message.is_empty() {
            write!(out, ": {}", Shown(&self.message))?;
        }
        if let Some(id) = &self.request_id {
            write!(out, " (request {})", Shown(id))?;
        }
        if let Some(meaning) = self.meaning() {
            write!(out, "; {meaning}")?;
        }
        Ok(())
    }
}

impl Error for ErrorResponse {}

/// What a server sent, in a line of a log or on a terminal: not all of it, and nothing that moves the cursor.
pub(super) struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.trim();
        for character in text.chars().take(SHOWN) {
            if character.is_control() {
                write!(out, "{}", character.escape_default())?;
            } else {
                out.write_char(character)?;
            }
        }
        if text.chars().nth(SHOWN).is_some() {
            out.write_str(" …")?;
        }
        Ok(())
    }
}

impl ErrorResponse {
    fn kind(&self) -> BucketErrorKind {
        match (self.status, self.code.as_str()) {
            (_, "InvalidObjectState") => BucketErrorKind::Archived,
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
            (404, _) | (_, "NoSuchUpload") => BucketErrorKind::Missing,
            // The second may also come in the body of a 200, from who completes an upload.
            (409 | 412, _) | (_, "PreconditionFailed" | "ConditionalRequestConflict") => {
                BucketErrorKind::Conflict
            }
            (413, _) | (_, "EntityTooLarge") => BucketErrorKind::TooLarge,
            (416, _) => BucketErrorKind::OutOfRange,
            (_, "EntityTooSmall" | "InvalidPart" | "InvalidPartOrder") => {
                BucketErrorKind::InvalidRequest
            }
            _ => BucketErrorKind::Unavailable,
        }
    }

    /// What the code alone does not tell someone who reads it for the first time.
    fn meaning(&self) -> Option<&'static str> {
        if self.status == PROXY_AUTHENTICATION {
            return Some(
                "it wants a user and a password: HTTP_PROXY=http://USER:PASSWORD@HOST:PORT, and HTTPS_PROXY likewise",
            );
        }
        match self.code.as_str() {
            "RequestTimeTooSkewed" => Some("this machine's clock is wrong"),
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
            let answer = ErrorResponse {
                status,
                code: said.code().unwrap_or_default().into(),
                message: said.message().unwrap_or_default().into(),
                request_id,
            };
            Failure::new(answer.kind(), answer)
        }
        // What came is not S3's: a proxy's page. Its status still says something.
        SdkError::ResponseError(ref unread) if matches!(unread.raw().status().as_u16(), 300..) => {
            let answer = ErrorResponse {
                status: unread.raw().status().as_u16(),
                code: String::new(),
                message: String::new(),
                request_id: unread.raw().request_id().map(str::to_owned),
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
            if kind == BucketErrorKind::Credentials && is_not_loaded(source.as_ref()) {
                return Failure::new(kind, NO_CREDENTIALS);
            }
            // Services that give credentials, and proxies, are quoted in it.
            Failure::new(kind, Shown(&chain(source.as_ref())).to_string())
        }
    }
}

/// The standard chain, as people know it. What its library says of each link helps nobody.
const NO_CREDENTIALS: &str = "there are none in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), in a profile, of a \
    web identity, of the container, nor from the instance's metadata service";

/// Whether no link of the chain had any credentials, which is not an error of one of them.
fn is_not_loaded(error: &(dyn Error + 'static)) -> bool {
    let mut link = Some(error);
    while let Some(cause) = link {
        if let Some(found) = cause.downcast_ref::<CredentialsError>() {
            return matches!(found, CredentialsError::CredentialsNotLoaded(_));
        }
        link = cause.source();
    }
    false
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

impl BucketError {
    /// What the S3 server answered, where it did and that is the reason.
    pub fn response(&self) -> Option<&ErrorResponse> {
        self.source.as_ref()?.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> ErrorResponse {
        ErrorResponse {
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
            (403, "InvalidObjectState", Kind::Archived),
            (401, "", Kind::Denied),
            (400, "ExpiredToken", Kind::Denied),
            (412, "PreconditionFailed", Kind::Conflict),
            (409, "ConditionalRequestConflict", Kind::Conflict),
            (200, "PreconditionFailed", Kind::Conflict),
            (200, "InternalError", Kind::Unavailable),
            (404, "NoSuchUpload", Kind::Missing),
            (416, "InvalidRange", Kind::OutOfRange),
            (400, "EntityTooLarge", Kind::TooLarge),
            (400, "EntityTooSmall", Kind::InvalidRequest),
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
    fn a_long_message_with_control_characters_is_one_short_line() {
        let mut long = answer(500, "Internal\u{1b}[2J");
        long.message = format!("one\ntwo\u{7}{}", "x".repeat(100_000));
        let shown = long.to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(
            shown.starts_with("S3 answered 500 Internal\\u{1b}[2J: one\\ntwo\\u{7}xxx")
                && shown.ends_with("xxx …"),
            "{shown}"
        );
        assert!(shown.len() < 400, "{shown}");
    }

    #[test]
    fn a_person_sees_status_code_message_request_and_what_it_means() {
        let mut skewed = answer(403, "RequestTimeTooSkewed");
        skewed.message = "The difference is too large.".into();
        skewed.request_id = Some("4442587FB7D0A2F9".into());
        insta::assert_snapshot!(skewed, @"S3 answered 403 RequestTimeTooSkewed: The difference is too large. (request 4442587FB7D0A2F9); this machine's clock is wrong");
        insta::assert_snapshot!(answer(503, ""), @"S3 answered 503");
    }
}
