//! Boxes as monitors meet them, for the tests of all voices, and the rules that every reading keeps.

use std::collections::BTreeSet;

use super::*;
use crate::report::database::tests::healthy_snapshots;
use crate::report::{
    AgentStatus, BucketStatus, CertificateStatus, ChangeStatus, Counters, DatabaseServer,
    DatabaseStatus, DnsStatus, DocumentStatus, EvictionStatus, FailoverStatus, Health, HoldStatus,
    JobState, JobStatus, LatestRun, LeaseStatus, NodeStatus, Part, Place, Problem, Refusal,
    ServerSeen, Severity, StandingOrder, StepCounts, StepName, TrustStatus, UndoneStatus,
};

pub(in crate::report) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(in crate::report) fn now() -> Timestamp {
    at("2026-11-23T03:00:00Z")
}

pub(in crate::report) fn converged() -> Status {
    Status {
        format: 1,
        written: at("2026-11-23T02:59:30Z"),
        health: Health::Converged,
        reasons: vec![],
        agent: AgentStatus {
            version: "0.1.0".into(),
            pid: 312,
            started: at("2026-11-22T20:00:00Z"),
            poll_ms: Some(10_000),
            memory_bytes: Some(9_437_184),
            trouble: None,
        },
        node: NodeStatus {
            name: Some("web-1".parse().unwrap()),
            found_by: "the host name web-1".into(),
        },
        document: Some(DocumentStatus {
            id: crate::fleet::DocumentId {
                fleet: "heavy".parse().unwrap(),
                version: 42,
                digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            },
            issued: at("2026-11-22T20:00:00Z"),
            expires: at("2026-12-22T20:00:00Z"),
            confirmed: at("2026-11-23T02:59:22Z"),
            trust: "1 of 2 keys".into(),
            signers: vec!["alice".parse().unwrap()],
        }),
        trust: Some(TrustStatus {
            generation: 3,
            expires: None,
            refused: None,
        }),
        refused: None,
        bucket: BucketStatus {
            url: "s3://fleet/prod".into(),
            last_answer: Some(at("2026-11-23T02:59:22Z")),
            error: None,
            failures: 0,
            latency_ms: Some(12),
        },
        problems: vec![],
        steps: StepCounts::default(),
        drift: vec![],
        services: vec![],
        readiness: vec![],
        dns: vec![],
        evictions: vec![],
        hold: None,
        drain: None,
        undone: None,
        jobs: vec![],
        certificates: vec![],
        retired: None,
        rollout: Some(crate::report::RolloutStatus {
            version: 42,
            wave: 1,
            waves: 3,
            open: Some(1),
            taken: true,
            halted: None,
            waits_for: Some("web-1 (well, 60 s to go)".into()),
        }),
        stands_on: None,
        well_since: None,
        latest_run: Some(LatestRun {
            started: at("2026-11-23T02:59:10Z"),
            took_ms: 7,
        }),
        changed: Some(at("2026-11-22T23:00:00Z")),
        last_run: None,
        databases: vec![database()],
        report: crate::report::ReportStatus::default(),
        counters: Counters {
            runs: 431,
            run_ms: 3_017,
            polls: 2517,
            failed_polls: 3,
            changes: 4,
            repairs: 1,
            failures: 0,
            refusals: 0,
        },
    }
}

