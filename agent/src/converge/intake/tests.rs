use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::bucket::BucketErrorKind;
use crate::fleet::signing::tests::{TestKey, trusted};
use crate::settings::{BucketUrl, S3Settings};
use crate::system::root::Root;

const LIMIT: u64 = 64 * 1024;
const FAR: &str = "2126-01-01T00:00:00Z";

/// A small document that differs from others of its version by `mark`.
fn document(fleet: &str, version: u64, expires: &str, mark: &str) -> String {
    format!(
        r#"{{"signatures": [], "signed": {{
  "format": 1, "fleet": "{fleet}", "version": {version},
  "issued": "2026-01-01T00:00:00Z", "expires": "{expires}",
  "servers": {{"web-1": {{"address": "10.0.0.1", "zone": "{mark}"}}}}
}}}}"#
    )
}

fn good(version: u64) -> String {
    document("small", version, FAR, "a")
}

/// A box and two buckets, each a directory.
struct Box {
    dir: TempDir,
    bucket: Bucket,
    other: Bucket,
    intake: Intake,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn terms(pinned: Option<Name>) -> Terms {
    Terms {
        pinned,
        limit: LIMIT,
        trust: Trust::Nobody,
        generation: 0,
        version_step: 1000,
    }
}

fn files(dir: &TempDir) -> Files {
    Files::new(Root::under(&dir.path().join("root")).unwrap())
}

impl Box {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for part in ["root", "bucket", "other"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        let settings = S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: Duration::from_secs(10),
        };
        let bucket = BucketUrl::Directory(dir.path().join("bucket"));
        let other = BucketUrl::Directory(dir.path().join("other"));
        Self {
            bucket: Bucket::open(&bucket, &settings).await,
            other: Bucket::open(&other, &settings).await,
            intake: Intake::open(&files(&dir), terms(None)).unwrap(),
            dir,
        }
    }

    async fn with(version: u64) -> Self {
        let mut this = Self::new().await;
        this.publish(&good(version)).await;
        assert!(matches!(this.poll().await, Polled::New));
        this
    }

    fn restart(&mut self) {
        self.restart_pinned(None);
    }

    fn restart_pinned(&mut self, pinned: Option<&str>) {
        let pinned = pinned.map(name);
        self.intake = Intake::open(&files(&self.dir), terms(pinned)).unwrap();
    }

    async fn publish(&self, text: &str) {
        let bytes = text.as_bytes().to_vec();
        self.bucket.put(KEY, bytes, None).await.unwrap();
    }

    async fn poll(&mut self) -> Polled {
        let polled = self.intake.poll(&self.bucket).await.unwrap();
        if matches!(polled, Polled::New) {
            // As after the run that follows.
            self.intake.settle().unwrap();
        }
        polled
    }

    async fn refused(&mut self) -> Refusal {
        match self.poll().await {
            Polled::Refused(refusal) => refusal,
            polled => panic!("{polled:?}"),
        }
    }

    fn version(&self) -> Option<u64> {
        Some(self.intake.accepted()?.document.id.version)
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.dir
            .path()
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    fn damage(&self, path: &str, text: &str) {
        use std::io::Write;
        let mut file = fs::File::create(self.on_disk(path)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Modification time and inode of each file of state: what a write would change.
    fn state(&self) -> Vec<(PathBuf, std::time::SystemTime, u64)> {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(self.on_disk("/var/lib/agentd")).unwrap();
        let mut state: Vec<_> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let status = entry.metadata().unwrap();
                (entry.path(), status.modified().unwrap(), status.ino())
            })
            .collect();
        state.sort();
        state
    }
}

#[tokio::test]
async fn the_first_document_is_persisted_byte_for_byte() {
    let this = Box::with(1).await;
    assert_eq!(
        fs::read(this.on_disk(DOCUMENT)).unwrap(),
        good(1).into_bytes()
    );
    assert_eq!(this.intake.bytes().unwrap().unwrap(), good(1).into_bytes());
    let status = fs::metadata(this.on_disk(DOCUMENT)).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&status.permissions()) & 0o777,
        0o640
    );
}

