//! Sites that cannot be, or that did not work, beside others that can.

use serde_json::json;

use super::Box;
use crate::report::{Outcome, RunRecord};

const TEMPLATE: &str = "/etc/agentd/templates/own.conf.j2";
const VHOST: &str = "/etc/httpd/agentd/current/shop_www.conf";
const ANOTHER: &str = "/etc/httpd/agentd/current/shop_more.conf";

fn outcome(run: &RunRecord, step: &str) -> Option<Outcome> {
    let row = run.steps.iter().find(|row| row.step.0 == step)?;
    Some(row.outcome)
}

/// A version in which one more site is new.
fn more(node: &mut Box, root: &str) {
    node.edit(|signed| {
        signed["products"]["shop"]["sites"]["more"] =
            json!({"domains": ["more.example.com"], "root": root});
    });
}

fn with_template(node: &mut Box, name: &str) {
    node.edit(|signed| signed["products"]["shop"]["sites"]["www"]["template"] = name.into());
}

#[tokio::test]
async fn a_new_site_that_cannot_be_stays_away_and_the_others_come_true() {
    let mut node = Box::new();
    node.run("web-1").await;
    node.edit(|signed| {
        signed["products"]["shop"]["sites"]["odd"] =
            json!({"domains": ["odd.example.com"], "root": "/srv/odd", "template": "nowhere"});
    });
    more(&mut node, "/srv/more");
    let run = node.run("web-1").await;
    assert_eq!(outcome(&run, "sites"), Some(Outcome::Changed));
    assert_eq!(outcome(&run, "sites/shop/odd"), Some(Outcome::Failed));
    assert!(node.path(ANOTHER).exists() && node.path(VHOST).exists());
    assert!(run.failed());
    // It is told with each run, and is no news.
    let again = node.run("web-1").await;
    assert_eq!(
        (again.id, outcome(&again, "sites/shop/odd")),
        (0, Some(Outcome::Failed))
    );
    // With its template it comes.
    node.write("/etc/agentd/templates/nowhere.conf.j2", "{{ default }}");
    let run = node.run("web-1").await;
    assert_eq!(outcome(&run, "sites"), Some(Outcome::Changed));
    assert!(
        !run.failed()
            && node
                .path("/etc/httpd/agentd/current/shop_odd.conf")
                .exists()
    );
}

#[tokio::test]
async fn a_site_that_cannot_be_any_longer_is_as_the_last_good_document_has_it() {
    let mut node = Box::new();
    node.run("web-1").await;
    let before = node.read(VHOST);
    with_template(&mut node, "nowhere");
    more(&mut node, "/srv/more");
    let run = node.run("web-1").await;
    assert_eq!(
        outcome(&run, "sites/shop/www"),
        Some(Outcome::Failed),
        "{run:?}"
    );
    assert_eq!(node.read(VHOST), before);
    assert!(node.path(ANOTHER).exists());
}

#[tokio::test]
async fn a_site_that_works_stays_though_nobody_could_make_it_again() {
    let mut node = Box::new();
    node.write(TEMPLATE, "{{ default }}\n# our own\n");
    with_template(&mut node, "own");
    assert!(!node.run("web-1").await.failed());
    let before = node.read(VHOST);
    assert!(before.contains("# our own"));
    std::fs::remove_file(node.path(TEMPLATE)).unwrap();
    // Neither for the good document nor for the next one.
    let run = node.run("web-1").await;
    assert!(run.failed());
    assert_eq!(node.read(VHOST), before);
    more(&mut node, "/srv/more");
    let run = node.run("web-1").await;
    assert!(run.failed() && !node.path(ANOTHER).exists());
    assert_eq!(node.read(VHOST), before);
    node.write(TEMPLATE, "{{ default }}\n# our own\n");
    assert!(!node.run("web-1").await.failed());
    assert!(node.path(ANOTHER).exists());
}

#[tokio::test]
async fn where_no_site_is_left_nothing_is_removed() {
    let mut node = Box::new();
    node.run("web-1").await;
    let before = node.read(VHOST);
    node.edit(|signed| {
        signed["confirm"] = true.into();
        signed["products"]["video"].as_object_mut().unwrap().remove("sites");
        signed["products"]["shop"]["sites"] =
            json!({"odd": {"domains": ["odd.example.com"], "root": "/srv/odd", "template": "nowhere"}});
    });
    let run = node.run("web-1").await;
    assert!(run.failed());
    assert_eq!(node.read(VHOST), before);
}

#[tokio::test]
async fn runs_that_only_say_again_what_failed_do_not_hide_the_one_that_said_more() {
    const JOB: &str = "/etc/cron.d/agentd-shop_tick";
    let mut node = Box::new();
    node.run("web-1").await;
    node.edit(|signed| {
        signed["products"]["shop"]["sites"]["odd"] =
            json!({"domains": ["odd.example.com"], "root": "/srv/odd", "template": "nowhere"});
        signed["products"]["shop"]["cron"]["tick"]["command"] = "true".into();
    });
    std::fs::remove_file(node.path(JOB)).unwrap();
    std::fs::create_dir(node.path(JOB)).unwrap();
    let first = node.run("web-1").await;
    assert_eq!(outcome(&first, "cron/shop_tick"), Some(Outcome::Failed));
    assert!(first.id != 0);
    let again = node.run("web-1").await;
    assert!(again.failed() && again.id == 0, "{again:?}");
    std::fs::remove_dir(node.path(JOB)).unwrap();
    assert!(node.run("web-1").await.id != 0, "the job came true");
}
