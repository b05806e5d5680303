//! What runs do to a box, document by document.

use serde_json::{Value, json};

use super::Box;
use crate::converge::{journal, ledger::Ledger};
use crate::report::{Action, Cause, Outcome, RunRecord};

fn rows(run: &RunRecord) -> Vec<String> {
    run.steps
        .iter()
        .map(|step| format!("{} {:?} {:?}", step.step, step.cause, step.outcome))
        .collect()
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let node = Box::new();
    let first = node.run("web-1").await;
    assert!(
        first.id == 1
            && first
                .steps
                .iter()
                .all(|step| step.outcome == Outcome::Changed),
        "{first:?}"
    );
    assert!(node.read("/etc/hosts").contains("10.77.0.31\tmysql-master"));
    let before = node.stamps();
    let second = node.run("web-1").await;
    assert_eq!((second.id, rows(&second)), (0, vec![]));
    assert_eq!(node.stamps(), before);
}

#[tokio::test]
async fn drift_is_repaired_and_the_edit_is_kept() {
    let node = Box::new();
    node.run("web-1").await;
    let wanted = node.read("/etc/shop/memcached.json");
    node.write("/etc/shop/memcached.json", "[]");
    let run = node.run("web-1").await;
    assert_eq!(rows(&run), ["cache/shop Drift Changed"]);
    let change = &run.steps[0].changes[0];
    assert_eq!(
        node.read(change.backup.as_ref().unwrap().to_str().unwrap()),
        "[]"
    );
    assert_eq!(node.read("/etc/shop/memcached.json"), wanted);
    // A file that vanished is drift too, with nothing to keep.
    std::fs::remove_file(node.path("/etc/cron.d/agentd-shop_tick")).unwrap();
    let run = node.run("web-1").await;
    assert_eq!(rows(&run), ["cron/shop_tick Drift Changed"]);
    assert_eq!(run.steps[0].changes[0].backup, None);
}

/// With another address for it the box would never hear of the document that takes it back.
#[tokio::test]
async fn a_name_that_leads_to_the_bucket_is_no_alias() {
    let mut node = Box::new();
    node.run("web-1").await;
    node.edit(|signed| {
        signed["products"]["shop"]["database"]["aliases"]["master"] =
            json!(["s3.shop.example.com", "mysql-master", "other.example.com"]);
    });
    let run = node.run("web-1").await;
    let hosts = node.read("/etc/hosts");
    assert!(!hosts.contains("s3.shop.example.com"), "{hosts}");
    assert!(
        hosts.contains("mysql-master") && hosts.contains("other.example.com"),
        "{hosts}"
    );
    let told = &run.problems[0];
    assert!(
        told.message
            .contains("agentd reaches the bucket by this name"),
        "{told:?}"
    );
    let place = "/signed/products/shop/database/aliases/master/0";
    assert_eq!(told.origin.as_ref().unwrap().0, place);
}

#[tokio::test]
async fn what_others_wrote_around_the_block_stays() {
    let mut node = Box::new();
    node.write("/etc/hosts", "127.0.0.1 localhost\n192.0.2.7 printer\n");
    node.run("web-1").await;
    let hosts = node.read("/etc/hosts");
    assert!(
        hosts.ends_with("127.0.0.1 localhost\n192.0.2.7 printer\n"),
        "{hosts}"
    );
    node.edit(|signed| signed["servers"]["web-1"]["state"] = "retired".into());
    let run = node.run("web-1").await;
    assert!(
        run.steps.iter().all(|step| step.cause == Cause::Unwanted),
        "{:?}",
        rows(&run)
    );
    assert_eq!(
        node.read("/etc/hosts"),
        "127.0.0.1 localhost\n192.0.2.7 printer\n"
    );
    assert!(
        !node.path("/etc/shop").exists() && !node.path("/etc/cron.d/agentd-shop_tick").exists()
    );
    assert_eq!(Ledger::load(&node.converger.files).unwrap().things.len(), 0);
}

#[tokio::test]
async fn an_unwanted_file_goes_and_an_edited_one_is_kept_as_a_copy() {
    let mut node = Box::new();
    node.run("web-1").await;
    node.write("/etc/cron.d/agentd-shop_tick", "# mine now\n");
    node.edit(|signed| {
        signed["products"]["shop"]["cron"]
            .as_object_mut()
            .unwrap()
            .remove("tick");
    });
    let run = node.run("web-1").await;
    assert_eq!(rows(&run), ["cron/shop_tick Unwanted Changed"]);
    let change = &run.steps[0].changes[0];
    assert_eq!(change.action, Action::Remove);
    assert_eq!(
        node.read(change.backup.as_ref().unwrap().to_str().unwrap()),
        "# mine now\n"
    );
    assert!(!node.path("/etc/cron.d/agentd-shop_tick").exists());
}