#[tokio::test]
async fn what_does_not_change_is_not_written() {
    let mut this = Box::with(1).await;
    let before = this.state();
    assert!(matches!(this.poll().await, Polled::Unchanged));
    this.restart();
    assert!(matches!(this.poll().await, Polled::Unchanged));
    assert_eq!(this.state(), before);
}

#[tokio::test]
async fn a_restarted_box_asks_with_the_persisted_tag_but_only_the_same_bucket() {
    let mut this = Box::with(1).await;
    this.restart();
    let here = this.bucket.url(KEY);
    assert!(this.intake.known_at(&here, clock::now()).is_some());
    let there = this.other.url(KEY);
    assert!(this.intake.known_at(&there, clock::now()).is_none());

    // The same document elsewhere is no new one; from then on that bucket's tag is known.
    this.other
        .put(KEY, good(1).into_bytes(), None)
        .await
        .unwrap();
    assert!(matches!(
        this.intake.poll(&this.other).await.unwrap(),
        Polled::Unchanged
    ));
    this.restart();
    assert!(this.intake.known_at(&there, clock::now()).is_some());
    assert!(this.intake.known_at(&here, clock::now()).is_none());
}

#[tokio::test]
async fn the_last_good_document_outlives_restart_silence_and_loss() {
    let mut this = Box::with(1).await;
    fs::remove_file(this.dir.path().join("bucket").join(KEY)).unwrap();
    this.restart();
    assert_eq!(this.version(), Some(1));
    match this.poll().await {
        Polled::Unreachable(unreachable) => {
            assert_eq!(unreachable.error.kind, BucketErrorKind::Missing);
        }
        polled => panic!("{polled:?}"),
    }
    assert_eq!(this.version(), Some(1));
}

#[tokio::test]
async fn each_wrong_document_is_refused_and_the_last_good_one_stays() {
    let mut this = Box::with(5).await;
    let whole = good(6);
    let (half, _) = whole.split_at(whole.len() / 2);
    for (what, text, version, says) in [
        ("empty", "", None, "0 bytes"),
        ("half", half, None, ""),
        ("no JSON", "<html>", None, ""),
        ("older", &good(4), Some(4), "rollback"),
        (
            "other bytes",
            &document("small", 5, FAR, "b"),
            Some(5),
            "equivocation",
        ),
        (
            "another fleet",
            &document("large", 6, FAR, "a"),
            Some(6),
            "stands on fleet small",
        ),
        (
            "expired",
            &document("small", 6, "2026-01-02T00:00:00Z", "a"),
            Some(6),
            "expired at 2026-01-02",
        ),
        ("misspelt", &whole.replace("zone", "zoen"), Some(6), "zoen"),
    ] {
        this.publish(text).await;
        let refusal = this.refused().await;
        assert_eq!(refusal.version, version, "{what}");
        assert!(
            refusal.errors.concat().contains(says),
            "{what}: {:?}",
            refusal.errors
        );
        assert_eq!(this.version(), Some(5), "{what}");
        assert_eq!(
            fs::read(this.on_disk(DOCUMENT)).unwrap(),
            good(5).into_bytes(),
            "{what}"
        );

        // It must not become "unchanged", nor be read again, however often it is asked for.
        let again = this.refused().await;
        assert_eq!(again, refusal, "{what}");
        // And a restart does not launder it.
        this.restart();
        assert_eq!(this.refused().await.errors, refusal.errors, "{what}");
    }
    this.publish(&whole).await;
    assert!(matches!(this.poll().await, Polled::New));
    assert_eq!(this.version(), Some(6));
}

