//! The policies of `packaging/iam`: each role may do exactly what the bucket's table of keys says, and what the agent
//! really asks for is within it.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use node_agent_tests::iam::{DIRECTORY, Policy, Request, Verdict};
use node_agent_tests::machine::run;
use node_agent_tests::moto::Moto;
use node_agent_tests::s3::S3Server;
use node_agent_tests::scratch::Scratch;

const SERVER: &str = "box-1";
const ADMIN: &str = "arn:aws:iam::123456789012:role/Admin";

/// Every kind of key that there is, of this holder and of another one, and some that are nobody's.
const KEYS: [&str; 36] = [
    "prod/fleet.json",
    "prod/fleet.json.old",
    "prod/trust/3.json",
    "prod/versions/42.json",
    "prod/rollouts/42.json",
    "prod/health/shop.json",
    "prod/health/video.json",
    "prod/leases/shop.json",
    "prod/leases/video.json",
    "prod/leases/shop.json/more",
    "prod/holds/shop.json",
    "prod/holds/video.json",
    "prod/events/shop/7.json",
    "prod/events/video/7.json",
    "prod/surplus/shop/7-box-1.sql",
    "prod/surplus/shop/7-box-2.sql",
    "prod/surplus/video/7-box-1.sql",
    "prod/nodes/box-1.json",
    "prod/nodes/box-2.json",
    "prod/nodes/unknown/i-0a11.json",
    "prod/summaries/nodes.json.zst",
    "prod/probes/box-1/lease.json",
    "prod/probes/box-2/lease.json",
    "prod/releases/shop/r1.tar.zst",
    "prod/releases/video/r1.tar.zst",
    "prod/releases/shop-2/r1.tar.zst",
    "prod/snapshots/shop/20261124T150000Z-e7-db-4/dump.zst",
    "prod/snapshots/shop/20261124T150000Z-e7-db-4/manifest.json",
    "prod/snapshots/video/20261124T150000Z-e7-db-4/dump.zst",
    "prod/binlogs/shop/20261124T150000Z-e7-db-4/binlog.000012/00000000000000000004",
    "prod/binlogs/video/20261124T150000Z-e7-db-4/binlog.000012/00000000000000000004",
    "prod/other",
    "staging/fleet.json",
    "staging/leases/shop.json",
    "fleet.json",
    // The bucket itself.
    "",
];

const ACTIONS: [&str; 16] = [
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:PutObjectAcl",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:DeleteBucket",
];

const GET: &str = "s3:GetObject";
const PUT: &str = "s3:PutObject";
const LIST: &str = "s3:ListBucket";
const OWN_REPORT: (&str, &[&str]) = (
    PUT,
    &["prod/nodes/box-1.json", "prod/nodes/unknown/i-0a11.json"],
);
/// What every machine reads to know what to be, and how far a version may go.
const FLEET: (&str, &[&str]) = (
    GET,
    &[
        "prod/fleet.json",
        "prod/trust/3.json",
        "prod/versions/42.json",
        "prod/rollouts/42.json",
        "prod/nodes/box-1.json",
        "prod/nodes/box-2.json",
        "prod/nodes/unknown/i-0a11.json",
    ],
);
/// What the servers of a product have found out about each other.
const HEALTH: [&str; 1] = ["prod/health/shop.json"];
const ROLLOUT: (&str, &[&str]) = (PUT, &["prod/rollouts/42.json"]);
const SNAPSHOT: [&str; 3] = [
    "prod/snapshots/shop/20261124T150000Z-e7-db-4/dump.zst",
    "prod/snapshots/shop/20261124T150000Z-e7-db-4/manifest.json",
    "prod/binlogs/shop/20261124T150000Z-e7-db-4/binlog.000012/00000000000000000004",
];
/// Of all products.
const SNAPSHOTS: [&str; 5] = [
    SNAPSHOT[0],
    SNAPSHOT[1],
    SNAPSHOT[2],
    "prod/binlogs/video/20261124T150000Z-e7-db-4/binlog.000012/00000000000000000004",
    "prod/snapshots/video/20261124T150000Z-e7-db-4/dump.zst",
];
const ELECTIONS: [&str; 4] = [
    "prod/leases/shop.json",
    "prod/holds/shop.json",
    "prod/events/shop/7.json",
    "prod/probes/box-1/lease.json",
];

