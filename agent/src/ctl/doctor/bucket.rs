//! The bucket: reachable, allowed, and answering conditional reads.

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::bucket::{BucketError, BucketErrorKind};
use crate::converge::intake::Polled;
use crate::settings::BucketUrl;
use crate::system::chain;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let Some(bucket_state) = examined.bucket_state() else {
        return found.skip("the configuration cannot be used");
    };
    match &bucket_state.polled {
        Ok(Polled::Unreachable(unreachable)) => {
            // The advice that stands wherever it is told is left out: there is better here.
            let error = &unreachable.error;
            let local = examined
                .settings
                .as_ref()
                .is_ok_and(|settings| matches!(settings.bucket, BucketUrl::Directory(_)));
            found.broken(chain(error), hint(error, local));
        }
        Ok(_) => {}
        Err(error) => found.skip(error.clone()),
    }
    if bucket_state.conditional == Some(false) {
        found.warn(
            "the bucket sends the whole document though it has not changed: it does not heed If-None-Match",
            "every poll costs a download; use a service that has conditional reads, or a longer poll in agentd.toml",
        );
    }
}

/// What to do, beyond what the error says itself.
pub(super) fn hint(error: &BucketError, local: bool) -> String {
    let cause = error.source.as_ref().map(|source| chain(source.as_ref()));
    let says = |words: &[&str]| {
        let cause = cause.as_deref().unwrap_or_default();
        words.iter().any(|word| cause.contains(word))
    };
    match error.kind {
        BucketErrorKind::Missing if local => "agentctl validate fleet.json, then copy it there",
        BucketErrorKind::MissingBucket if local => "make the directory, or correct `fleet` in agentd.toml",
        BucketErrorKind::Missing => "agentctl validate fleet.json, then upload it there",
        BucketErrorKind::MissingBucket => "correct `fleet` in agentd.toml; aws s3 ls shows the buckets that there are",
        BucketErrorKind::Denied if says(&["RequestTimeTooSkewed"]) => {
            "set the clock: systemctl enable --now chronyd && chronyc makestep"
        }
        BucketErrorKind::Denied if says(&["ExpiredToken", "TokenRefreshRequired"]) => {
            "the credentials have run out: an instance's role renews them by itself; those in /etc/agentd/environment must be written anew, then restart agentd"
        }
        BucketErrorKind::Denied if local => "let root read the directory",
        BucketErrorKind::Denied => "the instance's role needs s3:GetObject on this key (packaging/iam has the policies); aws sts get-caller-identity shows who this box is",
        BucketErrorKind::Archived => "restore the object, or upload it again with the storage class STANDARD; let no lifecycle rule archive it",
        BucketErrorKind::Credentials => "attach a role to the instance; elsewhere put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into /etc/agentd/environment (mode 0600)",
        BucketErrorKind::Region => "set region, and endpoint if it is not AWS's S3, under [s3] in agentd.toml",
        BucketErrorKind::TooLarge => "make the document smaller, or raise document_limit in agentd.toml",
        BucketErrorKind::Unavailable if says(&["dns error", "lookup address"]) => {
            "the name is not resolved: see /etc/resolv.conf; getent hosts NAME tries it"
        }
        BucketErrorKind::Unavailable if says(&["certificate", "UnknownIssuer"]) => {
            "the server's certificate is not trusted here: update ca-certificates, or look for a proxy in between"
        }
        BucketErrorKind::Unavailable if says(&["Connection refused", "unreachable"]) => {
            "nobody is reached at that address: look at endpoint in agentd.toml, the route (ip route) and the firewall"
        }
        BucketErrorKind::Unavailable => {
            "the box goes on with its last good document; look at the network, a proxy in between and the service's own state"
        }
        BucketErrorKind::WrongAnswer | BucketErrorKind::OutOfRange => {
            "this is no S3 server that can be used, or a proxy in between changes its answers"
        }
        BucketErrorKind::Conflict | BucketErrorKind::InvalidRequest => "try again",
    }
    .into()
}
