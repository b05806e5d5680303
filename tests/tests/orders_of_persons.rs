//! Promise: while a person holds a box nothing is changed on it but what follows the databases' masters, and what the last version
//! changed can be taken back, until another one comes. Under a root, with the real programs.

#![cfg(test)]

use node_agent_tests::machine::{Output, built};
use node_agent_tests::scratch::Scratch;
use serde_json::{Value, json};

fn document(version: u64, jobs: &[&str], confirm: bool) -> Value {
    let job = |name: &&str| {
        let job =
            json!({"schedule": "@daily", "user": "root", "command": format!("echo {version}")});
        ((*name).to_owned(), job)
    };
    let mut servers = json!({
        "web-1": {"address": "10.77.0.11", "roles": ["web"], "products": ["shop"]},
        "db-1": {"address": "10.77.0.31", "roles": ["database"], "products": ["shop"]},
    });
    // One that confirms has more to lose: names of which most would go with it.
    for more in 0..if confirm { 8 } else { 0 } {
        servers[format!("more-{more}")] = json!({"address": format!("10.77.0.{}", 100 + more), "roles": [], "products": ["shop"]});
    }
    let cron: serde_json::Map<String, Value> = jobs.iter().map(job).collect();
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": version, "confirm": confirm,
        "issued": "2026-01-01T00:00:00Z", "expires": "2046-01-01T00:00:00Z",
        "servers": servers,
        "roles": {"web": {}, "database": {}},
        "products": {"shop": {
            "database": {"chain": ["db-1"], "aliases": {"master": [format!("master-{version}")]}},
            "cron": cron,
        }},
    }})
}

fn scratch() -> Scratch {
    let scratch = Scratch::new("web-1").unwrap();
    let bucket = scratch.root().parent().unwrap().join("bucket");
    let config = format!(
        "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\n",
        bucket.display()
    );
    scratch.write("etc/agentd/agentd.toml", &config).unwrap();
    scratch
}

fn ctl(scratch: &Scratch, arguments: &[&str]) -> Output {
    let root = scratch.root().display().to_string();
    let program = built("agentctl").unwrap().display().to_string();
    let line = [program.as_str(), "--root", &root];
    let line: Vec<String> = line
        .iter()
        .chain(arguments)
        .map(|&word| word.to_owned())
        .collect();
    scratch.run(&[], &line).unwrap()
}

fn read(scratch: &Scratch, path: &str) -> String {
    std::fs::read_to_string(scratch.root().join(path)).unwrap_or_default()
}

fn last_run(scratch: &Scratch) -> u64 {
    let said = ctl(scratch, &["history", "--output", "json"]).stdout;
    let said: Value = serde_json::from_str(&said).unwrap();
    said["runs"][0]["id"].as_u64().unwrap()
}

#[test]
fn a_held_box_stays_as_it_is_but_for_its_masters_names() {
    let scratch = scratch();
    scratch.publish(&document(1, &["a"], false)).unwrap();
    scratch.converge(&[2]).unwrap();
    let held = ctl(&scratch, &["hold", "--for", "2h", "--reason", "new disks"]);
    assert!(
        held.success() && held.stdout.contains("new disks"),
        "{held:?}"
    );

    scratch.publish(&document(2, &["a", "b"], false)).unwrap();
    scratch
        .write("etc/cron.d/agentd-shop_a", "edited at night\n")
        .unwrap();
    // Something is changed, and something waits: the names go on, for a failover must not wait.
    let run = scratch.converge(&[6]).unwrap();
    assert!(run.stdout.contains("on hold until"), "{run:?}");
    assert!(read(&scratch, "etc/hosts").contains("master-2"));
    assert_eq!(
        read(&scratch, "etc/cron.d/agentd-shop_a"),
        "edited at night\n"
    );
    assert!(!scratch.root().join("etc/cron.d/agentd-shop_b").exists());
    // Held is not forgotten: the same again, and nothing is owned that was not written.
    scratch.converge(&[4]).unwrap();
    let ledger = scratch.ledger().unwrap().to_string();
    assert!(!ledger.contains("agentd-shop_b"), "{ledger}");

    assert!(ctl(&scratch, &["hold", "--end"]).success());
    scratch.converge(&[2]).unwrap();
    assert!(read(&scratch, "etc/cron.d/agentd-shop_a").contains("echo 2"));
    assert!(scratch.root().join("etc/cron.d/agentd-shop_b").exists());
    scratch.converge(&[0]).unwrap();
    for wrong in [
        &["hold", "--for", "8d", "--reason", "x"][..],
        &["hold", "--for", "1h"],
        &["hold", "--end", "--reason", "x"],
    ] {
        assert_eq!(ctl(&scratch, wrong).code, Some(64), "{wrong:?}");
    }
}

#[test]
fn a_version_is_taken_back_until_another_comes() {
    let scratch = scratch();
    scratch.publish(&document(1, &["a", "old"], false)).unwrap();
    scratch.converge(&[2]).unwrap();
    let first = last_run(&scratch);
    let before = scratch.tree().unwrap();
    // Nothing to go back to.
    let refused = ctl(&scratch, &["undo", &first.to_string()]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("no document before"),
        "{refused:?}"
    );

    // More than the guard would let go again at once.
    let many = ["a", "b", "c", "d", "e", "f"];
    scratch.publish(&document(2, &many, true)).unwrap();
    scratch.converge(&[2]).unwrap();
    let second = last_run(&scratch);
    let after = scratch.tree().unwrap();
    scratch
        .write("etc/cron.d/agentd-shop_b", "edited at night\n")
        .unwrap();
    scratch.converge(&[2]).unwrap();
    for (run, words) in [
        (first, "was for version 1"),
        (last_run(&scratch), "is kept at"),
        (999, "is not kept"),
    ] {
        let refused = ctl(&scratch, &["undo", &run.to_string()]);
        assert!(
            refused.code == Some(1) && refused.stderr.contains(words),
            "{refused:?}"
        );
    }

    let undone = ctl(&scratch, &["undo", &second.to_string()]);
    assert_eq!(undone.code, Some(2), "{undone:?}");
    assert!(
        undone.stderr.contains("goes back to version 1"),
        "{undone:?}"
    );
    assert_eq!(scratch.tree().unwrap(), before);
    scratch.converge(&[0]).unwrap();
    assert_eq!(scratch.tree().unwrap(), before);

    // Until a person says otherwise, or another version comes.
    let ended = ctl(&scratch, &["undo", "--end"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(scratch.tree().unwrap(), after);
    assert_eq!(ctl(&scratch, &["undo", &second.to_string()]).code, Some(2));
    assert_eq!(scratch.tree().unwrap(), before);
    scratch.publish(&document(3, &["a"], true)).unwrap();
    scratch.converge(&[2]).unwrap();
    assert!(read(&scratch, "etc/cron.d/agentd-shop_a").contains("echo 3"));
    assert!(!scratch.root().join("etc/cron.d/agentd-shop_old").exists());
}
