use std::fmt::Write;

use super::*;
use crate::report::{Kind, StepRecord, Trigger};
use crate::settings::{Overrides, Settings};

const DOCUMENT: &str = r#"{"signatures": [], "signed": {
  "format": 1, "fleet": "test", "version": 1,
  "issued": "2026-01-01T00:00:00Z", "expires": "EXPIRES",
  "servers": {"web-1": {"address": "10.0.0.1"}}
}}"#;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A box, and a bucket in a directory beside its files.
struct Node {
    dir: tempfile::TempDir,
    session: Session,
    state: BoxState,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bucket")).unwrap();
        let settings = Settings::load(&Overrides {
            fleet: Some(format!("file://{}", dir.path().join("bucket").display())),
            node: Some("web-1".into()),
            root: Some(dir.path().into()),
            trust_none: true,
            ..Overrides::default()
        });
        let session = block_on(Session::open(settings.unwrap())).unwrap();
        let state = BoxState::new(&session);
        Self {
            dir,
            session,
            state,
        }
    }

    fn converged() -> Self {
        let mut this = Self::new();
        this.publish("2126-01-01T00:00:00Z");
        this.poll();
        this.run(Vec::new(), Vec::new());
        this
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a scratch file needs no durability"
    )]
    fn publish(&self, expires: &str) {
        let path = self.dir.path().join("bucket/fleet.json");
        std::fs::write(path, DOCUMENT.replace("EXPIRES", expires)).unwrap();
    }

    fn poll(&mut self) {
        let polled = block_on(self.session.poll()).unwrap();
        self.state.polled(&self.session, &polled, None);
    }

    /// The bucket is away, and asked so often.
    fn lose_bucket(&mut self, times: u32) {
        std::fs::remove_dir_all(self.dir.path().join("bucket")).unwrap();
        for _ in 0..times {
            self.poll();
        }
    }

    fn run(&mut self, steps: Vec<StepRecord>, problems: Vec<Problem>) {
        let (intent, found_by) = self.session.intent().unwrap();
        let record = RunRecord {
            format: 1,
            outstanding: Vec::new(),
            id: 7,
            node: intent.node.clone(),
            document: intent.document.id.clone(),
            signers: Vec::new(),
            trigger: Trigger::Poll,
            started: clock::now(),
            took_ms: 1,
            steps,
            problems,
        };
        self.state.ran(&intent, &found_by, &record);
    }

    /// A run that wrote what has not taken effect yet.
    fn run_outstanding(&mut self, step: &str) {
        let (intent, found_by) = self.session.intent().unwrap();
        self.run(Vec::new(), Vec::new());
        let mut record = self.state.last_run.clone().unwrap();
        record.outstanding = vec![StepName(step.into())];
        self.state.ran(&intent, &found_by, &record);
    }

    fn status(&self) -> Status {
        self.state.status(&self.session)
    }

    fn files(&self) -> Files {
        Files::new(self.session.settings.root.clone())
    }

    /// Health and reasons, without what differs from run to run.
    fn said(&self) -> String {
        let status = self.status();
        let mut said = format!("{:?}\n", status.health);
        for reason in &status.reasons {
            writeln!(said, "  - {reason}").unwrap();
        }
        for problem in &status.problems {
            let message = problem.message.replace('\n', "\n      ");
            writeln!(said, "    {message}").unwrap();
        }
        let said = said.replace(&self.dir.path().display().to_string(), "");
        match &status.document {
            Some(document) => said
                .replace(&document.confirmed.to_string(), "CONFIRMED")
                .replace(&document.expires.to_string(), "EXPIRES"),
            None => said,
        }
    }
}

fn step(name: &str, outcome: Outcome, error: &str) -> StepRecord {
    StepRecord {
        kind: Kind::Sites,
        step: StepName(name.into()),
        private: false,
        cause: Cause::Intended,
        outcome,
        changes: Vec::new(),
        activated: Vec::new(),
        error: (outcome != Outcome::Changed).then(|| error.into()),
        notes: Vec::new(),
        took_ms: 0,
    }
}

