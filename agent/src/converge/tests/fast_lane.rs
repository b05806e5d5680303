//! A change of master in the middle of a run.

use std::cell::RefCell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::json;

use super::Box;
use crate::converge::Followed;
use crate::converge::ledger::Ledger;
use crate::converge::pending::Pending;
use crate::converge::{Intent, RunError, journal};
use crate::node::Elected;
use crate::report::{Outcome, RunRecord, Trigger};
use crate::system::lock::Lock;

const HOSTS: &str = "/etc/hosts";

/// The document's wishes while `owner` is the master of the shop.
fn led_by(node: &Box, owner: &str, epoch: u64) -> Intent {
    let mut intent = node.intent("web-1");
    let owner = owner.parse().unwrap();
    let elected = Elected { epoch, owner };
    intent.elections.insert("shop".parse().unwrap(), elected);
    intent
}

/// It waits for nothing: one poll is all.
fn lead(node: &Box, intent: &Intent) -> Result<Followed, RunError> {
    let mut led = pin!(node.converger.lead(intent));
    match led.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(led) => led,
        Poll::Pending => panic!("a change of master waits for something"),
    }
}

fn master(node: &Box) -> String {
    let hosts = node.read(HOSTS);
    let line = hosts.lines().find(|line| line.ends_with("\tmysql-master"));
    line.unwrap_or_default()
        .split('\t')
        .next()
        .unwrap()
        .to_owned()
}

fn ledger(node: &Box) -> Ledger {
    Ledger::load(&node.converger.files).unwrap()
}

/// A run by db-1's lease, in which db-2 becomes the master when the step `at` begins.
async fn run_with_a_change_at(node: &Box, at: &str) -> (RunRecord, Followed) {
    let (before, after) = (led_by(node, "db-1", 1), led_by(node, "db-2", 2));
    let led = RefCell::new(None);
    let progress = |what: &str, _: Duration| {
        if what == format!("applying {at}") {
            *led.borrow_mut() = Some(lead(node, &after).unwrap());
            assert_eq!(master(node), "10.77.0.32", "in the middle of the run");
        }
    };
    let record = node.converger.run(&before, Trigger::Poll, &progress).await;
    (record.unwrap(), led.into_inner().expect("the step came"))
}

fn steps(record: &RunRecord) -> Vec<String> {
    (record.steps.iter())
        .map(|step| format!("{} {:?}", step.step, step.outcome))
        .collect()
}

/// A box as its first document has it, and a second one that changes memcached's list, names and a cron job.
async fn changed_document() -> Box {
    let mut node = Box::new();
    node.converger
        .run(&led_by(&node, "db-1", 1), Trigger::Poll, &|_, _| ())
        .await
        .unwrap();
    assert_eq!(master(&node), "10.77.0.31");
    node.edit(|signed| {
        signed["servers"]["web-9"] =
            json!({"address": "10.77.0.19", "roles": ["web"], "products": ["shop"]});
        signed["servers"]["mc-9"] =
            json!({"address": "10.77.0.29", "roles": ["memcached"], "products": ["shop"]});
    });
    std::fs::remove_file(node.path("/etc/shop/memcached.json")).unwrap();
    std::fs::remove_file(node.path("/etc/cron.d/agentd-shop_tick")).unwrap();
    node
}

/// Whatever comes next must find all in order, the lease's word included.
async fn all_is_in_order(node: &Box, led: Followed) {
    assert_eq!(master(node), "10.77.0.32", "after the run");
    let Followed::Now(led) = led else {
        panic!("{led:?}")
    };
    assert_eq!(steps(&led), ["hosts Changed"]);
    // The ledger tells of what stands there, and by whose word.
    let kept = ledger(node);
    let (_, owned) = (kept.of_step(&led.steps[0].step).next()).unwrap();
    let origins = format!("{:?}", owned.origins);
    assert!(
        origins.contains("epoch 2") && owned.run == led.id,
        "{owned:?}"
    );
    // Both are in the journal, under ids of their own.
    let runs = journal::last(&node.converger.files, 9).unwrap();
    let ids: Vec<u64> = runs.iter().map(|run| run.id).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    assert!(runs.contains(&led));
    assert!(
        Pending::load(&node.converger.files)
            .unwrap()
            .steps
            .is_empty()
    );
    // Nothing is taken for somebody's edit, and nothing is left to do.
    let by_lease = led_by(node, "db-2", 2);
    let next = node
        .converger
        .run(&by_lease, Trigger::Lease, &|_, _| ())
        .await
        .unwrap();
    assert_eq!(steps(&next), [""; 0]);
    assert!(
        node.read(HOSTS).contains("10.77.0.19\tweb-9"),
        "the document's names too"
    );
    assert!(node.path("/etc/cron.d/agentd-shop_tick").exists());
}