/// A healthy chain of two, as its candidate knows it.
fn database() -> DatabaseStatus {
    let server = |name: &str, writable, lag_ms| DatabaseServer {
        name: name.parse().unwrap(),
        address: format!("{name}:3306"),
        place: if writable {
            Place::Master
        } else {
            Place::Replica
        },
        seen: Some(ServerSeen {
            at: at("2026-11-23T02:59:29Z"),
            error: None,
            version: "10.11.6-MariaDB".into(),
            writable,
            gtid: "0-1-42".into(),
            source: (!writable).then(|| "db-1".into()),
            receiving: !writable,
            applying: !writable,
            lag_ms,
            replication_error: None,
            clients: Some(7),
            semi_sync: None,
        }),
        obstacles: (!writable).then(Vec::new),
        quarantined: None,
    };
    DatabaseStatus {
        product: "shop".parse().unwrap(),
        products: vec!["shop".parse().unwrap()],
        part: Part::Candidate,
        master: Some("db-1".parse().unwrap()),
        lease: Some(LeaseStatus {
            epoch: 4,
            owner: "db-1".parse().unwrap(),
            state: "serving".into(),
            gtid: "0-1-42".into(),
            armed: true,
            since: at("2026-11-01T00:00:00Z"),
            renewed: at("2026-11-23T02:59:29Z"),
            confirmed: at("2026-11-23T02:59:29Z"),
            trouble: None,
        }),
        servers: vec![
            server("db-1", true, None),
            server("web-1", false, Some(250)),
        ],
        failover: FailoverStatus {
            automatic: Some(true),
            obstacles: vec![],
            successor: Some("web-1".parse().unwrap()),
            bucket: None,
        },
        hold: Some(HoldStatus {
            by: "db-1".parse().unwrap(),
            reason: None,
            since: at("2026-11-23T02:00:00Z"),
            maintenance_until: None,
        }),
        last_change: Some(ChangeStatus {
            epoch: 4,
            at: at("2026-11-01T00:00:00Z"),
            from: None,
            to: "db-1".parse().unwrap(),
            cause: "first".into(),
            lost_at_least: None,
            lost_none: true,
        }),
        doing: None,
        urgent: vec![],
        snapshots: None,
        alarms: vec![],
        notes: vec![],
    }
}

/// The same box, if it took the snapshots.
fn certificate(file: &str, until: &str) -> CertificateStatus {
    CertificateStatus {
        file: file.into(),
        site: "shop/www".into(),
        sites: 2,
        until: at(until),
    }
}

pub(in crate::report) fn with_snapshots() -> Status {
    let mut status = converged();
    status.certificates = vec![certificate("/etc/pki/shop.crt", "2027-01-30T00:00:00Z")];
    for database in &mut status.databases {
        database.snapshots = Some(healthy_snapshots());
    }
    status
}

