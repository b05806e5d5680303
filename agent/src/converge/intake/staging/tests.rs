use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::converge::intake::{Intake, KEY, Polled, Terms};
use crate::fleet::signing::Trust;
use crate::settings::{BucketUrl, S3Settings};
use crate::system::root::Root;

/// Three web servers, of which web-1 is the canary; `mark` is a package of theirs.
fn document(version: u64, rollout: &str, mark: &str) -> String {
    format!(
        r#"{{"signatures": [], "signed": {{"format": 1, "fleet": "f", "version": {version}, {rollout}
            "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
            "servers": {{
                "web-1": {{"address": "10.0.0.1", "roles": ["web"]}},
                "web-2": {{"address": "10.0.{version}.2", "roles": ["web"]}},
                "web-3": {{"address": "10.0.0.3", "roles": ["web"]}}}},
            "roles": {{"web": {{"packages": ["{mark}"]}}}}}}}}"#
    )
}

const WAVES: &str = r#""rollout": {"canaries": ["web-1"], "bake": "5m"},"#;

struct Box {
    dir: TempDir,
    bucket: Bucket,
    intake: Intake,
    node: Name,
}

fn open(dir: &TempDir) -> Intake {
    let files = Files::new(Root::under(&dir.path().join("root")).unwrap());
    let terms = Terms {
        pinned: None,
        limit: 1024 * 1024,
        trust: Trust::Nobody,
        generation: 0,
        version_step: 1000,
    };
    Intake::open(&files, terms).unwrap()
}

impl Box {
    async fn new(node: &str) -> Self {
        let dir = TempDir::new().unwrap();
        for part in ["root", "bucket"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        let settings = S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: Duration::from_secs(10),
        };
        let url = BucketUrl::Directory(dir.path().join("bucket"));
        Self {
            bucket: Bucket::open(&url, &settings).await,
            intake: open(&dir),
            node: node.parse().unwrap(),
            dir,
        }
    }

    async fn publish(&self, version: u64, text: String) {
        let key = format!("versions/{version}.json");
        for key in [key.as_str(), KEY] {
            let bytes = text.clone().into_bytes();
            self.bucket.put(key, bytes, None).await.unwrap();
        }
    }

    async fn let_go(&self, version: u64, open: u32, halted: bool) {
        let mut progress = Progress::new("f".parse().unwrap(), version);
        progress.open = open;
        if halted {
            progress.halt("2026-11-30T10:00:00Z".parse().unwrap(), "web-1", "it broke");
        }
        let bytes = serde_json::to_vec(&progress).unwrap();
        let key = format!("rollouts/{version}.json");
        self.bucket.put(&key, bytes, None).await.unwrap();
    }

    /// Polls until it is known what the box stands on, as a session does.
    async fn poll(&mut self) -> Stage {
        for _ in 0..25 {
            match self.intake.poll(&self.bucket).await.unwrap() {
                Polled::Unchanged | Polled::New => {}
                other => panic!("{other:?}"),
            }
            let stage = self.intake.stage(&self.node).unwrap();
            if stage != Stage::Undecided {
                return stage;
            }
        }
        panic!("undecided for ever");
    }

    /// The version and the package of what the box goes by, and where it thinks web-2 is.
    fn stands_on(&self) -> (u64, String, String) {
        let standing = self.intake.standing().unwrap();
        let fleet = &standing.fleet;
        let package = fleet
            .roles
            .values()
            .next()
            .unwrap()
            .packages
            .first()
            .unwrap();
        let web_2 = fleet.servers.get("web-2").unwrap();
        (
            standing.id.version,
            package.name.to_string(),
            web_2.address.to_string(),
        )
    }

    fn restart(&mut self) {
        self.intake = open(&self.dir);
        self.intake.stage(&self.node).unwrap();
    }

    fn has(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.dir.path().join("root").join(path).exists()
    }
}

fn on(version: u64, package: &str, web_2: &str) -> (u64, String, String) {
    (version, package.into(), web_2.into())
}

#[tokio::test]
async fn a_box_of_a_later_wave_stays_on_the_version_before_but_for_what_all_share() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, "", "old")).await;
    assert_eq!(this.poll().await, Stage::Taken);
    this.publish(2, document(2, WAVES, "new")).await;
    assert_eq!(this.poll().await, Stage::Waiting);
    assert_eq!(this.stands_on(), on(1, "old", "10.0.2.2"));
    this.restart();
    assert_eq!(this.stands_on(), on(1, "old", "10.0.2.2"));
    // A newer one while it waits: it still stands on the one that it had taken.
    this.publish(3, document(3, WAVES, "newer")).await;
    assert_eq!(this.poll().await, Stage::Waiting);
    assert_eq!(this.stands_on(), on(1, "old", "10.0.3.2"));
    // How far version 2 went is nothing to it any more.
    this.let_go(2, 1, false).await;
    assert_eq!(this.poll().await, Stage::Waiting);
    this.let_go(3, 1, false).await;
    assert_eq!(this.poll().await, Stage::JustTaken);
    assert_eq!(this.stands_on(), on(3, "newer", "10.0.3.2"));
    assert_eq!(this.poll().await, Stage::Taken);
    assert!(!this.has(WAITING) && !this.has(BASE));
    this.restart();
    assert_eq!(this.stands_on(), on(3, "newer", "10.0.3.2"));
}

