//! Golden texts: would a person at 3 a.m. understand them?

use std::path::PathBuf;

use jiff::Timestamp;

use super::*;
use crate::fleet::Pointer;
use crate::report::{
    Action, AgentStatus, BucketStatus, Cause, ChangeRecord, Counters, DocumentId, DocumentStatus,
    Health, Kind, NodeStatus, Outcome, Problem, Refusal, RunRecord, Severity, Status, StepCounts,
    StepName, StepRecord, Trigger,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-23T03:00:00Z")
}

fn document() -> DocumentId {
    DocumentId {
        fleet: "heavy".parse().unwrap(),
        version: 42,
        digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
    }
}

fn hosts_step() -> StepRecord {
    StepRecord {
        kind: Kind::Hosts,
        step: StepName("hosts".into()),
        private: false,
        cause: Cause::Drift,
        outcome: Outcome::Changed,
        changes: vec![ChangeRecord {
            action: Action::Update,
            path: "/etc/hosts".into(),
            shown_as: None,
            diff: "@@ -2,3 +2,3 @@\n 10.77.0.11 web-1\n-10.77.0.99 mysql-master\n+10.77.0.31 mysql-master\n 10.77.0.32 db-2\n".into(),
            backup: Some("/var/lib/agentd/backups/17/etc/hosts".into()),
            internal: false,
            origins: ["db-1", "db-2", "web-1", "web-2", "web-3"]
                .map(|name| Pointer(format!("/signed/servers/{name}")))
                .into(),
        }],
        activated: vec![],
        error: None,
        notes: vec!["written in place: /etc/hosts is a mount point".into()],
        took_ms: 3,
    }
}

fn sites_step() -> StepRecord {
    StepRecord {
        kind: Kind::Sites,
        step: StepName("sites".into()),
        private: false,
        cause: Cause::Intended,
        outcome: Outcome::PutBack,
        changes: vec![
            ChangeRecord {
                action: Action::Create,
                path: "/etc/httpd/agentd/7d1f/shop_www.conf".into(),
                shown_as: Some("/etc/httpd/agentd/current/shop_www.conf".into()),
                diff: "@@ -0,0 +1,2 @@\n+<VirtualHost *:80>\n+</VirtualHost>\n".into(),
                backup: None,
                internal: false,
                origins: vec![Pointer("/signed/products/shop/sites/www".into())],
            },
            ChangeRecord {
                action: Action::Restart,
                path: PathBuf::from("agentd-memcached@shop.service"),
                shown_as: None,
                diff: String::new(),
                backup: None,
                internal: false,
                origins: vec![],
            },
        ],
        activated: vec!["reload httpd.service".into()],
        error: Some("httpd refuses the staged configuration\n  caused by: AH00526: Syntax error on line 3 of \x1b[31m/etc/httpd".into()),
        notes: vec![],
        took_ms: 1480,
    }
}

fn cron_problem() -> Problem {
    Problem {
        kind: Kind::Cron,
        step: Some(StepName("cron/shop_tick".into())),
        severity: Severity::Failure,
        message: "there is no account shop on this box: create it, or name another user".into(),
        origin: Some(Pointer("/signed/products/shop/cron/tick/user".into())),
    }
}

fn hosts_warning() -> Problem {
    Problem {
        kind: Kind::Hosts,
        step: None,
        severity: Severity::Warning,
        message: "line 3 of /etc/hosts, outside the agent's lines, names web-2 too and wins".into(),
        origin: None,
    }
}

fn bad_run() -> RunRecord {
    RunRecord {
        format: 1,
        outstanding: Vec::new(),
        id: 17,
        node: "web-1".parse().unwrap(),
        document: document(),
        signers: Vec::new(),
        trigger: Trigger::Poll,
        started: at("2026-11-23T02:57:00.25Z"),
        took_ms: 1502,
        steps: vec![hosts_step(), sites_step()],
        problems: vec![cron_problem(), hosts_warning()],
    }
}

fn good_run() -> RunRecord {
    RunRecord {
        id: 16,
        trigger: Trigger::Drift,
        steps: vec![hosts_step()],
        problems: vec![],
        started: at("2026-11-22T20:00:05Z"),
        took_ms: 12,
        ..bad_run()
    }
}

