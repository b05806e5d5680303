use std::path::Path;

use serde_json::{Value, json};

use super::super::fixtures;
use super::*;
use crate::fleet::Document;
use crate::node::eviction::Evictions;
use crate::node::{Elected, Elections, HostsScope};
use crate::resource::Text;
use crate::system::platform::Family;

/// A fleet with a web server and a database of the shop, whose files these are.
fn view_of(node: &str, role: &Value, product: &Value) -> View {
    let document = json!({"signatures": [], "signed": {
        "format": 1, "fleet": "small", "version": 1, "issued": "2026-11-22T20:00:00Z", "expires": "2027-11-22T20:00:00Z",
        "servers": {
            "web-1": {"address": "10.0.0.11", "zone": "north", "roles": ["web"], "products": ["shop"]},
            "db-1": {"address": "10.0.0.31", "roles": ["database"], "products": ["shop"]},
            "db-2": {"address": "10.0.0.32", "roles": ["database"], "products": ["shop"]},
            "web-9": {"address": "10.0.0.19", "roles": ["web"], "products": ["shop"], "state": "draining"}
        },
        "roles": {"web": {"files": role}, "database": {}},
        "products": {"shop": {"files": product, "database": {"chain": ["db-1", "db-2"]}}}
    }});
    let document = Document::read(document.to_string().as_bytes()).unwrap();
    let elected = Elected {
        epoch: 2,
        owner: fixtures::name("db-2"),
    };
    let elections = Elections::from([(fixtures::name("shop"), elected)]);
    crate::node::view(
        &document.fleet,
        &fixtures::name(node),
        HostsScope::Products,
        &elections,
        &Evictions::default(),
    )
    .unwrap()
}

fn desired(view: &View, family: Family) -> Desired {
    PlacedFiles.desired(view, &Platform::of(family), &FileFacts::assumed())
}

