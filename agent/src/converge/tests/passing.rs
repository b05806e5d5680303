//! Things that pass from one step to another, owners and permissions, and state that a newer version has written.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::json;

use super::Box;
use crate::converge::ledger::Ledger;
use crate::report::{Action, Cause, Outcome, RunRecord, Severity};

const LIST: &str = "/etc/shop/memcached.json";
const OTHER: &str = "/etc/video/memcached.php";
const JOB: &str = "/etc/cron.d/agentd-shop_tick";

fn changed(run: &RunRecord) -> Vec<String> {
    let changed = run
        .steps
        .iter()
        .filter(|step| step.outcome == Outcome::Changed);
    changed
        .map(|step| format!("{} {:?}", step.step, step.cause))
        .collect()
}

fn owner_of(node: &Box, path: &str) -> String {
    let ledger = Ledger::load(&node.converger.files).unwrap();
    ledger
        .path(std::path::Path::new(path))
        .unwrap()
        .step
        .0
        .clone()
}

#[tokio::test]
async fn a_path_that_passes_to_another_product_stays() {
    let mut node = Box::new();
    node.run("web-1").await;
    let text = node.read(LIST);
    // The product gets another name, and all that it has stays where it is.
    node.edit(|signed| {
        let products = signed["products"].as_object_mut().unwrap();
        let shop = products.remove("shop").unwrap();
        products.insert("store".into(), shop);
        for server in signed["servers"].as_object_mut().unwrap().values_mut() {
            let of = server["products"].as_array_mut().unwrap();
            for product in of.iter_mut().filter(|product| **product == json!("shop")) {
                *product = json!("store");
            }
        }
    });
    node.run("web-1").await;
    assert_eq!(node.read(LIST), text);
    assert_eq!(owner_of(&node, LIST), "cache/store");
    let before = node.stamps();
    assert_eq!(node.run("web-1").await.id, 0);
    assert_eq!(node.stamps(), before);
    // And it goes with the one that has it now.
    node.edit(|signed| {
        signed["confirm"] = true.into();
        signed["products"]["store"]["cache"]["list"]["path"] = "/etc/store/list.json".into();
    });
    node.run("web-1").await;
    assert!(!node.path(LIST).exists() && node.path("/etc/store/list.json").exists());
}

#[tokio::test]
async fn two_products_that_swap_their_paths_both_have_them() {
    let mut node = Box::new();
    node.run("web-1").await;
    let format = |text: &str| text.trim_start().starts_with('[');
    assert!(format(&node.read(LIST)) && !format(&node.read(OTHER)));
    node.edit(|signed| {
        let products = &mut signed["products"];
        products["shop"]["cache"]["list"]["path"] = OTHER.into();
        products["video"]["cache"]["list"]["path"] = LIST.into();
    });
    let run = node.run("web-1").await;
    assert!(
        !format(&node.read(LIST)) && format(&node.read(OTHER)),
        "{run:?}"
    );
    assert_eq!(
        (owner_of(&node, LIST), owner_of(&node, OTHER)),
        ("cache/video".into(), "cache/shop".into())
    );
    let backups = run
        .steps
        .iter()
        .flat_map(|step| &step.changes)
        .filter(|change| change.backup.is_some());
    assert_eq!(backups.count(), 0, "nobody else has written");
    assert_eq!(node.run("web-1").await.id, 0);
}

#[tokio::test]
async fn a_path_of_a_step_that_is_held_passes_to_nobody() {
    let mut node = Box::new();
    node.run("web-1").await;
    let text = node.read(LIST);
    // The new owner of the path cannot be: it has no node. The old one is gone.
    node.edit(|signed| {
        let products = signed["products"].as_object_mut().unwrap();
        let cache = products["shop"]
            .as_object_mut()
            .unwrap()
            .remove("cache")
            .unwrap();
        products["video"]["cache"]["list"]["path"] = cache["list"]["path"].clone();
        for server in ["cache-1", "cache-2"] {
            signed["servers"][server]["products"] = json!(["shop"]);
        }
    });
    node.run("web-1").await;
    assert_eq!(node.read(LIST), text);
}