fn converged() -> Status {
    Status {
        format: 1,
        written: at("2026-11-23T02:59:56Z"),
        health: Health::Converged,
        reasons: vec![],
        agent: AgentStatus {
            version: "0.1.0".into(),
            pid: 312,
            started: at("2026-11-22T20:00:00Z"),
            poll_ms: Some(10_000),
            memory_bytes: Some(9_000_000),
            trouble: None,
        },
        node: NodeStatus {
            name: Some("web-1".parse().unwrap()),
            found_by: "the host name web-1".into(),
        },
        document: Some(DocumentStatus {
            id: document(),
            issued: at("2026-11-22T20:00:00Z"),
            expires: at("2026-12-22T20:00:00Z"),
            confirmed: at("2026-11-23T02:59:56Z"),
            trust: "none".into(),
            signers: Vec::new(),
        }),
        trust: None,
        refused: None,
        bucket: BucketStatus {
            url: "s3://fleet/prod".into(),
            last_answer: Some(at("2026-11-23T02:59:56Z")),
            error: None,
            failures: 0,
            latency_ms: Some(12),
        },
        problems: vec![],
        steps: StepCounts::default(),
        drift: vec![],
        services: vec![],
        readiness: vec![],
        evictions: vec![],
        dns: vec![],
        hold: None,
        drain: None,
        undone: None,
        jobs: vec![],
        certificates: Vec::new(),
        retired: None,
        rollout: None,
        stands_on: None,
        well_since: None,
        latest_run: None,
        changed: None,
        last_run: Some(good_run()),
        databases: vec![],
        report: crate::report::ReportStatus::default(),
        counters: Counters {
            runs: 2,
            polls: 2517,
            changes: 4,
            repairs: 1,
            ..Counters::default()
        },
    }
}

fn degraded() -> Status {
    Status {
        health: Health::Degraded,
        reasons: vec![
            "the bucket has not answered for 14 min: mend the network or the credentials; drift is still repaired".into(),
            "sites was put back: `agentctl show 17` tells why".into(),
        ],
        refused: Some(Refusal {
            version: Some(43),
            since: at("2026-11-23T02:40:00Z"),
            errors: (1..=12)
                .map(|n| format!("{n}:7: /signed/servers/web-{n}: unknown field `adress`; did you mean `address`?"))
                .collect(),
        }),
        bucket: BucketStatus {
            url: "s3://fleet/prod".into(),
            last_answer: Some(at("2026-11-23T02:46:00Z")),
            error: Some("cannot get s3://fleet/prod/fleet.json: the bucket does not answer as it should\n  caused by: connection refused".into()),
            failures: 31,
            latency_ms: Some(12),
        },
        document: converged().document.map(|document| DocumentStatus {
            expires: at("2026-11-20T20:00:00Z"),
            confirmed: at("2026-11-23T02:46:00Z"),
            ..document
        }),
        problems: vec![cron_problem(), hosts_warning()],
        last_run: Some(bad_run()),
        ..converged()
    }
}

#[test]
fn status_converged() {
    insta::assert_snapshot!(status(&converged(), Heard::Live, now(), Paint::PLAIN));
}

#[test]
fn status_degraded() {
    insta::assert_snapshot!(status(&degraded(), Heard::Live, now(), Paint::PLAIN));
}

#[test]
fn status_of_an_agent_that_is_gone() {
    let later = at("2026-11-23T05:10:00Z");
    insta::assert_snapshot!(status(&converged(), Heard::Gone, later, Paint::PLAIN));
}

