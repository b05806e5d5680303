use insta::assert_snapshot;
use proptest::prelude::*;

use super::super::fixtures::{cache, name, platform, view};
use super::list::{check, read, render};
use std::path::PathBuf;

use super::*;
use crate::fleet::ListFormat;
use crate::fleet::names::Port;
use crate::report::Severity;
use crate::system::platform::Family;

const FORMATS: [ListFormat; 4] = [
    ListFormat::Json,
    ListFormat::Php,
    ListFormat::Ini,
    ListFormat::Text,
];

fn desired(json: &str, nodes: &[(&str, &str)], instance: bool) -> Desired {
    let view = View {
        caches: [(name("shop"), cache(json, nodes, instance))].into(),
        ..view()
    };
    let mut desired = CacheLists.desired(&view, &platform(), &());
    let instances = CacheInstances.desired(&view, &platform(), &());
    desired.steps.extend(instances.steps);
    desired
}

fn list(format: &str) -> String {
    let json = format!(
        r#"{{"port": 11211, "memory": "64M", "list": {{"path": "/etc/shop/nodes", "format": "{format}"}}}}"#
    );
    let nodes = [
        ("cache-1", "10.77.0.21"),
        ("cache-2", "10.77.0.22"),
        ("cache-6", "2001:db8::6"),
    ];
    let desired = desired(&json, &nodes, false);
    assert_eq!(desired.problems, []);
    let entry = &desired.steps[0].wants[0];
    let Wish::File { text, mode: 0o644 } = &entry.wish else {
        panic!("not a file that all may read");
    };
    // Each node's origin points at the line that has it.
    for origin in entry.origins.iter().filter(|origin| origin.line.is_some()) {
        let line = text
            .exposed()
            .lines()
            .nth(origin.line.unwrap() as usize - 1)
            .unwrap();
        let node = nodes
            .iter()
            .find(|(node, _)| origin.pointer.0 == format!("/signed/servers/{node}"))
            .unwrap();
        assert!(line.contains(node.0) || line.contains(node.1), "{line}");
    }
    text.exposed().to_owned()
}