#[tokio::test]
async fn owner_and_mode_are_kept_in_order() {
    let mut node = Box::new();
    node.write(JOB, "# somebody's\n");
    std::fs::set_permissions(node.path(JOB), PermissionsExt::from_mode(0o664)).unwrap();
    node.run("web-1").await;
    let attributes = |node: &Box, path: &str| {
        let meta = node.path(path).metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    assert_eq!(
        attributes(&node, JOB),
        (0o600, 0, 0),
        "what stood there had another mode"
    );

    std::fs::set_permissions(node.path(JOB), PermissionsExt::from_mode(0o664)).unwrap();
    chown(node.path(JOB), Some(1000), Some(1000)).unwrap();
    std::fs::set_permissions(node.path(LIST), PermissionsExt::from_mode(0o600)).unwrap();
    let run = node.run("web-1").await;
    assert_eq!(changed(&run), ["cache/shop Drift", "cron/shop_tick Drift"]);
    let change = &run.steps[1].changes[0];
    assert_eq!(
        (change.action, change.backup.is_none()),
        (Action::Update, true)
    );
    assert_eq!(
        change.diff,
        "-(mode 0664, owner 1000:1000)\n+(mode 0600, owner 0:0)\n"
    );
    assert_eq!(attributes(&node, JOB), (0o600, 0, 0));
    assert_eq!(attributes(&node, LIST), (0o644, 0, 0));
    // The hosts file is others' too: they say who may read it.
    std::fs::set_permissions(node.path("/etc/hosts"), PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(node.run("web-1").await.id, 0);
    node.edit(|signed| {
        signed["products"]["shop"]["database"]["chain"] = json!(["db-2", "db-1", "db-3"]);
    });
    node.run("web-1").await;
    assert_eq!(attributes(&node, "/etc/hosts").0, 0o640);
}

#[tokio::test]
async fn going_back_to_this_version_loses_nothing_of_what_a_newer_one_owns() {
    const LEDGER: &str = "/var/lib/agentd/ledger.json";
    let mut node = Box::new();
    node.run("web-1").await;
    // As the next version would leave it.
    let mut ledger: serde_json::Value = serde_json::from_str(&node.read(LEDGER)).unwrap();
    ledger["format"] = 3.into();
    ledger["things"]["user:deploy"] = json!({"kind": "users", "step": "users", "uid": 1520});
    ledger["things"][format!("path:{JOB}")]["recorded"] = true.into();
    node.write(LEDGER, &ledger.to_string());
    node.write(
        "/var/lib/agentd/pending/users.json",
        r#"{"format": 3, "step": "users", "accounts": []}"#,
    );

    let run = node.run("web-1").await;
    let warned = run
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Warning);
    let warned: Vec<_> = warned.map(|problem| problem.message.as_str()).collect();
    assert!(
        warned.iter().any(|said| said.contains("user:deploy")),
        "{warned:?}"
    );
    assert!(
        warned.iter().any(|said| said.contains("interrupted")),
        "{warned:?}"
    );
    // What is its own it still removes.
    node.edit(|signed| {
        signed["products"]["shop"]["cron"]
            .as_object_mut()
            .unwrap()
            .remove("tick");
    });
    node.run("web-1").await;
    assert!(!node.path(JOB).exists());
    let after: serde_json::Value = serde_json::from_str(&node.read(LEDGER)).unwrap();
    assert_eq!(after["things"]["user:deploy"]["uid"], 1520);
    assert!(after["things"].get(format!("path:{JOB}")).is_none());
    assert!(node.path("/var/lib/agentd/pending/users.json").exists());
}

#[tokio::test]
async fn what_others_write_into_a_generation_is_told() {
    let node = Box::new();
    node.run("web-1").await;
    let current = std::fs::read_link(node.path("/etc/httpd/agentd/current")).unwrap();
    let foreign = format!(
        "/etc/httpd/agentd/{}/shop_www-le-ssl.conf",
        current.display()
    );
    node.write(&foreign, "<VirtualHost *:443>\n</VirtualHost>\n");
    let run = node.run("web-1").await;
    let [problem] = run.problems.as_slice() else {
        panic!("{:?}", run.problems);
    };
    assert_eq!(
        (problem.severity, problem.step.as_ref().unwrap().0.as_str()),
        (Severity::Warning, "sites")
    );
    assert!(
        problem.message.contains(&foreign) && problem.message.contains("certbot"),
        "{problem:?}"
    );
    assert!(node.path(&foreign).exists());
}

#[tokio::test]
async fn the_same_failure_again_is_no_news_and_keeps_one_copy() {
    let node = Box::new();
    node.run("web-1").await;
    // Nobody can write there, and what stands there is not the agent's.
    std::fs::remove_file(node.path(JOB)).unwrap();
    std::fs::create_dir(node.path(JOB)).unwrap();
    let first = node.run("web-1").await;
    assert!(first.id != 0 && first.failed());
    let stamps = node.stamps();
    for _ in 0..3 {
        let again = node.run("web-1").await;
        assert!(again.id == 0 && again.failed());
    }
    assert_eq!(node.stamps(), stamps);
    assert_eq!(changed(&first), [""; 0]);
    assert!(first.steps.iter().all(|step| step.cause != Cause::Unwanted));
}