#[test]
fn status_of_an_agent_that_hangs() {
    insta::assert_snapshot!(
        status(&converged(), Heard::Hung, now(), Paint::PLAIN)
            .lines()
            .take(3)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn status_of_a_box_that_does_not_know_itself() {
    let waiting = Status {
        health: Health::Waiting,
        reasons: vec!["no server of heavy version 42 is this box: name it with `node` in agentd.toml, or add it to the document".into()],
        node: NodeStatus {
            name: None,
            found_by: "in vain: no setting node, no instance metadata, host name localhost".into(),
        },
        document: None,
        last_run: None,
        bucket: BucketStatus {
            last_answer: None,
            latency_ms: None,
            ..converged().bucket
        },
        ..converged()
    };
    insta::assert_snapshot!(status(&waiting, Heard::File, now(), Paint::PLAIN));
}

#[test]
fn run_with_everything() {
    insta::assert_snapshot!(run(&bad_run(), Detail::All, now(), Paint::PLAIN));
}

#[test]
fn run_without_anything() {
    let idle = RunRecord {
        id: 0,
        steps: vec![],
        problems: vec![],
        ..bad_run()
    };
    insta::assert_snapshot!(run(&idle, Detail::All, now(), Paint::PLAIN), @"
    web-1: nothing to do, for heavy version 42
    ");
}

#[test]
fn every_outcome_of_a_step() {
    let mut out = String::new();
    for tense in [Tense::Would, Tense::Did] {
        for cause in [
            Cause::Intended,
            Cause::Drift,
            Cause::Pending,
            Cause::Unwanted,
        ] {
            out += &step(
                &bare(cause, Outcome::Changed),
                tense,
                Detail::All,
                Paint::PLAIN,
            );
        }
    }
    for outcome in [
        Outcome::Failed,
        Outcome::PutBack,
        Outcome::Broken,
        Outcome::Held,
        Outcome::Quarantined,
    ] {
        out += &step(
            &bare(Cause::Intended, outcome),
            Tense::Did,
            Detail::All,
            Paint::PLAIN,
        );
    }
    insta::assert_snapshot!(out);
}

fn bare(cause: Cause, outcome: Outcome) -> StepRecord {
    StepRecord {
        cause,
        outcome,
        changes: vec![],
        notes: vec![],
        ..hosts_step()
    }
}

#[test]
fn table_of_runs() {
    let runs = [bad_run(), good_run()];
    insta::assert_snapshot!(history(&runs, Paint::PLAIN));
}

#[test]
fn colours_mark_added_removed_and_hunks() {
    let text = "@@ -1,2 +1,2 @@\n same\n-old\n+new\n\\ No newline at end of file\n";
    assert_eq!(
        diff(text, Paint::COLOR),
        "\x1b[36m@@ -1,2 +1,2 @@\x1b[0m\n same\n\x1b[31m-old\x1b[0m\n\x1b[32m+new\x1b[0m\n\x1b[2m\\ No newline at end of file\x1b[0m\n"
    );
    assert_eq!(diff(text, Paint::PLAIN), text);
}

#[test]
fn hostile_lines_do_not_drive_the_terminal() {
    let hostile = "+\x1b[2J\x1b]0;owned\x07\n+bell\x07 back\x08 del\x7f csi\u{9b}31m\n+\u{202e}reversed\r\n\x1bbare\n+tab\there\n";
    let shown = diff(hostile, Paint::PLAIN);
    assert!(
        shown
            .chars()
            .all(|c| c == '\n' || c == '\t' || !c.is_control()),
        "{shown:?}"
    );
    insta::assert_snapshot!(shown, @r"
    +\x1b[2J\x1b]0;owned\x07
    +bell\x07 back\x08 del\x7f csi\u{9b}31m
    +\u{202e}reversed\x0d
    \x1bbare
    +tab	here
    ");
}

#[test]
fn nothing_is_coloured_unless_asked() {
    let all = [
        status(&degraded(), Heard::Live, now(), Paint::PLAIN),
        run(&bad_run(), Detail::All, now(), Paint::PLAIN),
        history(&[bad_run()], Paint::PLAIN),
    ]
    .concat();
    assert!(!all.contains('\x1b'));
    assert!(
        run(&bad_run(), Detail::All, now(), Paint::COLOR)
            .contains("\x1b[1;31mFAILED and put back\x1b[0m")
    );
}

#[test]
fn ages_as_people_say_them() {
    let ages: Vec<String> = [-5, 0, 1, 119, 120, 7199, 7200, 172_799, 172_800, 31_536_000]
        .into_iter()
        .map(age)
        .collect();
    assert_eq!(
        ages,
        [
            "0 s", "0 s", "1 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days", "365 days"
        ]
    );
    assert_eq!(took(999), "999 ms");
    assert_eq!(took(1480), "1.4 s");
    assert_eq!(took(300_000), "5 min");
}

#[test]
fn exit_codes_of_runs() {
    assert_eq!(bad_run().exit_code(), 6);
    assert_eq!(good_run().exit_code(), 2);
}