#[tokio::test]
async fn after_the_run_has_written_the_lines() {
    let node = changed_document().await;
    let (record, led) = run_with_a_change_at(&node, "cron/shop_tick").await;
    assert!(
        steps(&record).contains(&"hosts Changed".into()),
        "{record:?}"
    );
    all_is_in_order(&node, led).await;
}

#[tokio::test]
async fn the_document_s_names_come_first_and_a_lease_in_the_middle_has_the_last_word() {
    let node = changed_document().await;
    let (record, led) = run_with_a_change_at(&node, "cache/shop").await;
    let hosts = steps(&record)
        .iter()
        .filter(|step| step.starts_with("hosts"))
        .count();
    assert_eq!(hosts, 1, "{record:?}");
    all_is_in_order(&node, led).await;
}

#[tokio::test]
async fn the_last_of_several_words_stays() {
    let node = changed_document().await;
    let before = led_by(&node, "db-1", 1);
    let progress = |what: &str, _: Duration| match what {
        "applying cache/shop" => drop(lead(&node, &led_by(&node, "db-2", 2)).unwrap()),
        "applying cron/shop_tick" => drop(lead(&node, &led_by(&node, "db-1", 3)).unwrap()),
        _ => {}
    };
    node.converger
        .run(&before, Trigger::Poll, &progress)
        .await
        .unwrap();
    assert_eq!(master(&node), "10.77.0.31");
    let kept = ledger(&node);
    let owned = kept.path(std::path::Path::new(HOSTS)).unwrap();
    assert!(format!("{:?}", owned.origins).contains("epoch 3"));
}

#[tokio::test]
async fn the_first_lines_and_what_is_under_way_are_a_runs_work() {
    let node = Box::new();
    let led = lead(&node, &led_by(&node, "db-2", 2)).unwrap();
    assert!(matches!(led, Followed::ByARun(_)), "{led:?}");
    assert!(!node.path(HOSTS).exists());

    node.run("web-1").await;
    let held = Lock::try_take(
        node.converger.files.root(),
        std::path::Path::new("/run/agentd/hosts.lock"),
    );
    assert!(held.as_ref().unwrap().is_some());
    assert_eq!(
        lead(&node, &led_by(&node, "db-2", 2)).unwrap(),
        Followed::Busy
    );
    drop(held);
    let led = lead(&node, &led_by(&node, "db-2", 2)).unwrap();
    assert!(matches!(led, Followed::Now(_)), "{led:?}");
    let again = lead(&node, &led_by(&node, "db-2", 2)).unwrap();
    assert_eq!(again, Followed::Already);
}

#[tokio::test]
async fn what_somebody_wrote_among_the_lines_is_kept_as_a_run_keeps_it() {
    let node = Box::new();
    node.run("web-1").await;
    let hosts = node.read(HOSTS);
    let edited = hosts.replace("10.77.0.31\tmysql-master", "192.0.2.1\tmysql-master");
    node.write(HOSTS, &edited);
    let Followed::Now(led) = lead(&node, &led_by(&node, "db-2", 2)).unwrap() else {
        panic!("nothing was written");
    };
    assert_eq!(led.steps[0].outcome, Outcome::Changed);
    let copy = led.steps[0].changes[0].backup.as_ref().unwrap();
    assert_eq!(node.read(copy.to_str().unwrap()), edited);
    assert_eq!(master(&node), "10.77.0.32");
}
