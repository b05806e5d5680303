//! What a person can do where the bucket did not give its document.

use crate::bucket::{Advised, BucketError, BucketErrorKind};

/// The error with what to do about it.
pub(super) const fn advised(error: BucketError) -> Advised {
    let advice = match error.kind {
        BucketErrorKind::Missing => Some("publish it, or correct `fleet` in agentd.toml"),
        BucketErrorKind::MissingBucket => Some("create it, or correct `fleet` in agentd.toml"),
        BucketErrorKind::Denied => {
            Some("check the credentials or the instance role's policy, and the clock")
        }
        BucketErrorKind::Archived => Some(
            "restore it, or upload it again with the storage class STANDARD, and let no lifecycle rule archive it",
        ),
        BucketErrorKind::Credentials => Some(
            "give the instance a role, or put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into /etc/agentd/environment",
        ),
        BucketErrorKind::Region => {
            Some("correct `region` and `endpoint` under [s3] in agentd.toml")
        }
        BucketErrorKind::TooLarge => {
            Some("make it smaller, or raise `document_limit` in agentd.toml")
        }
        BucketErrorKind::Conflict
        | BucketErrorKind::OutOfRange
        | BucketErrorKind::InvalidRequest
        | BucketErrorKind::WrongAnswer
        | BucketErrorKind::Unavailable => None,
    };
    Advised { error, advice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::chain;

    #[test]
    fn a_person_is_told_what_to_do_before_the_cause() {
        let told = |kind| {
            chain(&advised(BucketError {
                operation: "get",
                url: "s3://fleet/prod/fleet.json".into(),
                kind,
                source: Some("S3 answered 404".into()),
            }))
        };
        insta::assert_snapshot!(told(BucketErrorKind::Missing), @"cannot get s3://fleet/prod/fleet.json: there is no such object; publish it, or correct `fleet` in agentd.toml: S3 answered 404");
        insta::assert_snapshot!(told(BucketErrorKind::Unavailable), @"cannot get s3://fleet/prod/fleet.json: the bucket does not answer as it should: S3 answered 404");
    }
}