#[tokio::test]
async fn messages_say_what_to_do() {
    let mut this = Box::with(5).await;
    let mut told = Vec::new();
    for text in [
        good(4),
        document("small", 5, FAR, "b"),
        document("large", 6, FAR, "a"),
    ] {
        this.publish(&text).await;
        told.extend(this.refused().await.errors);
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    rollback: version 4 is older than version 5, which this box has accepted; publish its content as version 6 (to make only this box forget: stop agentd, remove /var/lib/agentd/document.json and /var/lib/agentd/document.meta.json, start it)
    equivocation: version 5 was published twice with different content (SHA-256 35841a5d1b4d… now, b59aeef0dbfd… when this box accepted it); publish this content as version 6
    the document is of fleet large, and this box stands on fleet small; publish the right document, or pin fleet large in agentd.toml
    ");
}

#[tokio::test]
async fn a_refused_document_that_is_published_again_keeps_its_since() {
    let mut this = Box::with(5).await;
    this.publish("{").await;
    let first = this.refused().await;
    if let Some(refused) = &mut this.intake.refused {
        refused.refusal.since = Timestamp::UNIX_EPOCH;
        refused.known.tag = Tag("another".into());
    }
    let again = this.refused().await;
    assert_eq!(again.errors, first.errors);
    assert_eq!(again.since, Timestamp::UNIX_EPOCH);
}

#[tokio::test]
async fn the_operator_takes_a_refused_document_back() {
    let mut this = Box::with(5).await;
    let before = this.state();
    this.publish("{").await;
    this.refused().await;
    this.publish(&good(5)).await;
    assert!(matches!(this.poll().await, Polled::Unchanged));
    assert!(this.intake.refused.is_none());
    assert_eq!(this.state(), before);
}

#[tokio::test]
async fn a_refused_document_does_not_confirm_the_accepted_one() {
    let mut this = Box::with(5).await;
    this.intake.accepted.as_mut().unwrap().confirmed = Timestamp::UNIX_EPOCH;
    this.publish("{").await;
    this.refused().await;
    this.refused().await;
    let accepted = this.intake.accepted().unwrap();
    assert_eq!(accepted.confirmed, Timestamp::UNIX_EPOCH);
    this.publish(&good(5)).await;
    this.poll().await;
    assert!(this.intake.accepted().unwrap().confirmed > Timestamp::UNIX_EPOCH);
}

#[tokio::test]
async fn expiry_counts_for_new_documents_only() {
    let expiring = document("small", 1, "2026-06-01T00:00:00Z", "a");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut this = Box::new().await;
    let known = Known {
        tag: Tag("t".into()),
        source: this.bucket.url(KEY),
    };
    let consider = |intake: &mut Intake, now: &str| {
        let bytes = expiring.as_bytes().to_vec();
        if let Some(refusal) = intake.known_refusal(&bytes, &known, at(now)) {
            return Polled::Refused(refusal);
        }
        let trust = intake.succession.trust();
        let read = Reading::new(bytes, known.clone(), trust.clone()).read();
        intake.judge(read, &trust, at(now)).unwrap()
    };
    // A box with no state and a clock that is ahead refuses it; once the clock is right it is read again.
    assert!(matches!(
        consider(&mut this.intake, "2027-01-01T00:00:00Z"),
        Polled::Refused(_)
    ));
    let asks = |intake: &mut Intake, now: &str| intake.known_at(&known.source, at(now));
    assert!(asks(&mut this.intake, "2027-01-01T00:00:00Z").is_some());
    assert!(asks(&mut this.intake, "2026-02-01T00:00:00Z").is_none());
    assert!(matches!(
        consider(&mut this.intake, "2026-02-01T00:00:00Z"),
        Polled::New
    ));
    // Once accepted it stays, past its expiry and past a restart.
    assert!(matches!(
        consider(&mut this.intake, "2027-01-01T00:00:00Z"),
        Polled::Unchanged
    ));
    this.restart();
    assert_eq!(this.version(), Some(1));
    assert!(matches!(
        consider(&mut this.intake, "2027-01-01T00:00:00Z"),
        Polled::Unchanged
    ));
}

#[tokio::test]
async fn a_pin_holds_for_the_bucket_and_for_the_disk() {
    let mut this = Box::with(5).await;
    this.restart_pinned(Some("large"));
    assert_eq!(this.version(), None);
    let refusal = this.refused().await;
    assert!(
        refusal.errors.concat().contains("pins fleet large"),
        "{refusal:?}"
    );
    // Another fleet counts its versions by itself.
    this.publish(&document("large", 1, FAR, "a")).await;
    assert!(matches!(this.poll().await, Polled::New));
    assert_eq!(fs::read(this.on_disk(BAD)).unwrap(), good(5).into_bytes());
}

#[tokio::test]
async fn another_bucket_may_bring_another_fleet_but_no_rollback() {
    let mut this = Box::with(5).await;
    this.other
        .put(KEY, good(4).into_bytes(), None)
        .await
        .unwrap();
    let polled = this.intake.poll(&this.other).await.unwrap();
    assert!(matches!(polled, Polled::Refused(_)), "{polled:?}");
    let large = document("large", 1, FAR, "a");
    this.other.put(KEY, large.into_bytes(), None).await.unwrap();
    let polled = this.intake.poll(&this.other).await.unwrap();
    assert!(matches!(polled, Polled::New), "{polled:?}");
}

#[tokio::test]
async fn a_damaged_copy_is_as_none_but_the_version_is_remembered() {
    let mut this = Box::with(5).await;
    this.damage(DOCUMENT, good(5).split_at(40).0);
    let before = this.state();
    this.restart();
    assert_eq!(this.version(), None);
    assert_eq!(this.state(), before, "opening writes nothing");
    this.publish(&good(4)).await;
    assert!(this.refused().await.errors.concat().contains("rollback"));
    this.publish(&document("small", 5, FAR, "b")).await;
    assert!(
        this.refused()
            .await
            .errors
            .concat()
            .contains("equivocation")
    );

    this.publish(&good(5)).await;
    assert!(matches!(this.poll().await, Polled::New));
    assert_eq!(
        fs::read(this.on_disk(BAD)).unwrap(),
        &good(5).into_bytes()[..40]
    );
    this.restart();
    assert_eq!(this.version(), Some(5));
}

#[tokio::test]
async fn an_older_copy_slipped_under_the_record_is_not_used() {
    let mut this = Box::with(5).await;
    this.damage(DOCUMENT, &good(4));
    this.restart();
    assert_eq!(this.version(), None);
    assert!(matches!(this.poll().await, Polled::New));
    assert_eq!(this.version(), Some(5));
}

#[tokio::test]
async fn a_crash_between_document_and_record_loses_nothing() {
    let mut this = Box::with(5).await;
    this.damage(DOCUMENT, &good(6));
    this.publish(&good(6)).await;
    this.restart();
    assert_eq!(this.version(), Some(6));
    assert!(matches!(this.poll().await, Polled::Unchanged));
    // The record is mended by that poll.
    let before = this.state();
    this.restart();
    assert!(matches!(this.poll().await, Polled::Unchanged));
    assert_eq!(this.state(), before);

    // The same at the very first document: no record at all, or half of one.
    fs::remove_file(this.on_disk(META)).unwrap();
    this.restart();
    assert_eq!(this.version(), Some(6));
    this.damage(META, "{");
    this.restart();
    assert_eq!(this.version(), Some(6));
}

#[tokio::test]
async fn without_writing_nothing_is_written() {
    let mut this = Box::with(5).await;
    let before = this.state();
    let intake = Intake::open(&files(&this.dir), terms(None)).unwrap();
    this.intake = intake.without_writing();
    this.publish(&good(6)).await;
    assert!(matches!(this.poll().await, Polled::New));
    assert_eq!(this.version(), Some(6));
    assert_eq!(this.state(), before);
}

#[tokio::test]
async fn a_document_over_the_limit_is_not_read() {
    let mut this = Box::with(5).await;
    this.publish(&" ".repeat(65 * 1024)).await;
    match this.poll().await {
        Polled::Unreachable(unreachable) => {
            assert_eq!(unreachable.error.kind, BucketErrorKind::TooLarge);
        }
        polled => panic!("{polled:?}"),
    }
    assert_eq!(this.version(), Some(5));
}

#[tokio::test]
async fn rules_that_came_later_do_not_take_the_accepted_document_away() {
    let mut this = Box::with(5).await;
    // Accepted by a version of the agent that let it pass.
    let text = good(5).replace(
        r#""servers""#,
        r#""products": {"shop": {"sites": {"www": {"domains": ["a.example.com"], "root": "/srv", "port": 443}}}}, "servers""#,
    );
    assert!(Document::read(text.as_bytes()).is_err());
    let before = this.intake.accepted().unwrap().document.id.digest.clone();
    let digest = Document::read_accepted(text.as_bytes()).unwrap().id.digest;
    let meta = fs::read_to_string(this.on_disk(META)).unwrap();
    this.damage(META, &meta.replace(&before, &digest));
    this.damage(DOCUMENT, &text);
    this.restart();
    assert_eq!(this.version(), Some(5));
    // As a new one it would be refused.
    this.publish(&text).await;
    let refused = this.refused().await;
    assert!(refused.errors[0].contains("443"), "{refused:?}");
    assert_eq!(this.version(), Some(5));
}

/// The settings of a box that takes what is signed by so many of these keys.
fn trusting(keys: &[&TestKey], threshold: usize) -> Terms {
    Terms {
        trust: Trust::Keys(trusted(keys, threshold)),
        ..terms(None)
    }
}

/// The document, signed by these keys, byte for byte what they signed.
fn signed_by(document: &str, keys: &[&TestKey]) -> String {
    let signed = document
        .split_once("\"signed\": ")
        .and_then(|(_, rest)| rest.strip_suffix('}'))
        .unwrap();
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(signed.as_bytes())).collect();
    let signatures = serde_json::to_string(&signatures).unwrap();
    format!("{{\"signatures\": {signatures}, \"signed\": {signed}}}")
}