#[test]
fn health_and_reasons() {
    let mut said = String::new();
    let mut note = |what: &str, this: &Node| {
        writeln!(said, "{what}: {}", this.said()).unwrap();
    };
    let mut this = Node::new();
    note("nothing is known yet", &this);
    this.poll();
    this.state.waiting("there is no document yet: publish one");
    note("no document", &this);
    this.lose_bucket(1);
    note("no document, no bucket", &this);

    let this = Node::converged();
    note("all is well", &this);
    for (failures, what) in [(1, "one lost request"), (2, "two"), (3, "three")] {
        let mut this = Node::converged();
        this.lose_bucket(failures);
        note(what, &this);
    }

    let mut this = Node::converged();
    this.publish("no time");
    this.poll();
    note("a broken document", &this);
    this.publish("2126-01-01T00:00:00Z");
    this.poll();
    note("the good one again", &this);

    let mut this = Node::converged();
    let outcomes = [
        ("sites", Outcome::Failed, "the disk is full\nno space left"),
        ("hosts", Outcome::PutBack, "httpd refused it"),
        ("cron/a", Outcome::Broken, "it is gone; so is the copy"),
        ("cache/b", Outcome::Held, "3 of 4 nodes would go"),
        ("cache/c", Outcome::Quarantined, "it failed before"),
        ("cron/d", Outcome::Changed, ""),
    ];
    for (name, outcome, error) in outcomes {
        this.run(vec![step(name, outcome, error)], Vec::new());
        note(&format!("{outcome:?}"), &this);
    }
    this.run(
        vec![step("sites", Outcome::Failed, "the disk is full")],
        Vec::new(),
    );
    this.run(
        vec![step("sites", Outcome::Failed, "the disk is full")],
        Vec::new(),
    );
    note("failed again", &this);
    assert_eq!(this.state.failing(), 2);
    this.run(Vec::new(), Vec::new());
    assert_eq!(this.state.failing(), 0);
    note("and mended", &this);

    let warning = Problem {
        kind: Kind::Hosts,
        step: None,
        severity: Severity::Warning,
        message: "a line of yours is shadowed".into(),
        origin: None,
    };
    this.run(Vec::new(), vec![warning]);
    note("a warning", &this);
    this.state.flapping = vec!["somebody rewrites /etc/hosts again and again".into()];
    note("a flapping file", &this);
    this.state.flapping.clear();
    this.state
        .not_kept("a new document could not be written to disk: no space left");
    note("no room for a new document", &this);
    this.poll();
    this.state.failed_to_run("the ledger cannot be read");
    note("its own state", &this);
    this.run(Vec::new(), Vec::new());
    note("well again", &this);
    this.state.waiting("the document has no server web-1");
    note("no longer in the document", &this);
    insta::assert_snapshot!(said);
}

