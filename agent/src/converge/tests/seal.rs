//! A box that was baked as one server and is booted as another.

use serde_json::json;

use super::Box;
use crate::converge::{ledger::Ledger, seal};
use crate::report::{Cause, Outcome};

#[tokio::test]
async fn a_sealed_box_keeps_what_a_clone_needs_and_nothing_of_its_own() {
    let node = Box::new();
    node.write("/var/lib/agentd/document.json", "the document");
    node.write("/var/lib/agentd/document.meta.json", "its record");
    node.write("/var/lib/agentd/somebody/elses/file", "of a later version");
    node.write("/etc/cron.d/agentd-shop_tick", "edited by hand\n");
    node.run("web-1").await;
    assert!(node.path("/var/lib/agentd/backups/1").exists());
    assert!(node.path("/etc/cron.d/agentd-shop_digest").exists());
    let hosts = node.read("/etc/hosts");

    let files = &node.converger.files;
    let sealed = seal(files).unwrap();
    // Three jobs; the include file, and the two links to the generation of sites.
    assert_eq!(sealed.disarmed.len(), 6, "{sealed:?}");
    assert!(!node.path("/etc/cron.d/agentd-shop_digest").exists());
    assert!(!node.path("/etc/httpd/conf.d/zz-agentd.conf").exists());
    assert!(!node.path("/etc/httpd/agentd/current").is_symlink());
    assert_eq!(
        std::fs::read_dir(node.path("/etc/httpd/agentd"))
            .unwrap()
            .count(),
        1
    );
    assert_eq!(node.read("/etc/hosts"), hosts);
    let mut left: Vec<_> = std::fs::read_dir(node.path("/var/lib/agentd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["document.json", "document.meta.json", "ledger.json"]);
    let ledger = Ledger::load(files).unwrap();
    assert!(ledger.path(std::path::Path::new("/etc/hosts")).is_some());
    assert!(ledger.lists.is_empty() && ledger.good.is_none());
    assert!(
        ledger
            .paths()
            .all(|(path, _)| !path.starts_with("/etc/cron.d"))
    );

    // Once more it finds nothing more to do.
    let again = seal(files).unwrap();
    assert_eq!((again.disarmed.len(), again.forgotten.len()), (0, 0));
    assert_eq!(again.owned, sealed.owned);
}

#[tokio::test]
async fn a_clone_is_another_server_and_keeps_nothing_of_the_baked_one() {
    let mut node = Box::new();
    node.run("web-1").await;
    assert!(node.path("/etc/video").exists());
    seal(&node.converger.files).unwrap();

    // Far fewer sites than the baked server has: no guard holds that on a new machine.
    node.edit(|signed| {
        signed["products"]["shop"]["sites"] =
            json!({"www": {"domains": ["shop.example.com"], "root": "/srv/shop"}});
    });
    let run = node.run("web-2").await;
    assert!(
        run.steps
            .iter()
            .all(|step| step.outcome == Outcome::Changed),
        "{run:?}"
    );
    assert!(!node.path("/etc/video").exists());
    assert!(node.path("/etc/cron.d/agentd-shop_tick").exists());
    assert!(!node.path("/etc/cron.d/agentd-shop_digest").exists());
    // Nothing of it is called a repair of what somebody had broken.
    assert!(
        run.steps.iter().all(|step| step.cause != Cause::Drift),
        "{run:?}"
    );
    assert!(
        node.path("/etc/httpd/agentd/current/shop_www.conf")
            .exists()
    );
    // The generation of the baked server is gone with it.
    let sites = std::fs::read_dir(node.path("/etc/httpd/agentd")).unwrap();
    assert_eq!(sites.count(), 3);
}