impl Box {
    fn restart_with(&mut self, terms: Terms) {
        self.intake = Intake::open(&files(&self.dir), terms).unwrap();
    }

    fn signers(&self) -> Vec<String> {
        let accepted = self.intake.accepted().unwrap();
        let signers = accepted.document.signers.iter();
        signers.map(ToString::to_string).collect()
    }

    /// Publishes what must be refused: the reasons.
    async fn refuses(&mut self, text: &str) -> String {
        let version = self.version();
        self.publish(text).await;
        let refusal = self.refused().await;
        assert_eq!(self.version(), version);
        refusal.errors.join("\n")
    }
}

#[tokio::test]
async fn what_an_attacker_can_write_into_the_bucket_is_refused_and_told_apart() {
    let (ops, dev) = (TestKey::new(1, "ops"), TestKey::new(2, "dev"));
    let stranger = TestKey::new(3, "stranger");
    let mut this = Box::new().await;
    this.restart_with(trusting(&[&ops, &dev], 2));
    this.publish(&signed_by(&good(5), &[&dev, &ops])).await;
    assert!(matches!(this.poll().await, Polled::New));
    assert_eq!(this.signers(), ["ops", "dev"]);

    let six = good(6);
    let both = [&ops, &dev];
    let signed = signed_by(&six, &both);
    let other_fleet = document("other", 6, FAR, "a");
    let mut told = vec![
        ("unsigned", this.refuses(&six).await),
        (
            "another key",
            this.refuses(&signed_by(&six, &[&stranger])).await,
        ),
        ("one of two", this.refuses(&signed_by(&six, &[&ops])).await),
        (
            "one twice",
            this.refuses(&signed_by(&six, &[&ops, &ops])).await,
        ),
        (
            "changed",
            this.refuses(&signed.replace("10.0.0.1", "10.0.0.9")).await,
        ),
        (
            "reformatted",
            this.refuses(&signed.replace('\n', " ")).await,
        ),
        (
            "cut off",
            this.refuses(signed.split_at(signed.len() - 30).0).await,
        ),
        ("rollback", this.refuses(&signed_by(&good(4), &both)).await),
        (
            "equivocation",
            this.refuses(&signed_by(&document("small", 5, FAR, "b"), &both))
                .await,
        ),
        (
            "other fleet",
            this.refuses(&signed_by(&other_fleet, &both)).await,
        ),
        ("jump", this.refuses(&signed_by(&good(1006), &both)).await),
    ];
    let expired = document("small", 6, "2026-01-02T00:00:00Z", "a");
    let reason = this.refuses(&signed_by(&expired, &both)).await;
    told.push((
        "expired",
        reason.split(", and it is ").next().unwrap().into(),
    ));
    let told: Vec<_> = told
        .iter()
        .map(|(what, why)| format!("{what}: {why}"))
        .collect();
    insta::assert_snapshot!(told.join("\n"));

    // The signatures of one version over the content of another: mix and match.
    let five = signed_by(&good(5), &both);
    let (head, _) = five.split_once("\"signed\": ").unwrap();
    let (_, tail) = signed.split_once("\"signed\": ").unwrap();
    let mixed = this.refuses(&format!("{head}\"signed\": {tail}")).await;
    assert!(mixed.contains("not of these bytes"), "{mixed}");

    // The step counts from what this box has: the last version that is not too far.
    this.publish(&signed_by(&good(1005), &both)).await;
    assert!(matches!(this.poll().await, Polled::New));
}

