//! What others put where the agent looks, and what the agent writes itself, is bounded.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use serde_json::{Value, json};

use super::Box;
use crate::converge::ledger::Ledger;
use crate::converge::{journal, last_good, set_aside_damaged};
use crate::report::{Outcome, Problem, RunRecord};

const LIST: &str = "/etc/memcached-shop.json";

fn row<'a>(run: &'a RunRecord, step: &str) -> &'a crate::report::StepRecord {
    let found = run.steps.iter().find(|row| row.step.0 == step);
    found.unwrap_or_else(|| panic!("no row {step} in {:?}", run.steps))
}

/// Puts a file of so many bytes, which are not all the same, in the place of a node list.
fn plant(node: &Box, path: &str, bytes: u64) {
    let file = File::create(node.path(path)).unwrap();
    file.set_len(bytes).unwrap();
    file.write_at(b"planted", bytes / 2).unwrap();
}

fn list_path(node: &Box) -> String {
    let list = &node.fleet["signed"]["products"]["shop"]["cache"]["list"]["path"];
    list.as_str().unwrap_or(LIST).to_owned()
}

/// How many files there are in a directory of the agent's state.
fn count(node: &Box, dir: &str) -> usize {
    std::fs::read_dir(node.path(&format!("/var/lib/agentd/{dir}"))).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_large_file_in_the_place_of_a_node_list_is_replaced_and_told_by_its_digest() {
    let node = Box::new();
    node.run("web-1").await;
    let path = list_path(&node);
    let good = node.read(&path);
    for (bytes, is_copied) in [(2 << 20, true), (12 << 20, false)] {
        plant(&node, &path, bytes);
        let run = node.run("web-1").await;
        let row = row(&run, "cache/shop");
        assert_eq!(row.outcome, Outcome::Changed, "{:?}", row.error);
        assert_eq!(node.read(&path), good);
        let change = &row.changes[0];
        assert!(
            change.diff.contains(&format!("-({bytes} bytes, SHA-256 ")),
            "{}",
            change.diff
        );
        assert!(change.diff.len() < 4096);
        if is_copied {
            let copy = change.backup.as_ref().unwrap().display().to_string();
            assert_eq!(node.path(&copy).metadata().unwrap().len(), bytes);
        } else {
            assert_eq!(change.backup, None);
            let said = row.notes.join("\n");
            assert!(
                said.contains("no copy of that was kept, for it has 12582912 bytes"),
                "{said}"
            );
        }
        // What could have been put back is forgotten.
        assert_eq!((count(&node, "before"), count(&node, "pending")), (0, 0));
        assert_eq!(node.run("web-1").await.id, 0);
    }
    // Larger than anything that is read: that step waits for a person, all else goes on.
    plant(&node, &path, 17 << 20);
    node.write("/etc/hosts", "127.0.0.1 localhost\n");
    let run = node.run("web-1").await;
    let said = row(&run, "cache/shop").error.clone().unwrap();
    assert!(said.contains("is larger than 16777216 bytes"), "{said}");
    assert_eq!(row(&run, "hosts").outcome, Outcome::Changed);
}

#[tokio::test]
async fn what_stood_at_a_node_lists_path_before_the_agent_comes_back() {
    let mut node = Box::new();
    let path = list_path(&node);
    let before = "[{\"name\": \"old\", \"host\": \"10.1.1.1\", \"port\": 11211}]\n";
    node.write(&path, before);
    node.run("web-1").await;
    assert_ne!(node.read(&path), before);
    node.edit(|signed| {
        signed["confirm"] = true.into();
        signed["products"]["shop"]["cache"]["list"]["path"] = "/srv/shop/nodes.json".into();
    });
    node.run("web-1").await;
    assert_eq!(node.read(&path), before);
}

#[tokio::test]
async fn texts_that_have_nothing_in_common_are_compared_in_no_time() {
    let node = Box::new();
    node.run("web-1").await;
    let path = list_path(&node);
    let lines: Vec<String> = (0..120_000).map(|n| n.to_string()).collect();
    let lines = lines.join("\n");
    node.write(&path, &lines);
    let before = std::time::Instant::now();
    let run = node.run("web-1").await;
    assert_eq!(row(&run, "cache/shop").outcome, Outcome::Changed);
    assert!(before.elapsed().as_secs() < 20, "{:?}", before.elapsed());
}

/// How many bytes this thread has written.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_run_writes_grows_with_its_changes() {
    let mut bytes = Vec::new();
    for jobs in [100, 200, 400] {
        let mut node = Box::new();
        node.edit(|signed| {
            let job = json!({"schedule": "* * * * *", "user": "root", "command": "/bin/true"});
            let jobs = (0..jobs).map(|n| (format!("j{n}"), job.clone()));
            signed["roles"]["web"]["cron"] = Value::Object(jobs.collect());
        });
        let before = written();
        let run = node.run("web-1").await;
        assert!(run.steps.len() > jobs, "{}", run.steps.len());
        bytes.push(written() - before);
    }
    let [one, two, four] = bytes[..] else {
        panic!()
    };
    // Twice as many jobs: no more than twice as much again.
    assert!(four - two < (two - one) * 5 / 2, "{bytes:?}");
}