fn text(step: &Step) -> &str {
    match &step.wants[0].wish {
        Wish::Placed { text, .. } => text.shown().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn names(desired: &Desired) -> Vec<&str> {
    desired
        .steps
        .iter()
        .map(|step| step.name.0.as_str())
        .collect()
}

#[test]
fn a_template_is_rendered_with_the_present_master_and_active_neighbours() {
    let view = view_of(
        "web-1",
        &json!({"/etc/motd": {"template": "{{ node.name }} in {{ node.zone }}: {% for one in peers.web %}{{ one.name }}{% endfor %}\n"}}),
        &json!({"/etc/shop.ini": {"template": "{{ product }}={{ database.master.address }} {{ secret('db') }}\n", "secrets": {"db": {"file": "/etc/agentd/secrets/db"}}, "on": ["web"]}}),
    );
    let desired = desired(&view, Family::Centos);
    assert_eq!(names(&desired), ["files/etc/motd", "files/etc/shop.ini"]);
    assert_eq!(text(&desired.steps[0]), "web-1 in north: web-1\n");
    assert_eq!(text(&desired.steps[1]), "shop=10.0.0.32 «secret»\n");
}

#[test]
fn what_one_service_reads_is_one_step_and_each_file_a_member_of_it() {
    let file = |more: Value| {
        let mut file = json!({"content": "x", "reload": ["php-fpm"]});
        file.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        file
    };
    let view = view_of(
        "web-1",
        &json!({"/etc/php.d/b.ini": file(json!({"check": ["/usr/bin/test", "-s", "{staged}"]}))}),
        &json!({"/etc/php.d": {"directory": true}, "/etc/php.d/a.ini": file(json!({"replace": true})), "/etc/alone": {"content": "y", "restart": ["httpd.service"]}}),
    );
    let desired = desired(&view, Family::Debian);
    assert_eq!(
        names(&desired),
        [
            "files/restart-httpd",
            "files/etc/php.d",
            "files/reload-php-fpm"
        ]
    );
    let php = &desired.steps[2];
    assert_eq!(php.wants.len(), 2);
    assert_eq!(php.members.len(), 2);
    assert_eq!(php.activate.len(), 1);
    assert_eq!(php.needs, [StepName("files/etc/php.d".into())]);
    let [check] = php.file_checks.as_slice() else {
        panic!("{:?}", php.file_checks)
    };
    assert_eq!(check.member, Some(MemberName("etc/php.d/b.ini".into())));
    let command = check.for_staged(Path::new("/etc/php.d/.b.ini.x"));
    assert_eq!(command.argv, ["/usr/bin/test", "-s", "/etc/php.d/.b.ini.x"]);
    // What may be replaced, and what is left to others.
    assert_eq!(
        php.not_over_others,
        [Thing::Path("/etc/php.d/b.ini".into())].into()
    );
    let httpd = &desired.steps[0].activate[0];
    assert_eq!(
        (httpd.unit.as_str(), httpd.verb),
        ("apache2.service", Verb::RestartIfRunning)
    );
    assert!(desired.steps[0].members.is_empty());
}

#[test]
fn a_database_is_restarted_where_nobody_writes_to_it() {
    let tuning = json!({"/etc/my.cnf.d/70.cnf": {
        "content": "[mysqld]\n", "debian": "/etc/mysql/mariadb.conf.d/70.cnf", "restart": ["mariadb"], "on": ["database"]
    }});
    for (node, restarts) in [("db-1", 1), ("db-2", 0)] {
        let view = view_of(node, &json!({}), &tuning);
        let desired = desired(&view, Family::Debian);
        assert_eq!(desired.steps[0].activate.len(), restarts, "{node}");
        assert_eq!(
            desired.steps[0].wants[0].thing,
            Thing::Path("/etc/mysql/mariadb.conf.d/70.cnf".into())
        );
        // It runs since before the file was written, or since after.
        for (started, due) in [(100, 1), (200, 0)] {
            let mut facts = FileFacts::assumed();
            facts.started.insert("mariadb.service".into(), started);
            facts
                .written
                .insert("/etc/mysql/mariadb.conf.d/70.cnf".into(), 150);
            let desired = PlacedFiles.desired(&view, &Platform::of(Family::Debian), &facts);
            assert_eq!(desired.problems.len(), due, "{node} {started}");
            if let Some(problem) = desired.problems.first() {
                assert!(
                    problem
                        .message
                        .contains("systemctl restart mariadb.service"),
                    "{}",
                    problem.message
                );
                assert_eq!(
                    problem.message.contains("is the master of shop"),
                    restarts == 0
                );
            }
        }
    }
}

#[test]
fn what_is_not_to_be_had_stays_and_is_told() {
    let view = view_of(
        "web-1",
        &json!({
            "/etc/a": {"content": "a", "owner": "nobody-here"},
            "/etc/b": {"template": "{{ secret('x') }}", "secrets": {"x": {"aws": "prod/x", "field": "password"}}},
            "/etc/c": {"object": "files/c", "sha256": "0".repeat(64)},
            "/etc/d": {"template": "{{ database.master.name }}", "reload": ["httpd"]},
            "/etc/e": {"content": "e", "reload": ["httpd"]}
        }),
        &json!({}),
    );
    let mut facts = FileFacts::default();
    for file in &view.files {
        for source in file.file.secrets.values() {
            let error = crate::resource::secrets::SecretError("not here".into());
            facts.secrets.insert(source.clone(), Err(error));
        }
    }
    let desired = PlacedFiles.desired(&view, &Platform::of(Family::Centos), &facts);
    let held: Vec<&str> = desired.keep.iter().map(|step| step.0.as_str()).collect();
    assert_eq!(held, ["files/etc/a", "files/etc/b", "files/etc/c"]);
    let said: Vec<&str> = desired
        .problems
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    insta::assert_snapshot!(said.join("\n"), @"
    /etc/a stays as it is: whether there is a user nobody-here could not be looked up
    /etc/b stays as it is without its secret `x`: not here
    /etc/c stays as it is: the object files/c is not on this machine yet; a run fetches it
    ");
    // One of two that a service reads: the other one comes true.
    assert_eq!(desired.unfit.len(), 1);
    assert_eq!(desired.unfit[0].member.0, "etc/d");
    assert_eq!(desired.steps.len(), 1);
    assert_eq!(desired.claims.len(), 4);
    let mut without = view;
    let member = [desired.unfit[0].member.clone()].into();
    PlacedFiles.leave_out(&desired.steps[0].name, &member, &mut without, None);
    let desired = PlacedFiles.desired(&without, &Platform::of(Family::Centos), &facts);
    assert!(desired.unfit.is_empty());
    assert!(desired.claims.contains(&Thing::Path("/etc/d".into())));
}

#[test]
fn a_text_with_a_secret_shows_nothing_of_it() {
    let secret = Text::secret("password=hunter2".into(), "digest".into());
    assert_eq!(secret.shown(), None);
    assert_eq!(secret.digest(), "digest");
    assert_eq!(format!("{secret:?}"), "<secret>");
}