#[test]
fn snapshots_that_are_two_intervals_old_warn_and_four_alarm() {
    let level = |newest: &str, restorable: &str| {
        let mut status = with_snapshots();
        let snapshots = status.databases[0].snapshots.as_mut().unwrap();
        snapshots.newest.as_mut().unwrap().at = at(newest);
        snapshots.restorable.as_mut().unwrap().at = at(restorable);
        let seen = Seen {
            status: Some(&status),
            trouble: None,
            running: Some(true),
        };
        let alarms = Watch::new(seen, now()).alarms(&[Area::Database]);
        let told = |alarm: &Alarm| format!("{:?}: {}", alarm.level, alarm.says);
        alarms.iter().map(told).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(level("2026-11-23T02:47:00Z", "2026-11-23T02:02:00Z"), "");
    assert_eq!(
        level("2026-11-23T02:29:00Z", "2026-11-23T02:02:00Z"),
        "Warning: shop: no snapshot for 31 min"
    );
    // The older cause is told alone.
    assert_eq!(
        level("2026-11-23T00:30:00Z", "2026-11-23T00:30:00Z"),
        "Critical: shop: no snapshot for 2 h"
    );
    assert_eq!(
        level("2026-11-23T02:47:00Z", "2026-11-23T00:30:00Z"),
        "Warning: shop: nothing restorable for 2 h"
    );
}

fn degraded(change: impl FnOnce(&mut Status)) -> Status {
    let mut status = converged();
    status.health = Health::Degraded;
    change(&mut status);
    status
}

/// One step in trouble, as the daemon tells it.
fn step(name: &str, message: &str, counts: StepCounts) -> Status {
    degraded(|status| {
        status.reasons = vec![format!("{name}: {message}")];
        status.steps = counts;
        status.problems = vec![Problem {
            kind: crate::report::Kind::Sites,
            step: Some(StepName(name.into())),
            severity: Severity::Failure,
            message: message.into(),
            origin: None,
        }];
    })
}

/// What monitors may meet: a name, the status, and whether the agent runs.
pub(in crate::report) fn boxes() -> Vec<(&'static str, Option<Status>, Option<bool>)> {
    let one = StepCounts::default();
    let runs = |name, status| (name, Some(status), Some(true));
    let long_ago = |status: &mut Status| {
        status.bucket.last_answer = Some(at("2026-11-23T01:00:00Z"));
        status.bucket.failures = 700;
        status.bucket.error =
            Some("cannot get s3://fleet/prod/fleet.json: connection refused".into());
        status.reasons = vec!["no good answer from the bucket since 01:00".into()];
        if let Some(document) = &mut status.document {
            document.confirmed = at("2026-11-23T01:00:00Z");
        }
    };
    let expires = |when: &str| {
        degraded(|status| {
            status.reasons = vec!["the document expired".into()];
            if let Some(document) = &mut status.document {
                document.issued = at("2026-10-01T00:00:00Z");
                document.expires = at(when);
            }
        })
    };
    vec![
        runs("all is well", converged()),
        ("it cannot be seen whether it runs", Some(converged()), None),
        ("the agent is gone", Some(converged()), Some(false)),
        ("no status", None, None),
        runs("it hangs", {
            let mut status = converged();
            status.written = at("2026-11-23T02:40:00Z");
            status
        }),
        runs("the bucket is away for a minute", {
            degraded(|status| {
                status.bucket.last_answer = Some(at("2026-11-23T02:58:50Z"));
                status.bucket.failures = 4;
                status.reasons = vec!["no good answer from the bucket since 02:58".into()];
            })
        }),
        runs("the bucket is away for two hours", degraded(long_ago)),
        runs("the document expires tomorrow", {
            let mut status = expires("2026-11-24T03:00:00Z");
            status.health = Health::Converged;
            status
        }),
        runs("the document has expired", expires("2026-11-23T00:00:00Z")),
        runs(
            "the document expired a week ago",
            expires("2026-11-16T00:00:00Z"),
        ),
        runs("a refused document", {
            degraded(|status| {
                status.refused = Some(Refusal {
                    version: Some(43),
                    since: at("2026-11-23T02:50:00Z"),
                    errors: vec!["38:95: /signed/products/shop: unknown field `prot` | `x`".into()],
                });
                status.reasons = vec!["version 43 in the bucket was refused".into()];
            })
        }),
        runs(
            "a failed step",
            step(
                "sites",
                "the disk is full\nno space left",
                StepCounts {
                    failed: 1,
                    failing_since: Some(at("2026-11-23T02:55:00Z")),
                    ..one
                },
            ),
        ),
        runs(
            "a step that has failed for long",
            step(
                "sites",
                "the disk is full",
                StepCounts {
                    failed: 1,
                    failing_since: Some(at("2026-11-23T01:00:00Z")),
                    ..one
                },
            ),
        ),
        runs(
            "put back",
            step(
                "sites",
                "httpd refused it",
                StepCounts { put_back: 1, ..one },
            ),
        ),
        runs(
            "quarantined",
            step(
                "cache/shop",
                "it failed before",
                StepCounts {
                    quarantined: 1,
                    ..one
                },
            ),
        ),
        runs(
            "held",
            step(
                "hosts",
                "3 of 4 lines would go",
                StepCounts { held: 1, ..one },
            ),
        ),
        runs(
            "broken",
            step(
                "cron/a-very-long-name-of-a-product_and-a-very-long-name-of-a-job",
                "it is gone",
                StepCounts {
                    broken: 1,
                    failing_since: Some(at("2026-11-23T02:59:00Z")),
                    ..one
                },
            ),
        ),
        runs(
            "what cannot be",
            step("cron/shop_tick", "there is no account shop: create it", one),
        ),
        runs("a warning only", {
            let mut status = step("hosts", "a line of yours is shadowed", one);
            status.health = Health::Converged;
            for problem in &mut status.problems {
                problem.severity = Severity::Warning;
            }
            status
        }),
        runs(
            "jobs that did not run well",
            degraded(|status| {
                status.health = Health::Converged;
                let job = |name: &str, state, says: &str| JobStatus {
                    job: name.into(),
                    user: "shop".into(),
                    schedule: "*/5 * * * *".into(),
                    timezone: None,
                    state,
                    says: says.into(),
                    started: Some(at("2026-11-23T02:55:00Z")),
                    took_ms: Some(3200),
                    code: Some(1),
                    succeeded: None,
                };
                status.jobs = vec![
                    job("shop_digest", JobState::Ok, "in 3.2 s"),
                    job("shop_tick", JobState::Failed, "exit code 1 after 3.2 s"),
                    job("shop_mail", JobState::Missed, "due at 02:55; it never ran"),
                ];
            }),
        ),
        runs(
            "a certificate that nobody has renewed",
            degraded(|status| {
                status.health = Health::Converged;
                status.certificates = vec![
                    certificate("/etc/pki/shop.crt", "2026-11-25T12:00:00Z"),
                    certificate("/etc/pki/video.crt", "2027-01-30T00:00:00Z"),
                ];
            }),
        ),
        runs(
            "a name server that does not answer",
            degraded(|status| {
                status.dns = vec![DnsStatus {
                    name: "www.example.com".into(),
                    product: "shop".parse().unwrap(),
                    addresses: ["198.51.100.11".parse().unwrap()].into(),
                    present: None,
                    wanted: true,
                    reason: String::new(),
                    checked: Some(at("2026-11-23T02:59:00Z")),
                    error: Some("the name server 10.0.0.53 did not answer within 5 s".into()),
                }];
                status.reasons = vec!["DNS: www.example.com".into()];
            }),
        ),
        runs(
            "a server that was found dead",
            degraded(|status| {
                status.health = Health::Converged;
                status.evictions = vec![EvictionStatus {
                    product: "shop".parse().unwrap(),
                    part: crate::fleet::EvictPart::Cache,
                    server: "cache-2".parse().unwrap(),
                    out: true,
                    since: at("2026-11-23T02:50:00Z"),
                    by: vec!["web-1".parse().unwrap(), "web-2".parse().unwrap()],
                    why: "10.77.0.22:11211: no connection within 3 s".into(),
                    says: None,
                }];
            }),
        ),
        runs(
            "held and drained by a person",
            degraded(|status| {
                let order = |reason: &str| StandingOrder {
                    format: 1,
                    since: at("2026-11-23T02:00:00Z"),
                    until: at("2026-11-23T04:00:00Z"),
                    by: "alice".into(),
                    reason: reason.into(),
                };
                status.hold = Some(order("new disks"));
                status.drain = Some(order("a new kernel"));
                status.undone = Some(UndoneStatus {
                    version: 42,
                    goes_by: 41,
                    run: 17,
                    since: at("2026-11-23T02:00:00Z"),
                    by: "alice".into(),
                });
                status.steps = StepCounts { held: 3, ..one };
                status.reasons = vec!["nothing is changed on this box".into()];
            }),
        ),
        runs(
            "a fight",
            degraded(|status| {
                status.drift =
                    vec!["somebody rewrites /etc/hosts again and again: find out who".into()];
                status.reasons.clone_from(&status.drift);
            }),
        ),
        runs(
            "its own trouble",
            degraded(|status| {
                status.agent.trouble =
                    Some("no run could be made: cannot read /var/lib/agentd/ledger.json".into());
                status.reasons = vec!["no run could be made".into()];
            }),
        ),
        runs(
            "a reason that nobody foresaw",
            degraded(|status| {
                status.reasons = vec!["the moon is full".into()];
            }),
        ),
        runs("just started", {
            let mut status = waiting();
            status.agent.started = at("2026-11-23T02:59:40Z");
            status
        }),
        runs("waiting for a document", waiting()),
        runs("not in the document", {
            let mut status = waiting();
            status.document = converged().document;
            status.reasons = vec!["no server of heavy version 42 is this box".into()];
            status
        }),
        runs(
            "two masters",
            degraded(|status| {
                let databases = status.databases.iter_mut();
                for seen in databases.flat_map(|database| &mut database.servers) {
                    if let Some(seen) = &mut seen.seen {
                        seen.writable = true;
                    }
                }
            }),
        ),
        runs(
            "two machines of one name",
            degraded(|status| {
                for database in &mut status.databases {
                    database.urgent = vec!["another machine goes by the name db-1".into()];
                    database.alarms = database.urgent.clone();
                }
            }),
        ),
        runs(
            "a database without a master, and nobody who could take over",
            degraded(|status| {
                for database in &mut status.databases {
                    database.alarms = vec!["web-1 cannot take over: it is 20 min behind".into()];
                    if let Some(lease) = &mut database.lease {
                        lease.renewed = at("2026-11-23T02:30:00Z");
                    }
                    for server in &mut database.servers {
                        server.obstacles =
                            server.obstacles.as_ref().map(|_| vec!["it lags".into()]);
                        if let Some(seen) = &mut server.seen {
                            seen.lag_ms = Some(1_200_000);
                        }
                    }
                }
            }),
        ),
        runs(
            "a server that is kept out, and a hold that was forgotten",
            degraded(|status| {
                for database in &mut status.databases {
                    if let Some(hold) = &mut database.hold {
                        hold.since = at("2026-11-20T00:00:00Z");
                    }
                    for server in &mut database.servers {
                        server.quarantined = Some("it has 3 transactions that db-1 lacks".into());
                    }
                }
            }),
        ),
        runs(
            "everything at once",
            degraded(|status| {
                long_ago(status);
                status.steps = StepCounts {
                    broken: 1,
                    held: 2,
                    quarantined: 1,
                    ..one
                };
                status.drift =
                    vec!["somebody rewrites /etc/hosts again and again: find out who".into()];
                status.agent.memory_bytes = Some(200 << 20);
            }),
        ),
    ]
}

fn waiting() -> Status {
    let mut status = converged();
    status.health = Health::Waiting;
    status.reasons = vec!["there is no document yet: publish one".into()];
    status.document = None;
    status.node.name = None;
    status.latest_run = None;
    status.agent.started = at("2026-11-23T02:30:00Z");
    status
}

#[test]
fn every_reading_keeps_the_rules_of_all_voices() {
    let status = converged();
    let seen = Seen {
        status: Some(&status),
        trouble: None,
        running: Some(true),
    };
    let watch = Watch::new(seen, now());
    let names: BTreeSet<_> = watch
        .readings
        .iter()
        .map(|reading| reading.what.name)
        .collect();
    let metrics: BTreeSet<_> = watch
        .readings
        .iter()
        .map(|reading| reading.what.metric)
        .collect();
    assert_eq!(names.len(), watch.readings.len(), "two of one name");
    assert_eq!(metrics.len(), watch.readings.len(), "two of one metric");
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    for reading in &watch.readings {
        let what = reading.what;
        let name = what.name;
        // Nagios tells labels apart by their first 19 characters; a field of Munin is never called root.
        assert!(name.len() <= 19 && word(name) && name != "root", "{name}");
        assert!(
            word(what.metric) && !what.metric.ends_with("_total"),
            "{name}"
        );
        assert!(word(what.graph.name) && what.graph.name != name, "{name}");
        assert!(!what.help.ends_with('.') && what.help.len() > 3, "{name}");
        assert!(
            !what.label.is_empty() && !what.label.contains(['#', '\\']),
            "{name}"
        );
        for other in what.covered_by {
            assert!(names.contains(other), "{name} is covered by {other}");
        }
        // A moment's metric says so.
        let moment = matches!(what.kind, Kind::Age | Kind::Left);
        assert_eq!(what.metric.ends_with("timestamp"), moment, "{name}");
        if moment {
            assert_eq!(what.unit, Unit::Seconds, "{name}");
        }
        // What can alarm says what to do.
        if reading.warning.is_some() || reading.critical.is_some() {
            assert!(!what.todo.is_empty(), "{name}");
        }
        // A box of which nothing is wrong alarms nobody, and everything is known of it.
        assert!(reading.number(now()).is_some(), "{name} is not known");
    }
    assert_eq!(watch.alarms(&Area::ALL), []);
}

#[test]
fn limits_are_set_by_name_and_a_wrong_name_is_told_with_the_right_ones() {
    let status = converged();
    let seen = Seen {
        status: Some(&status),
        trouble: None,
        running: Some(true),
    };
    let mut watch = Watch::new(seen, now());
    watch
        .limit(Level::Warning, "document_age", "10".parse().unwrap())
        .unwrap();
    let alarms = watch.alarms(&Area::ALL);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].says, "document not confirmed for 38 s");
    watch
        .limit(Level::Critical, "memory", "@1:100000000".parse().unwrap())
        .unwrap();
    assert_eq!(watch.alarms(&Area::ALL)[0].level, Level::Critical);
    let error = watch
        .limit(Level::Warning, "documentage", "10".parse().unwrap())
        .unwrap_err();
    assert!(error.contains("document_age, "), "{error}");
}

#[test]
fn who_polls_rarely_is_given_time() {
    let mut status = converged();
    status.agent.poll_ms = Some(3_600_000);
    status.bucket.last_answer = Some(at("2026-11-23T00:00:00Z"));
    let seen = Seen {
        status: Some(&status),
        trouble: None,
        running: Some(true),
    };
    assert_eq!(Watch::new(seen, now()).alarms(&[Area::Bucket]), []);
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_negative() {
    let status = converged();
    let seen = Seen {
        status: Some(&status),
        trouble: None,
        running: Some(true),
    };
    let watch = Watch::new(seen, at("2026-11-22T00:00:00Z"));
    for reading in &watch.readings {
        assert!(
            reading.number(watch.now).is_none_or(|number| number >= 0.0),
            "{}",
            reading.key()
        );
    }
}