#[tokio::test]
async fn what_is_no_node_list_is_replaced_only_by_name_and_comes_back() {
    let mut node = Box::new();
    let path = "/srv/shop/app.conf";
    let before = "[database]\npassword = \"x\"\n";
    node.write(path, before);
    node.edit(|signed| signed["products"]["shop"]["cache"]["list"]["path"] = path.into());
    let run = node.run("web-1").await;
    let is_held = |problem: &&Problem| {
        problem
            .step
            .as_ref()
            .is_some_and(|step| step.0 == "cache/shop")
    };
    let said = run
        .problems
        .iter()
        .find(is_held)
        .map(|held| held.message.clone());
    let said = said.unwrap_or_default();
    assert!(
        said.contains("is not the agent's") && said.contains("\"replace\": true"),
        "{said}"
    );
    assert_eq!(node.read(path), before);
    node.edit(|signed| signed["products"]["shop"]["cache"]["list"]["replace"] = true.into());
    node.run("web-1").await;
    assert_ne!(node.read(path), before);
    node.edit(|signed| {
        signed["confirm"] = true.into();
        let list = &mut signed["products"]["shop"]["cache"]["list"];
        list["path"] = "/srv/shop/nodes.json".into();
    });
    node.run("web-1").await;
    assert_eq!(node.read(path), before);
    // One that was touched, or is a list of another day, needs no word.
    node.write("/srv/shop/empty.json", "\n");
    node.edit(|signed| {
        signed["products"]["shop"]["cache"]["list"] =
            json!({"path": "/srv/shop/empty.json", "format": "json"});
    });
    let run = node.run("web-1").await;
    assert_eq!(row(&run, "cache/shop").outcome, Outcome::Changed);
}

#[tokio::test]
async fn names_follow_the_document_whatever_else_stands_in_the_way() {
    let mut node = Box::new();
    node.run("web-1").await;
    node.edit(|signed| signed["servers"]["cache-2"]["address"] = "10.77.9.9".into());
    let run = node.run("web-1").await;
    // The record has them in their usual places; on the disk the names are the older ones.
    let written = |path: &str| {
        std::fs::metadata(node.path(path))
            .unwrap()
            .modified()
            .unwrap()
    };
    assert!(written("/etc/hosts") < written("/etc/shop/memcached.json"));
    assert_eq!(
        run.steps
            .iter()
            .filter(|step| step.step.0 == "hosts")
            .count(),
        1
    );
    assert!(node.read("/etc/hosts").contains("10.77.9.9"));
    assert_eq!(node.run("web-1").await.id, 0);
}

#[tokio::test]
async fn what_not_every_account_may_read_is_told_to_root_alone() {
    let mut node = Box::new();
    node.edit(|signed| {
        signed["roles"]["web"]["files"] = json!({
            "/etc/shop/key": {"content": "hunter2\n", "mode": "0640"},
            "/etc/shop/open": {"content": "open\n"},
        });
    });
    let run = node.run("web-1").await;
    assert!(row(&run, "files/etc/shop/key").private);
    assert!(!row(&run, "files/etc/shop/open").private);
    let mut run = run;
    for step in &mut run.steps {
        step.error = Some("line 1 is `hunter2`".into());
        step.notes = vec!["hunter2".into()];
    }
    let public = run.without_contents();
    let text = serde_json::to_string(row(&public, "files/etc/shop/key")).unwrap();
    assert!(
        !text.contains("hunter2") && text.contains("agentctl show failed"),
        "{text}"
    );
    let open = row(&public, "files/etc/shop/open");
    assert_eq!(open.error.as_deref(), Some("line 1 is `hunter2`"));
}

#[tokio::test]
async fn state_that_was_cut_at_any_length_is_as_if_it_were_not_there() {
    let mut node = Box::new();
    node.run("web-1").await;
    node.edit(|signed| signed["servers"]["cache-2"]["address"] = "10.77.9.9".into());
    node.run("web-1").await;
    let dir = node.path("/var/lib/agentd");
    let mut cut = 0;
    for name in ["ledger.json", "good.json", "runs/1.json", "runs/2.json"] {
        let path = dir.join(name);
        let whole = std::fs::read(&path).unwrap();
        for (nth, length) in (0..whole.len()).step_by(41).enumerate() {
            File::create(&path)
                .and_then(|file| file.write_all_at(&whole[..length], 0))
                .unwrap();
            let files = &node.converger.files;
            Ledger::load(files).unwrap();
            last_good::load(files).unwrap();
            journal::last(files, 10).unwrap();
            if nth % 20 == 0 {
                let run = node.run("web-1").await;
                assert!(!run.failed(), "{name} of {length} bytes: {run:?}");
            }
            cut += 1;
        }
        File::create(&path)
            .and_then(|file| file.write_all_at(&whole, 0))
            .unwrap();
    }
    assert!(cut > 100, "{cut}");
    set_aside_damaged(&node.converger.files);
    assert!(!node.path("/var/lib/agentd/damaged").exists());
    assert!(!node.run("web-1").await.failed());
}