#[tokio::test]
async fn what_nobody_signed_is_not_read() {
    let ops = TestKey::new(1, "ops");
    let mut this = Box::new().await;
    this.restart_with(trusting(&[&ops], 1));
    // Its mistakes would be told to whoever wrote it.
    let wrong = good(6).replace("10.0.0.1", "nowhere");
    this.publish(&wrong).await;
    let refusal = this.refused().await;
    assert_eq!(refusal.version, None);
    assert!(
        refusal.errors.concat().starts_with("nobody signed it"),
        "{refusal:?}"
    );
    this.publish(&signed_by(&wrong, &[&ops])).await;
    let refusal = this.refused().await;
    assert_eq!(refusal.version, Some(6));
    assert!(refusal.errors.concat().contains("nowhere"), "{refusal:?}");
}

#[tokio::test]
async fn a_start_verifies_what_was_persisted() {
    let (ops, dev) = (TestKey::new(1, "ops"), TestKey::new(2, "dev"));
    let mut this = Box::new().await;
    this.restart_with(trusting(&[&ops, &dev], 1));
    this.publish(&signed_by(&good(5), &[&ops])).await;
    assert!(matches!(this.poll().await, Polled::New));
    this.restart_with(trusting(&[&ops, &dev], 1));
    assert_eq!(this.version(), Some(5));
    assert_eq!(this.signers(), ["ops"]);
    let meta = fs::read_to_string(
        this.dir
            .path()
            .join("root")
            .join(META.trim_start_matches('/')),
    )
    .unwrap();
    assert!(meta.contains("\"signers\": [\n    \"ops\"\n  ]"), "{meta}");

    // Somebody else vouches for the same version: not a new one, and kept for the day on which the first counts no longer.
    this.publish(&signed_by(&good(5), &[&dev])).await;
    assert!(matches!(this.poll().await, Polled::Unchanged));
    assert_eq!(this.signers(), ["dev"]);
    this.restart_with(trusting(&[&dev], 1));
    assert_eq!(this.version(), Some(5));

    // Of keys that count no longer it is no document to stand on; its version still is one that was accepted.
    this.restart_with(trusting(&[&ops], 1));
    assert_eq!(this.version(), None);
    this.publish(&signed_by(&good(4), &[&ops])).await;
    assert!(this.refused().await.errors.concat().contains("rollback"));
    this.publish(&signed_by(&good(5), &[&ops])).await;
    assert!(matches!(this.poll().await, Polled::New));
}