#[tokio::test]
async fn a_canary_takes_it_once_the_bucket_says_that_it_is_not_halted() {
    let mut this = Box::new("web-1").await;
    this.publish(1, document(1, "", "old")).await;
    this.poll().await;
    this.publish(2, document(2, WAVES, "new")).await;
    assert_eq!(this.poll().await, Stage::JustTaken);
    assert_eq!(this.stands_on(), on(2, "new", "10.0.2.2"));
    this.let_go(3, 0, true).await;
    this.publish(3, document(3, WAVES, "newer")).await;
    assert_eq!(this.poll().await, Stage::Waiting);
    assert_eq!(this.stands_on(), on(2, "new", "10.0.3.2"));
    let node = this.node.clone();
    let status = this.intake.waits_in(&node).unwrap();
    assert_eq!(status.halted.as_deref(), Some("it broke"));
    assert_eq!((status.wave, status.waves, status.open), (1, 2, Some(1)));
}

#[tokio::test]
async fn what_cannot_be_understood_opens_nothing() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, "", "old")).await;
    this.poll().await;
    this.publish(2, document(2, WAVES, "new")).await;
    let other = br#"{"format": 1, "fleet": "g", "version": 2, "open": 9}"#.to_vec();
    this.bucket
        .put("rollouts/2.json", other, None)
        .await
        .unwrap();
    assert_eq!(this.poll().await, Stage::Waiting);
    assert_eq!(this.stands_on(), on(1, "old", "10.0.2.2"));
    let node = this.node.clone();
    let status = this.intake.waits_in(&node).unwrap();
    assert!(status.halted.unwrap().contains("version 2 of g"));
}

#[tokio::test]
async fn a_new_box_begins_with_the_last_version_that_went_to_its_wave() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, "", "one")).await;
    this.publish(2, document(2, WAVES, "two")).await;
    this.let_go(2, 1, false).await;
    this.publish(4, document(4, WAVES, "halted")).await;
    this.let_go(4, 1, true).await;
    this.publish(5, document(5, WAVES, "canary only")).await;
    this.publish(6, document(6, WAVES, "new")).await;
    assert_eq!(this.poll().await, Stage::Waiting);
    assert_eq!(this.stands_on(), on(2, "two", "10.0.6.2"));
    this.restart();
    assert_eq!(this.stands_on(), on(2, "two", "10.0.6.2"));
    this.let_go(6, 1, false).await;
    assert_eq!(this.poll().await, Stage::JustTaken);
    assert_eq!(this.stands_on(), on(6, "new", "10.0.6.2"));
}

#[tokio::test]
async fn where_there_is_nothing_older_the_first_version_is_taken() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, WAVES, "first")).await;
    assert_eq!(this.poll().await, Stage::JustTaken);
    assert_eq!(this.stands_on(), on(1, "first", "10.0.1.2"));
}

#[tokio::test]
async fn a_kill_between_the_two_writes_opens_nothing() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, "", "old")).await;
    this.poll().await;
    let root = this.dir.path().join("root/var/lib/agentd");
    let [before, record] =
        ["document.json", "document.meta.json"].map(|name| fs::read(root.join(name)).unwrap());
    this.publish(2, document(2, WAVES, "new")).await;
    this.poll().await;
    // That it waits was written, the document was not.
    let files = Files::new(Root::under(&this.dir.path().join("root")).unwrap());
    let path = Path::new(crate::converge::intake::DOCUMENT);
    files.write(path, &before, 0o640).unwrap();
    let of_it = Path::new(crate::converge::intake::META);
    files.write(of_it, &record, 0o640).unwrap();
    this.restart();
    assert_eq!(this.stands_on(), on(1, "old", "10.0.1.2"));
    // The document was written, its record was not.
    let newer = document(2, WAVES, "new");
    files.write(path, newer.as_bytes(), 0o640).unwrap();
    this.restart();
    assert_eq!(this.stands_on(), on(1, "old", "10.0.2.2"));
}

#[tokio::test]
async fn a_version_without_a_rollout_waits_for_nothing() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, "", "old")).await;
    this.poll().await;
    this.publish(2, document(2, WAVES, "new")).await;
    this.poll().await;
    this.publish(3, document(3, "", "all")).await;
    assert_eq!(this.poll().await, Stage::Taken);
    assert_eq!(this.stands_on(), on(3, "all", "10.0.3.2"));
    assert!(!this.has(WAITING) && !this.has(BASE));
}

#[tokio::test]
async fn a_kill_while_one_is_waited_for_and_the_next_comes_opens_neither() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, "", "old")).await;
    this.poll().await;
    this.publish(2, document(2, WAVES, "broken")).await;
    this.poll().await;
    let root = this.dir.path().join("root/var/lib/agentd");
    let kept = ["document.json", "document.meta.json"]
        .map(|name| (root.join(name), fs::read(root.join(name)).unwrap()));
    this.publish(3, document(3, WAVES, "new")).await;
    this.poll().await;
    // That it waits for the third was written, the third was not.
    let files = Files::new(Root::under(&this.dir.path().join("root")).unwrap());
    for (path, bytes) in kept {
        let path = Path::new("/var/lib/agentd").join(path.file_name().unwrap());
        files.write(&path, &bytes, 0o640).unwrap();
    }
    this.restart();
    assert_eq!(this.stands_on(), on(1, "old", "10.0.2.2"));
    assert_eq!(this.poll().await, Stage::Waiting);
    assert_eq!(this.stands_on(), on(1, "old", "10.0.3.2"));
}

#[tokio::test]
async fn a_damaged_record_that_it_waits_opens_nothing() {
    let mut this = Box::new("web-3").await;
    this.publish(1, document(1, "", "old")).await;
    this.poll().await;
    this.publish(2, document(2, WAVES, "new")).await;
    this.poll().await;
    let files = Files::new(Root::under(&this.dir.path().join("root")).unwrap());
    files.write(Path::new(WAITING), b"{", 0o640).unwrap();
    this.restart();
    assert_eq!(this.stands_on(), on(1, "old", "10.0.2.2"));
    this.let_go(2, 1, false).await;
    assert_eq!(this.poll().await, Stage::JustTaken);
}