#[test]
fn json() {
    assert_snapshot!(list("json"), @r#"
    [
      {"name": "cache-1", "host": "10.77.0.21", "port": 11211},
      {"name": "cache-2", "host": "10.77.0.22", "port": 11211},
      {"name": "cache-6", "host": "2001:db8::6", "port": 11211}
    ]
    "#);
}

#[test]
fn php() {
    assert_snapshot!(list("php"), @r"
    <?php
    // Written by node-agent; edit the fleet document instead.
    return array(
        array('name' => 'cache-1', 'host' => '10.77.0.21', 'port' => 11211),
        array('name' => 'cache-2', 'host' => '10.77.0.22', 'port' => 11211),
        array('name' => 'cache-6', 'host' => '2001:db8::6', 'port' => 11211),
    );
    ");
}

#[test]
fn ini() {
    assert_snapshot!(list("ini"), @r#"
    ; Written by node-agent; edit the fleet document instead.
    [cache-1]
    host = "10.77.0.21"
    port = 11211
    [cache-2]
    host = "10.77.0.22"
    port = 11211
    [cache-6]
    host = "2001:db8::6"
    port = 11211
    "#);
}

#[test]
fn text() {
    assert_snapshot!(list("text"), @r"
    10.77.0.21:11211
    10.77.0.22:11211
    [2001:db8::6]:11211
    ");
}

#[test]
fn the_list_step_guards_its_nodes_and_reloads_whom_the_product_names() {
    let json = r#"{"port": 11211, "memory": "64M", "list": {"path": "/etc/shop/nodes", "format": "text", "reload": "httpd"}}"#;
    let view = View {
        caches: [(
            name("shop"),
            cache(json, &[("cache-1", "10.77.0.21")], false),
        )]
        .into(),
        ..view()
    };
    let debian = Platform::of(Family::Debian);
    let desired = CacheLists.desired(&view, &debian, &());
    let step = &desired.steps[0];
    assert_eq!(step.name.0, "cache/shop");
    assert_eq!(step.list.as_ref().unwrap().what, "memcached nodes of shop");
    assert_eq!(step.list.as_ref().unwrap().entries, ["cache-1"]);
    assert_eq!(
        step.activate,
        [Activation {
            unit: "apache2.service".into(),
            verb: Verb::ReloadIfRunning,
            log: None,
        }]
    );
    assert_eq!(step.wants[0].thing.to_string(), "path:/etc/shop/nodes");
}

#[test]
fn an_empty_list_is_never_written() {
    let json = r#"{"port": 11211, "memory": "64M", "list": {"path": "/etc/shop/nodes", "format": "json"}}"#;
    let desired = desired(json, &[], false);
    assert_eq!(desired.steps, []);
    assert_eq!(desired.keep, [StepName("cache/shop".into())]);
    assert_eq!(desired.problems[0].severity, Severity::Failure);
    assert_snapshot!(desired.problems[0].message, @"shop has no active memcached server, so its node list /etc/shop/nodes stays as it is. Give a server of the role memcached the product, or take the list out of the document");
}

#[test]
fn a_memcached_server_gets_an_instance_in_a_step_of_its_own() {
    let json =
        r#"{"port": 11311, "memory": "2G", "list": {"path": "/etc/shop/nodes", "format": "json"}}"#;
    let desired = desired(json, &[("web-1", "10.77.0.11")], true);
    let names: Vec<&str> = desired
        .steps
        .iter()
        .map(|step| step.name.0.as_str())
        .collect();
    assert_eq!(names, ["cache/shop", "cache/shop/instance"]);
    let step = &desired.steps[1];
    let Wish::File { text, .. } = &step.wants[0].wish else {
        panic!("not a file");
    };
    assert_snapshot!(text.exposed(), @r"
    # Written by node-agent for memcached of shop; edit the fleet document instead.
    LISTEN=10.77.0.11
    PORT=11311
    MEMORY=2048
    ");
    let env = PathBuf::from("/etc/agentd/memcached/shop.env");
    assert_eq!(step.wants[0].thing, Thing::Path(env.clone()));
    assert_eq!(
        step.wants[1].thing,
        Thing::Unit("agentd-memcached@shop.service".into())
    );
    assert_eq!(step.wants[1].wish, Wish::Running { reads: vec![env] });
    assert_eq!(
        step.probes[0].question,
        Question::Memcached {
            address: "10.77.0.11".parse().unwrap(),
            port: 11311
        }
    );
}

#[test]
fn an_instance_is_asked_where_it_can_be_reached() {
    for (listen, written, asked) in [
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("::", "[::]", "::1"),
        ("127.0.0.2", "127.0.0.2", "127.0.0.2"),
        ("2001:db8::1", "[2001:db8::1]", "2001:db8::1"),
    ] {
        let json = format!(r#"{{"port": 1, "memory": "64M", "listen": "{listen}"}}"#);
        let desired = desired(&json, &[], true);
        let step = &desired.steps[0];
        let Wish::File { text, .. } = &step.wants[0].wish else {
            panic!("not a file");
        };
        let text = text.exposed();
        assert!(text.contains(&format!("\nLISTEN={written}\n")), "{text}");
        assert_eq!(
            step.probes[0].question,
            Question::Memcached {
                address: asked.parse().unwrap(),
                port: 1
            }
        );
    }
}

#[test]
fn a_list_that_says_something_else_is_not_offered() {
    let port = Port::new(11211).unwrap();
    let nodes = [
        (name("a"), "10.0.0.1".parse().unwrap()),
        (name("b"), "10.0.0.2".parse().unwrap()),
    ];
    for format in FORMATS {
        let text = render(format, port, &nodes).text;
        assert_eq!(check(format, &text, port, &nodes), Ok(()));
        for damaged in [
            text.replace("10.0.0.2", "10.0.0.3"),
            text.replace("11211", "11212"),
            text.replace("10.0.0.1", "10.0.0.1; phpinfo()"),
            text.chars().take(text.len() / 2).collect(),
            String::new(),
            render(format, port, &nodes[..1]).text,
        ] {
            assert!(check(format, &damaged, port, &nodes).is_err(), "{damaged}");
        }
    }
}

proptest! {
    #[test]
    fn every_format_reads_back(
        port in 1u16..,
        nodes in proptest::collection::btree_map("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", any::<IpAddr>(), 1..12),
    ) {
        let port = Port::new(port).unwrap();
        let nodes: Vec<(Name, IpAddr)> = nodes.into_iter().map(|(node, address)| (name(&node), address)).collect();
        for format in FORMATS {
            let rendered = render(format, port, &nodes);
            prop_assert_eq!(check(format, &rendered.text, port, &nodes), Ok(()));
            prop_assert_eq!(rendered.lines.len(), nodes.len());
        }
    }

    #[test]
    fn readers_never_panic(text in any::<String>()) {
        for format in FORMATS {
            let _ = read(format, &text);
            let _ = read(format, &format!("<?php\n{text}"));
        }
    }
}
