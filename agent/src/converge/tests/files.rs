//! Files that the document names: whose they are, what stood there before, secrets.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use super::Box;
use crate::converge::ledger::Ledger;
use crate::report::{Cause, Outcome, RunRecord};

const SECRET: &str = "correct horse battery staple";

/// A box of the role `web` with these files and nothing else.
fn with(files: &Value) -> Box {
    let mut node = Box::new();
    set(&mut node, files);
    node
}

fn set(node: &mut Box, files: &Value) {
    node.edit(|signed| signed["roles"]["web"]["files"] = files.clone());
}

fn row<'a>(run: &'a RunRecord, step: &str) -> &'a crate::report::StepRecord {
    let found = run.steps.iter().find(|row| row.step.0 == step);
    found.unwrap_or_else(|| panic!("no row {step} in {:?}", run.steps))
}

fn mode(node: &Box, path: &str) -> u32 {
    node.path(path).metadata().unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn files_directories_and_links_come_drift_and_go() {
    let files = json!({
        "/etc/shop/app": {"directory": true, "mode": "0750"},
        "/etc/shop/app/a.ini": {"content": "a\n", "mode": "0640"},
        "/etc/shop/app/b": {"link": "a.ini"}
    });
    let mut node = with(&files);
    let run = node.run("web-1").await;
    assert_eq!(row(&run, "files/etc/shop/app").outcome, Outcome::Changed);
    assert_eq!(
        (
            mode(&node, "/etc/shop/app"),
            mode(&node, "/etc/shop/app/a.ini")
        ),
        (0o750, 0o640)
    );
    assert_eq!(node.read("/etc/shop/app/b"), "a\n");
    assert_eq!(node.run("web-1").await.id, 0);

    // Content, mode, and a link that leads elsewhere.
    node.write("/etc/shop/app/a.ini", "mine\n");
    std::fs::set_permissions(node.path("/etc/shop/app"), PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::remove_file(node.path("/etc/shop/app/b")).unwrap();
    symlink("/etc/passwd", node.path("/etc/shop/app/b")).unwrap();
    let run = node.run("web-1").await;
    for step in [
        "files/etc/shop/app",
        "files/etc/shop/app/a.ini",
        "files/etc/shop/app/b",
    ] {
        assert_eq!(row(&run, step).cause, Cause::Drift, "{step}");
    }
    assert_eq!(node.read("/etc/shop/app/b"), "a\n");
    assert_eq!(mode(&node, "/etc/shop/app"), 0o750);

    // The document says a file in the place of the link, and a link in the place of a file.
    let mut files = files;
    files["/etc/shop/app/b"] = json!({"content": "b\n"});
    set(&mut node, &files);
    node.run("web-1").await;
    assert!(!node.path("/etc/shop/app/b").is_symlink() && node.read("/etc/shop/app/b") == "b\n");
    files["/etc/shop/app/b"] = json!({"link": "a.ini"});
    set(&mut node, &files);
    node.run("web-1").await;
    assert_eq!(node.read("/etc/shop/app/b"), "a\n");

    // The document says another mode: that is no drift.
    files["/etc/shop/app"]["mode"] = "0755".into();
    files["/etc/shop/app/a.ini"]["mode"] = "0600".into();
    set(&mut node, &files);
    let run = node.run("web-1").await;
    for step in ["files/etc/shop/app", "files/etc/shop/app/a.ini"] {
        assert_eq!(row(&run, step).cause, Cause::Intended, "{step}");
    }
    assert_eq!(mode(&node, "/etc/shop/app/a.ini"), 0o600);

    set(&mut node, &json!({}));
    node.run("web-1").await;
    assert!(!node.path("/etc/shop/app").exists());
    let ledger = Ledger::load(&node.converger.files).unwrap();
    assert!(
        !ledger
            .paths()
            .any(|(path, _)| path.starts_with("/etc/shop/app"))
    );
}

#[tokio::test]
async fn what_is_somebody_elses_stays_unless_the_document_says_otherwise_and_comes_back() {
    let mut node =
        with(&json!({"/etc/motd": {"content": "ours\n"}, "/etc/other": {"link": "motd"}}));
    node.write("/etc/motd", "theirs\n");
    symlink("/dev/null", node.path("/etc/other")).unwrap();
    std::fs::set_permissions(node.path("/etc/motd"), PermissionsExt::from_mode(0o604)).unwrap();
    let run = node.run("web-1").await;
    let said: Vec<&str> = run
        .problems
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    assert!(
        said.iter()
            .any(|said| said.starts_with("/etc/motd is there already")
                && said.contains("\"replace\": true")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|said| said.starts_with("/etc/other is there already")),
        "{said:?}"
    );
    assert!(run.failed());
    assert_eq!(node.read("/etc/motd"), "theirs\n");

    set(
        &mut node,
        &json!({"/etc/motd": {"content": "ours\n", "replace": true}, "/etc/other": {"link": "motd", "replace": true}}),
    );
    let run = node.run("web-1").await;
    assert_eq!(node.read("/etc/motd"), "ours\n");
    assert!(
        row(&run, "files/etc/motd").notes[0].contains("comes back"),
        "{run:?}"
    );
    // Also after others edited it, and a new version of the document.
    node.write("/etc/motd", "edited\n");
    set(
        &mut node,
        &json!({"/etc/motd": {"content": "ours, newer\n", "replace": true}, "/etc/other": {"link": "motd", "replace": true}}),
    );
    node.run("web-1").await;
    assert_eq!(node.run("web-1").await.id, 0);

    set(&mut node, &json!({}));
    let run = node.run("web-1").await;
    assert_eq!(node.read("/etc/motd"), "theirs\n", "{run:?}");
    assert_eq!(mode(&node, "/etc/motd"), 0o604);
    assert_eq!(
        std::fs::read_link(node.path("/etc/other"))
            .unwrap()
            .to_str(),
        Some("/dev/null")
    );
    assert!(
        !node
            .path("/var/lib/agentd/originals")
            .read_dir()
            .is_ok_and(|mut left| left.next().is_some())
    );
    assert_eq!(node.run("web-1").await.id, 0);
    assert_eq!(node.read("/etc/motd"), "theirs\n");
}

#[tokio::test]
async fn what_says_the_same_already_is_adopted_and_a_directory_gets_its_mode_back() {
    let mut node = with(
        &json!({"/etc/motd": {"content": "same\n"}, "/srv/data": {"directory": true, "mode": "0700"}}),
    );
    node.write("/etc/motd", "same\n");
    std::fs::set_permissions(node.path("/etc/motd"), PermissionsExt::from_mode(0o644)).unwrap();
    node.write("/srv/data/x", "theirs\n");
    std::fs::set_permissions(node.path("/srv/data"), PermissionsExt::from_mode(0o755)).unwrap();
    let run = node.run("web-1").await;
    assert!(
        !run.failed() && mode(&node, "/srv/data") == 0o700,
        "{run:?}"
    );
    set(&mut node, &json!({}));
    node.run("web-1").await;
    assert_eq!(node.read("/etc/motd"), "same\n");
    assert_eq!(
        (mode(&node, "/srv/data"), node.read("/srv/data/x")),
        (0o755, "theirs\n".into())
    );
}

#[tokio::test]
async fn links_in_the_way_are_not_followed() {
    let node = with(
        &json!({"/srv/shop/conf/a": {"content": "a\n", "replace": true}, "/etc/motd": {"content": "m\n", "replace": true}}),
    );
    node.write("/elsewhere/a", "theirs\n");
    std::fs::create_dir_all(node.path("/srv/shop")).unwrap();
    std::fs::create_dir_all(node.path("/etc")).unwrap();
    symlink(node.path("/elsewhere"), node.path("/srv/shop/conf")).unwrap();
    symlink(node.path("/elsewhere/a"), node.path("/etc/motd")).unwrap();
    let run = node.run("web-1").await;
    assert!(run.failed());
    assert_eq!(node.read("/elsewhere/a"), "theirs\n");
    for step in ["files/srv/shop/conf/a", "files/etc/motd"] {
        assert!(
            row(&run, step).error.as_ref().unwrap().contains("symlink"),
            "{run:?}"
        );
    }
}

/// Every byte of the agent's state and of what it says, but for the files themselves and where the secret is kept.
fn told(node: &Box, run: &RunRecord) -> String {
    fn walk(dir: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else {
                into.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = format!("{run:?}{}", serde_json::to_string(run).unwrap());
    for dir in ["/var/lib/agentd", "/run/agentd", "/var/log"] {
        walk(&node.path(dir), &mut all);
    }
    all
}

fn keep_secret(node: &Box, secret: &str) {
    node.write("/etc/agentd/secrets/db", secret);
    let path = node.path("/etc/agentd/secrets/db");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_secret_reaches_its_file_and_nothing_else() {
    let file = |template: &str| json!({"/etc/shop.ini": {"template": template, "secrets": {"db": {"file": "/etc/agentd/secrets/db"}}, "mode": "0640"}});
    let mut node = with(&file("password = {{ secret('db') }}\n"));
    let run = node.run("web-1").await;
    assert!(
        run.failed() && !node.path("/etc/shop.ini").exists(),
        "{run:?}"
    );

    keep_secret(&node, &format!("{SECRET}\n"));
    let plan = node.converger.plan(&node.intent("web-1")).await.unwrap();
    assert!(
        !format!("{plan:?}").contains(SECRET)
            && !format!("{:?}", plan.records(true)).contains(SECRET)
    );
    let run = node.run("web-1").await;
    assert_eq!(node.read("/etc/shop.ini"), format!("password = {SECRET}\n"));
    assert!(!told(&node, &run).contains(SECRET));
    assert_eq!(node.run("web-1").await.id, 0);

    // Somebody edits what has the secret in it.
    node.write(
        "/etc/shop.ini",
        &format!("password = {SECRET}\nand = more\n"),
    );
    let run = node.run("web-1").await;
    assert_eq!(row(&run, "files/etc/shop.ini").cause, Cause::Drift);
    assert!(
        row(&run, "files/etc/shop.ini")
            .notes
            .iter()
            .any(|note| note.contains("no copy")),
        "{run:?}"
    );
    assert!(!told(&node, &run).contains(SECRET));

    // Another secret: that is no drift.
    keep_secret(&node, "another");
    let run = node.run("web-1").await;
    assert_eq!(row(&run, "files/etc/shop.ini").cause, Cause::Intended);
    assert_eq!(node.read("/etc/shop.ini"), "password = another\n");
    assert!(!told(&node, &run).contains(SECRET));
    keep_secret(&node, SECRET);
    node.run("web-1").await;

    // The key of digests is gone with a boot: nothing is written again.
    std::fs::remove_file(node.path("/run/agentd/secret-digests.key")).unwrap();
    assert_eq!(node.run("web-1").await.id, 0);
    assert_eq!(node.run("web-1").await.id, 0);

    // A version without the secret, and then none of the file.
    set(
        &mut node,
        &json!({"/etc/shop.ini": {"content": "password = none\n"}}),
    );
    let run = node.run("web-1").await;
    assert_eq!(node.read("/etc/shop.ini"), "password = none\n");
    assert!(!told(&node, &run).contains(SECRET));
    set(&mut node, &file("password = {{ secret('db') }}\n"));
    let run = node.run("web-1").await;
    assert!(!told(&node, &run).contains(SECRET));
    set(&mut node, &json!({}));
    let run = node.run("web-1").await;
    assert!(!node.path("/etc/shop.ini").exists());
    assert!(!told(&node, &run).contains(SECRET));
}

#[tokio::test]
async fn what_a_secret_replaces_is_copied_nowhere_that_others_may_look() {
    let secret = json!({"/etc/shop.ini": {"template": "password = {{ secret('db') }}\n", "secrets": {"db": {"file": "/etc/agentd/secrets/db"}}, "mode": "0640"}});
    let mut node = with(&json!({"/etc/shop.ini": {"content": "password = none\n"}}));
    keep_secret(&node, SECRET);
    node.run("web-1").await;
    // Somebody has written the password there by hand, before the document had it.
    node.write("/etc/shop.ini", &format!("by-hand = {SECRET}\n"));
    set(&mut node, &secret);
    let run = node.run("web-1").await;
    assert_eq!(node.read("/etc/shop.ini"), format!("password = {SECRET}\n"));
    let row = row(&run, "files/etc/shop.ini");
    assert!(
        row.notes.iter().any(|note| note.contains("no copy")),
        "{row:?}"
    );
    assert!(
        row.changes.iter().all(|change| change.backup.is_none()),
        "{row:?}"
    );
    assert!(!told(&node, &run).contains(SECRET));
}

#[tokio::test]
async fn a_file_without_a_path_of_its_own_on_debian_stands_beside_one_that_has() {
    // Whoever says another path for Debian means another file there.
    let role = json!({"/etc/a": {"content": "x\n"}});
    let mut node = with(&role);
    node.edit(|signed| {
        signed["products"]["shop"]["files"] =
            json!({"/etc/a": {"content": "x\n", "debian": "/etc/b"}});
    });
    let intent = node.intent("web-1");
    let view = crate::node::view(
        &intent.document.fleet,
        &intent.node,
        intent.hosts,
        &intent.elections,
        &intent.evictions,
    )
    .unwrap();
    let paths = |family| {
        let mut paths: Vec<_> = view
            .files
            .iter()
            .map(|file| file.path_on(family).display().to_string())
            .collect();
        paths.sort();
        paths.dedup();
        paths
    };
    assert_eq!(paths(crate::system::platform::Family::Centos), ["/etc/a"]);
    assert_eq!(
        paths(crate::system::platform::Family::Debian),
        ["/etc/a", "/etc/b"]
    );
}

#[tokio::test]
async fn a_path_that_is_made_of_another_part_of_the_document_is_not_written_by_turns() {
    let path = "/etc/dnf/plugins/versionlock.list";
    let mut node = with(&json!({path: {"content": "mine\n", "replace": true}}));
    node.edit(|signed| {
        signed["roles"]["web"]["packages"] = json!([{"name": "telnet", "version": "0.17"}]);
    });
    let run = node.run("web-1").await;
    assert!(
        node.read(path).contains("telnet-0.17"),
        "{}",
        node.read(path)
    );
    let told = |run: &RunRecord| {
        let problems = run.problems.iter().map(|problem| problem.message.clone());
        problems.collect::<Vec<_>>().join("\n")
    };
    assert!(
        told(&run).contains("is wanted differently by packages"),
        "{run:?}"
    );
    let text = node.read(path);
    let before = node.stamps();
    node.run("web-1").await;
    assert_eq!(node.stamps(), before);
    assert_eq!(node.read(path), text);
}

#[tokio::test]
async fn of_files_that_one_service_reads_only_the_odd_one_is_left_out() {
    let path = "/etc/dnf/plugins/versionlock.list";
    let mut node = with(&json!({
        path: {"content": "mine\n", "replace": true, "reload": ["crond"]},
        "/etc/shop.conf": {"content": "shop\n", "reload": ["crond"]},
    }));
    node.edit(|signed| {
        signed["roles"]["web"]["packages"] = json!([{"name": "telnet", "version": "0.17"}]);
    });
    let run = node.run("web-1").await;
    assert_eq!(node.read("/etc/shop.conf"), "shop\n", "{run:?}");
    assert!(node.read(path).contains("telnet-0.17"));
    assert!(run.failed(), "{run:?}");
}

#[tokio::test]
async fn an_image_has_no_secrets() {
    let node = with(&json!({
        "/etc/shop.ini": {"template": "{{ secret('db') }}", "secrets": {"db": {"file": "/etc/agentd/secrets/db"}}},
        "/etc/motd": {"content": "m\n"}
    }));
    keep_secret(&node, SECRET);
    node.run("web-1").await;
    assert!(node.path("/etc/shop.ini").exists());
    crate::converge::seal(&node.converger.files).unwrap();
    assert!(!node.path("/etc/shop.ini").exists() && node.path("/etc/motd").exists());
}