#[tokio::test]
async fn what_stood_there_as_wished_is_never_removed() {
    let mut node = Box::new();
    node.run("web-1").await;
    let text = node.read("/etc/cron.d/agentd-shop_tick");
    let fresh = Box::new();
    fresh.write("/etc/cron.d/agentd-shop_tick", &text);
    let as_wished = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(fresh.path("/etc/cron.d/agentd-shop_tick"), as_wished).unwrap();
    node.dir = fresh.dir;
    node.converger = fresh.converger;
    let run = node.run("web-1").await;
    assert!(!rows(&run).iter().any(|row| row.contains("shop_tick")));
    node.edit(|signed| {
        signed["products"]["shop"]["cron"]
            .as_object_mut()
            .unwrap()
            .remove("tick");
    });
    node.run("web-1").await;
    assert_eq!(node.read("/etc/cron.d/agentd-shop_tick"), text);
    assert!(
        !Ledger::load(&node.converger.files)
            .unwrap()
            .paths()
            .any(|(path, _)| path.ends_with("agentd-shop_tick"))
    );
}

#[tokio::test]
async fn a_shrinking_list_is_held_until_the_document_confirms_it() {
    let mut node = Box::new();
    node.run("web-1").await;
    let both = node.read("/etc/shop/memcached.json");
    node.edit(|signed| {
        for server in ["cache-1", "cache-2"] {
            signed["servers"][server]["state"] = "retired".into();
        }
        signed["servers"]["cache-9"] =
            json!({"address": "10.77.0.29", "roles": ["memcached"], "products": ["shop", "video"]});
    });
    let run = node.run("web-1").await;
    let held = run
        .steps
        .iter()
        .find(|step| step.step.0 == "cache/shop")
        .unwrap();
    assert_eq!(held.outcome, Outcome::Held);
    assert!(held.error.as_ref().unwrap().contains("2 of 2"), "{held:?}");
    assert_eq!(node.read("/etc/shop/memcached.json"), both);
    // The rest of the document came true all the same.
    assert!(node.read("/etc/hosts").contains("cache-9"));
    // Held again is no news, and drift of what is held is still repaired.
    let before = node.stamps();
    assert_eq!(node.run("web-1").await.id, 0);
    assert_eq!(node.stamps(), before);
    node.write("/etc/shop/memcached.json", "[]");
    node.run("web-1").await;
    assert_eq!(node.read("/etc/shop/memcached.json"), both);
    node.edit(|signed| signed["confirm"] = true.into());
    node.run("web-1").await;
    assert!(node.read("/etc/shop/memcached.json").contains("10.77.0.29"));
}

#[tokio::test]
async fn one_of_two_nodes_may_go_unconfirmed() {
    let mut node = Box::new();
    node.run("web-1").await;
    node.edit(|signed| signed["servers"]["cache-2"]["state"] = "draining".into());
    let run = node.run("web-1").await;
    assert_eq!(rows(&run), ["cache/shop Intended Changed"]);
    assert!(!node.read("/etc/shop/memcached.json").contains("10.77.0.22"));
}

#[tokio::test]
async fn a_version_that_takes_most_of_the_fleet_away_removes_nothing_before_it_is_confirmed() {
    let mut node = Box::new();
    node.run("web-1").await;
    let before = node.read("/etc/cron.d/agentd-shop_tick");
    let retire_all = |signed: &mut Value| {
        for server in signed["servers"].as_object_mut().unwrap().values_mut() {
            server["state"] = "retired".into();
        }
        for product in signed["products"].as_object_mut().unwrap().values_mut() {
            product.as_object_mut().unwrap().remove("database");
        }
    };
    node.edit(retire_all);
    let run = node.run("web-1").await;
    assert!(run.failed());
    let held = run.steps.iter().all(|step| step.outcome == Outcome::Held);
    assert!(held, "{:#?}", run.steps);
    let why = run.steps.first().and_then(|step| step.error.clone());
    assert!(
        why.unwrap().contains("retires, or takes most roles"),
        "{run:#?}"
    );
    assert_eq!(node.read("/etc/cron.d/agentd-shop_tick"), before);
    // An edit is mended meanwhile.
    node.write("/etc/cron.d/agentd-shop_tick", "edited");
    node.run("web-1").await;
    assert_eq!(node.read("/etc/cron.d/agentd-shop_tick"), before);

    node.edit(|signed| signed["confirm"] = true.into());
    let run = node.run("web-1").await;
    assert!(!run.failed(), "{run:#?}");
    assert!(!node.path("/etc/cron.d/agentd-shop_tick").exists());
}