#[test]
fn an_expired_document_is_kept_and_told() {
    let mut this = Node::new();
    let soon = clock::now() + Duration::from_secs(2);
    this.publish(&soon.to_string());
    this.poll();
    this.run(Vec::new(), Vec::new());
    assert_eq!(this.status().health, Health::Converged);
    std::thread::sleep(Duration::from_millis(2_100));
    insta::assert_snapshot!(this.said(), @"
    Degraded
      - the document expired on EXPIRES: it is kept, but publish a new version
    ");
}

#[test]
fn what_was_done_is_counted_as_what_it_was() {
    let mut this = Node::converged();
    let repaired = StepRecord {
        cause: Cause::Drift,
        ..step("hosts", Outcome::Changed, "")
    };
    this.run(
        vec![
            repaired,
            step("sites", Outcome::Changed, ""),
            step("cron/a", Outcome::Failed, "x"),
            step("cron/b", Outcome::Held, "x"),
        ],
        Vec::new(),
    );
    let counters = this.status().counters;
    let expected = Counters {
        runs: 2,
        run_ms: 2,
        polls: 1,
        changes: 1,
        repairs: 1,
        failures: 1,
        ..Counters::default()
    };
    assert_eq!(counters, expected);
    let steps = this.status().steps;
    assert_eq!((steps.failed, steps.held, steps.all()), (1, 1, 2));
    assert!(steps.failing_since.is_some());

    // A refused document is one, however often it is heard of; a lost request is a poll like any.
    this.publish("no time");
    this.poll();
    this.poll();
    this.lose_bucket(2);
    let counters = this.status().counters;
    assert_eq!((counters.polls, counters.failed_polls), (5, 2));
    assert_eq!(counters.refusals, 1);
    this.run(vec![step("cron/b", Outcome::Held, "x")], Vec::new());
    assert_eq!(this.status().steps.failing_since, None);
}

#[test]
fn the_file_is_written_for_news_and_as_a_sign_of_life_and_else_left_alone() {
    let mut this = Node::converged();
    let files = this.files();
    let inode = || {
        let path = this.dir.path().join("run/agentd/status.json");
        std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap())
    };
    let mut state = std::mem::replace(&mut this.state, BoxState::new(&this.session));
    let publish = |state: &mut BoxState, due| {
        drop(state.publish(&files, &this.session, due).unwrap());
        inode()
    };
    let first = publish(&mut state, false);
    state.polled(&this.session, &Polled::Unchanged, None);
    assert_eq!(publish(&mut state, false), first, "a poll is no news");
    let beat = publish(&mut state, true);
    assert_ne!(beat, first);
    state.flapping = vec!["a flapping file".into()];
    let news = publish(&mut state, false);
    assert_ne!(news, beat);
    // `--once` leaves a file alone that says the same already.
    state.write_if_news(&files, &this.session).unwrap();
    assert_eq!(inode(), news);
    state.flapping.clear();
    state.write_if_news(&files, &this.session).unwrap();
    assert_ne!(inode(), news);
}

#[test]
fn what_is_written_and_not_in_effect_is_not_converged() {
    let mut node = Node::new();
    node.publish("2126-01-01T00:00:00Z");
    node.poll();
    node.run(Vec::new(), Vec::new());
    assert_eq!(node.status().health, Health::Converged);
    node.run_outstanding("sites");
    let status = node.status();
    assert_eq!(status.health, Health::Degraded);
    assert!(
        status.reasons[0].starts_with("sites: written, and not in effect yet"),
        "{status:?}"
    );
    node.run(Vec::new(), Vec::new());
    assert_eq!(node.status().health, Health::Converged);
}

#[test]
fn what_stands_in_files_does_not_reach_the_status_that_all_may_read() {
    let mut this = Node::converged();
    let mut changed = step("sites", Outcome::Changed, "");
    changed.changes.push(crate::report::ChangeRecord {
        action: crate::report::Action::Update,
        path: "/etc/secret".into(),
        shown_as: None,
        diff: "-password one\n+password two\n".into(),
        backup: None,
        origins: Vec::new(),
        internal: false,
    });
    this.run(vec![changed], Vec::new());
    let files = this.files();
    let mut state = std::mem::replace(&mut this.state, BoxState::new(&this.session));
    state.publish(&files, &this.session, true).unwrap();
    let written = std::fs::read_to_string(this.dir.path().join("run/agentd/status.json")).unwrap();
    assert!(written.contains("/etc/secret"), "{written}");
    assert!(!written.contains("password"), "{written}");
}

#[test]
fn the_last_run_is_known_after_a_start_also_where_the_status_file_is_older_than_the_journal() {
    let mut this = Node::converged();
    let files = this.files();
    let limits = this.session.settings.journal;
    this.run(vec![step("sites", Outcome::Changed, "")], Vec::new());
    let mut record = this.state.last_run.clone().unwrap();
    journal::keep(&files, &record, limits).unwrap();
    let mut state = std::mem::replace(&mut this.state, BoxState::new(&this.session));
    state.publish(&files, &this.session, true).unwrap();
    let started = BoxState::new(&this.session);
    assert_eq!(started.last_run.as_ref(), Some(&record));
    assert_eq!(started.changed, Some(record.started));

    // A run that nobody has published: its process was killed.
    record.id += 1;
    journal::keep(&files, &record, limits).unwrap();
    assert_eq!(BoxState::new(&this.session).last_run, Some(record));
}