/// The table: what the holder of a role's policy may do, and nothing else.
fn table(role: &str) -> Vec<(&'static str, &'static [&'static str])> {
    match role {
        "web" => vec![
            (
                GET,
                &["prod/leases/shop.json", "prod/releases/shop/r1.tar.zst"],
            ),
            (LIST, &[""]),
            FLEET,
            OWN_REPORT,
            ROLLOUT,
            (GET, &HEALTH),
            (PUT, &HEALTH),
        ],
        "memcached" => vec![
            (GET, &["prod/leases/shop.json"]),
            (LIST, &[""]),
            FLEET,
            OWN_REPORT,
            ROLLOUT,
            (GET, &HEALTH),
            (PUT, &HEALTH),
        ],
        "database" => vec![
            (GET, &ELECTIONS),
            (PUT, &ELECTIONS),
            (PUT, &["prod/surplus/shop/7-box-1.sql"]),
            (LIST, &[""]),
            FLEET,
            OWN_REPORT,
            ROLLOUT,
            (GET, &HEALTH),
        ],
        "snapshots" => vec![
            (GET, &["prod/leases/shop.json"]),
            (GET, &SNAPSHOT),
            (PUT, &SNAPSHOT),
            ("s3:DeleteObject", &SNAPSHOT),
            ("s3:AbortMultipartUpload", &SNAPSHOT),
            ("s3:ListMultipartUploadParts", &SNAPSHOT),
            ("s3:ListBucketMultipartUploads", &[""]),
            (LIST, &[""]),
            FLEET,
            OWN_REPORT,
            ROLLOUT,
            (GET, &HEALTH),
        ],
        "monitor" => vec![
            (
                GET,
                &[
                    "prod/health/shop.json",
                    "prod/health/video.json",
                    "prod/leases/shop.json",
                    "prod/leases/video.json",
                    "prod/leases/shop.json/more",
                    "prod/holds/shop.json",
                    "prod/holds/video.json",
                    "prod/events/shop/7.json",
                    "prod/events/video/7.json",
                    "prod/summaries/nodes.json.zst",
                ],
            ),
            (PUT, &["prod/summaries/nodes.json.zst"]),
            (LIST, &[""]),
            FLEET,
            OWN_REPORT,
            ROLLOUT,
        ],
        "operator" => {
            let (all, _) = KEYS.split_at(32);
            vec![
                (GET, all),
                ("s3:GetObjectVersion", all),
                (
                    PUT,
                    &[
                        "prod/fleet.json",
                        "prod/trust/3.json",
                        "prod/versions/42.json",
                        "prod/rollouts/42.json",
                        "prod/holds/shop.json",
                        "prod/holds/video.json",
                    ],
                ),
                ("s3:DeleteObject", &SNAPSHOTS),
                (LIST, &[""]),
                ("s3:ListBucketVersions", &[""]),
            ]
        }
        "build" => vec![
            (PUT, &["prod/releases/shop/r1.tar.zst"]),
            (
                "s3:AbortMultipartUpload",
                &["prod/releases/shop/r1.tar.zst"],
            ),
            (
                "s3:ListMultipartUploadParts",
                &["prod/releases/shop/r1.tar.zst"],
            ),
        ],
        other => panic!("no table for {other}"),
    }
}

const ROLES: [&str; 7] = [
    "web",
    "memcached",
    "database",
    "snapshots",
    "monitor",
    "operator",
    "build",
];

/// A role's policy for [`SERVER`], which carries the shop.
fn policy(role: &str) -> (Policy, String) {
    let options = [
        "--bucket",
        "fleet",
        "--prefix",
        "prod",
        "--product",
        "shop",
        "--server",
        SERVER,
        "--admin",
        ADMIN,
    ];
    Policy::filled(role, &options).unwrap()
}

fn arn(key: &str) -> String {
    if key.is_empty() {
        "arn:aws:s3:::fleet".into()
    } else {
        format!("arn:aws:s3:::fleet/{key}")
    }
}

fn judge(policy: &Policy, action: &str, key: &str, context: &[(&str, &str)]) -> Verdict {
    policy.judge(Request {
        action,
        resource: &arn(key),
        context,
    })
}

#[test]
fn each_role_may_do_exactly_what_its_line_of_the_table_says() {
    for role in ROLES {
        let (policy, _) = policy(role);
        let mut may = BTreeSet::new();
        for action in ACTIONS {
            for key in KEYS {
                if judge(&policy, action, key, &[]) == Verdict::Allowed {
                    may.insert((action, key));
                }
            }
        }
        let wanted: BTreeSet<(&str, &str)> = table(role)
            .into_iter()
            .flat_map(|(action, keys)| keys.iter().map(move |&key| (action, key)))
            .collect();
        assert_eq!(may, wanted, "{role}");
        for statement in policy.statements() {
            // An action with a wildcard means more with every year.
            assert!(
                statement.actions.iter().all(|action| !action.contains('*')),
                "{role}: {}",
                statement.sid
            );
        }
    }
}

#[test]
fn no_policy_is_without_a_table() {
    let others = ["bucket-policy", "lifecycle"];
    let entries = std::fs::read_dir(DIRECTORY).unwrap().flatten();
    let templates: BTreeSet<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_suffix(".json").map(str::to_owned)
        })
        .collect();
    let known: BTreeSet<String> = ROLES.iter().chain(&others).map(|&n| n.to_owned()).collect();
    assert_eq!(templates, known);
}