#[tokio::test]
async fn a_symlink_in_the_way_fails_that_step_alone() {
    let node = Box::new();
    std::fs::create_dir_all(node.path("/etc/elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", node.path("/etc/shop")).unwrap();
    let run = node.run("web-1").await;
    let failed: Vec<_> = run
        .steps
        .iter()
        .filter(|step| step.outcome != Outcome::Changed)
        .collect();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].error.as_ref().unwrap().contains("/etc/shop"),
        "{failed:?}"
    );
    let ledger = Ledger::load(&node.converger.files).unwrap();
    let list = std::path::Path::new("/etc/shop/memcached.json");
    assert_eq!(ledger.path(list), None, "what never came true is nobody's");
    assert_eq!(
        std::fs::read_dir(node.path("/etc/elsewhere"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn what_a_crash_left_of_an_old_generation_goes_with_the_next_run() {
    const LEDGER: &str = "/var/lib/agentd/ledger.json";
    let mut node = Box::new();
    node.run("web-1").await;
    let current = || std::fs::read_link(node.path("/etc/httpd/agentd/current")).unwrap();
    let old = format!("/etc/httpd/agentd/{}", current().display());
    let ledger = node.read(LEDGER);
    node.edit(|signed| {
        signed["products"]["shop"]["sites"]["www"]["root"] = "/srv/elsewhere".into();
    });
    node.run("web-1").await;
    assert!(!node.path(&old).exists());

    // As if killed after its last file went, with its directory and half a write still there, and before the ledger.
    node.write(LEDGER, &ledger);
    node.write(&format!("{old}/.shop_www.conf.agentd-abcdefgh"), "half");
    node.run("web-1").await;
    assert!(!node.path(&old).exists());
    assert!(!node.read(LEDGER).contains(&old));
    let stamps = node.stamps();
    assert_eq!(node.run("web-1").await.id, 0);
    assert_eq!(node.stamps(), stamps);
}

#[tokio::test]
async fn a_damaged_ledger_does_not_stop_a_run() {
    let node = Box::new();
    node.run("web-1").await;
    node.write("/var/lib/agentd/ledger.json", "{\"paths\":");
    node.write("/etc/hosts", "");
    let run = node.run("web-1").await;
    assert_eq!(rows(&run), ["hosts Intended Changed"]);
    assert!(node.read("/etc/hosts").contains("mysql-master"));
}

#[tokio::test]
async fn the_journal_is_bounded() {
    let mut node = Box::new();
    for master in ["db-2", "db-1"].iter().cycle().take(12) {
        node.edit(|signed| {
            let others = ["db-1", "db-2", "db-3"]
                .into_iter()
                .filter(|other| other != master);
            signed["products"]["shop"]["database"]["chain"] =
                std::iter::once(*master).chain(others).collect();
        });
        node.write("/etc/shop/memcached.json", "[]");
        node.run("web-1").await;
    }
    let runs = journal::last(&node.converger.files, 100).unwrap();
    assert_eq!(
        runs.iter().map(|run| run.id).collect::<Vec<_>>(),
        [12, 11, 10, 9, 8]
    );
    assert_eq!(
        std::fs::read_dir(node.path("/var/lib/agentd/backups"))
            .unwrap()
            .count(),
        5
    );
}

#[tokio::test]
async fn planning_writes_nothing_and_says_what_a_run_does() {
    let mut node = Box::new();
    node.run("web-1").await;
    node.edit(|signed| {
        signed["products"]["shop"]["database"]["chain"] = json!(["db-2", "db-1", "db-3"]);
    });
    let before = node.stamps();
    let plan = node.converger.plan(&node.intent("web-1")).await.unwrap();
    assert_eq!(node.stamps(), before);
    let run = node.run("web-1").await;
    let strip = |rows: Vec<crate::report::StepRecord>| {
        rows.into_iter()
            .map(|row| (row.step, row.cause, row.outcome, row.changes))
            .collect::<Vec<_>>()
    };
    assert_eq!(strip(plan.records(false)), strip(run.steps));
}

#[tokio::test]
async fn what_is_edited_after_its_step_was_done_does_not_pass_for_known() {
    const LIST: &str = "/etc/shop/memcached.json";
    let node = Box::new();
    let edited = std::cell::Cell::new(false);
    let progress = |what: &str, _: std::time::Duration| {
        if what == "applying hosts" {
            assert!(node.path(LIST).exists(), "the list comes before the names");
            node.write(LIST, "[]");
            edited.set(true);
        }
    };
    let intent = node.intent("web-1");
    let run = node
        .converger
        .run(&intent, crate::report::Trigger::Poll, &progress);
    run.await.unwrap();
    assert!(edited.get());
    assert_eq!(node.read(LIST), "[]");
    // The watch over edits compares what stands there with what was last seen.
    let files = &node.converger.files;
    let path = std::path::Path::new(LIST);
    assert_ne!(files.sighting(path), Some(files.look(path).unwrap()));
    // What was not touched is known.
    let hosts = std::path::Path::new("/etc/hosts");
    assert_eq!(files.sighting(hosts), Some(files.look(hosts).unwrap()));
    node.run("web-1").await;
    assert!(node.read(LIST).contains("10.77.0.21"));
}