#[test]
fn several_products_and_servers_are_named_one_by_one() {
    let options = [
        "--bucket",
        "fleet",
        "--prefix",
        "prod",
        "--product",
        "shop",
        "--product",
        "video",
        "--server",
        "*",
    ];
    let (policy, _) = Policy::filled("database", &options).unwrap();
    for key in [
        "prod/leases/shop.json",
        "prod/leases/video.json",
        "prod/nodes/box-2.json",
    ] {
        assert_eq!(judge(&policy, PUT, key, &[]), Verdict::Allowed, "{key}");
    }
    assert_eq!(
        judge(&policy, PUT, "prod/leases/other.json", &[]),
        Verdict::Silent
    );
    for (wrong, says) in [
        (
            vec![
                "web",
                "--bucket",
                "fleet",
                "--prefix",
                "prod",
                "--product",
                "shop",
            ],
            "--server",
        ),
        (
            vec![
                "web", "--bucket", "fleet", "--prefix", "prod", "--server", "w",
            ],
            "--product",
        ),
        (
            vec!["web", "--bucket", "fle*t", "--prefix", "prod"],
            "--bucket",
        ),
        (
            vec!["web", "--bucket", "fleet", "--prefix", "*"],
            "--prefix",
        ),
        (
            vec![
                "web",
                "--bucket",
                "fleet",
                "--prefix",
                "p",
                "--product",
                "sh\",\"*",
            ],
            "--product",
        ),
        (
            vec![
                "bucket-policy",
                "--bucket",
                "fleet",
                "--prefix",
                "p",
                "--admin",
                "*",
            ],
            "--admin",
        ),
        (vec!["nobody"], "no policy nobody"),
        (vec!["web", "--bucket"], "wants a value"),
    ] {
        let (name, options) = wrong.split_first().unwrap();
        let trouble = Policy::filled(name, options).unwrap_err().to_string();
        assert!(trouble.contains(says), "{wrong:?}: {trouble}");
    }
    let script = Path::new(DIRECTORY).join("policy").display().to_string();
    let help = run(&[&script, "--help"], b"", Duration::from_secs(10)).unwrap();
    assert!(help.success() && help.stdout.contains("usage:"), "{help:?}");
}

#[test]
fn the_bucket_s_own_rules_refuse_blind_writes_and_deletions() {
    let (bucket, _) = policy("bucket-policy");
    let secure = ("aws:SecureTransport", "true");
    let creates = ("s3:ObjectCreationOperation", "true");
    let agent = (
        "aws:PrincipalArn",
        "arn:aws:sts::123456789012:assumed-role/db/i-1",
    );
    let judged = |action, key, more: &[(&str, &str)]| {
        judge(&bucket, action, key, &[&[secure, agent], more].concat())
    };
    let (equal, new) = (("s3:if-match", "\"tag\""), ("s3:if-none-match", "*"));

    for key in [
        "prod/fleet.json",
        "prod/rollouts/42.json",
        "prod/health/shop.json",
        "prod/leases/shop.json",
        "prod/holds/shop.json",
    ] {
        assert_eq!(judged(PUT, key, &[creates]), Verdict::Denied, "{key}");
        assert_eq!(
            judged(PUT, key, &[creates, equal]),
            Verdict::Silent,
            "{key}"
        );
        assert_eq!(judged(PUT, key, &[creates, new]), Verdict::Silent, "{key}");
    }
    for key in [
        "prod/events/shop/7.json",
        "prod/releases/shop/r1.tar.zst",
        SNAPSHOT[0],
        SNAPSHOT[1],
    ] {
        assert_eq!(judged(PUT, key, &[creates]), Verdict::Denied, "{key}");
        assert_eq!(
            judged(PUT, key, &[creates, equal]),
            Verdict::Denied,
            "{key}"
        );
        assert_eq!(judged(PUT, key, &[creates, new]), Verdict::Silent, "{key}");
        // The parts of a large upload carry no condition; its completion does.
        let part = ("s3:ObjectCreationOperation", "false");
        assert_eq!(judged(PUT, key, &[part]), Verdict::Silent, "{key}");
    }
    assert_eq!(
        judged(PUT, "prod/nodes/box-1.json", &[creates]),
        Verdict::Silent
    );

    for key in KEYS
        .iter()
        .filter(|key| key.starts_with("prod/leases") || key.starts_with("prod/rel"))
    {
        assert_eq!(
            judged("s3:DeleteObject", key, &[]),
            Verdict::Denied,
            "{key}"
        );
    }
    // Retention deletes, and what it deletes stays a while as an old version.
    assert_eq!(judged("s3:DeleteObject", SNAPSHOT[0], &[]), Verdict::Silent);
    assert_eq!(
        judged("s3:DeleteObjectVersion", SNAPSHOT[0], &[]),
        Verdict::Denied
    );
    for action in [
        "s3:PutBucketPolicy",
        "s3:PutBucketVersioning",
        "s3:DeleteBucket",
    ] {
        assert_eq!(judged(action, "", &[]), Verdict::Denied, "{action}");
        let admin = [secure, ("aws:PrincipalArn", ADMIN)];
        assert_eq!(
            judge(&bucket, action, "", &admin),
            Verdict::Silent,
            "{action}"
        );
    }
    let plain = [("aws:SecureTransport", "false")];
    assert_eq!(
        judge(&bucket, GET, "prod/fleet.json", &plain),
        Verdict::Denied
    );
}

/// The permission that a request needs.
fn action_of(method: &str) -> &'static str {
    match method {
        "GET" | "HEAD" => GET,
        "PUT" => PUT,
        "DELETE" => "s3:DeleteObject",
        other => panic!("the agent asks with {other}: say here what that needs"),
    }
}

#[test]
fn what_the_agent_really_asks_for_is_allowed() {
    let server = S3Server::start().unwrap();
    server.put("prod/fleet.json", include_str!("../fleets/five.json"));
    for (role, node) in [
        ("web", "web-1"),
        ("memcached", "cache-1"),
        ("database", "db-1"),
        ("monitor", "monitor-1"),
    ] {
        let box_of_it = Scratch::new(node).unwrap();
        box_of_it
            .write(
                "etc/agentd/agentd.toml",
                &format!(
                    "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\n\n[s3]\nendpoint = \"{}\"\npath_style = true\n",
                    server.endpoint
                ),
            )
            .unwrap();
        let env: Vec<String> = ["env".to_owned()]
            .into_iter()
            .chain(server.env().map(|(name, value)| format!("{name}={value}")))
            .collect();
        let env: Vec<&str> = env.iter().map(String::as_str).collect();
        let said = box_of_it.run(&env, &box_of_it.once_with(&[])).unwrap();
        assert_eq!(said.code, Some(2), "{said:?}");

        let options = [
            "--bucket",
            "fleet",
            "--prefix",
            "prod",
            "--product",
            "shop",
            "--product",
            "video",
            "--server",
            node,
        ];
        let (policy, _) = Policy::filled(role, &options).unwrap();
        let requests = server.take_requests();
        assert!(!requests.is_empty());
        for request in requests {
            let verdict = judge(&policy, action_of(&request.method), &request.key, &[]);
            assert_eq!(verdict, Verdict::Allowed, "{role}: {request:?}");
        }
    }
}

/// Somebody else's reading of the same policy: moto's own.
#[tokio::test]
async fn another_implementation_of_iam_reads_them_alike() {
    let (_, text) = policy("web");
    let moto = Moto::start_with(
        &text,
        &[("prod/fleet.json", "{}"), ("prod/holds/shop.json", "{}")],
    )
    .unwrap();
    let client = moto.store.sdk();
    let get = |key: &str| client.get_object().bucket("fleet").key(key).send();
    get("prod/fleet.json").await.unwrap();
    let put = |key: &str| {
        let body = ByteStream::from_static(b"{}");
        client
            .put_object()
            .bucket("fleet")
            .key(key)
            .body(body)
            .send()
    };
    put("prod/nodes/box-1.json").await.unwrap();
    let refused = |status: Option<u16>| assert_eq!(status, Some(403));
    let status = |error: &dyn std::fmt::Debug| format!("{error:?}").contains("403").then_some(403);
    refused(status(&get("prod/holds/shop.json").await.unwrap_err()));
    refused(status(&put("prod/fleet.json").await.unwrap_err()));
    refused(status(&put("prod/nodes/box-2.json").await.unwrap_err()));
    refused(status(&put("prod/leases/shop.json").await.unwrap_err()));
}
