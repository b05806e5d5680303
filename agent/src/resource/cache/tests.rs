use insta::assert_snapshot;
use proptest::prelude::*;

use super::super::fixtures::{cache, name, of_product, platform, view};
use super::list::{Node, check, knows_ipv6, read, render};
use std::path::PathBuf;

use super::*;
use crate::fleet::ListFormat;
use crate::report::Severity;
use crate::system::platform::Family;

const FORMATS: [ListFormat; 7] = [
    ListFormat::Json,
    ListFormat::Php,
    ListFormat::Ini,
    ListFormat::Text,
    ListFormat::Libmemcached,
    ListFormat::PhpSession,
    ListFormat::PhpMemcacheSession,
];

fn desired(json: &str, nodes: &[(&str, &str)], instance: bool) -> Desired {
    let view = View {
        caches: [(of_product("shop"), cache(json, nodes, instance))].into(),
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
            of_product("shop"),
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

fn node(name: &str, host: &str, port: u16, weight: Option<u16>) -> Node {
    Node {
        name: name.into(),
        host: host.into(),
        port,
        weight,
    }
}

#[test]
fn a_list_that_says_something_else_is_not_offered() {
    for weight in [None, Some(7)] {
        let nodes = [
            node("a", "10.0.0.1", 11211, weight),
            node("b", "10.0.0.2", 11211, weight),
        ];
        for format in FORMATS {
            let text = render(format, &nodes).text;
            assert_eq!(check(format, &text, &nodes), Ok(()), "{text}");
            let mut others = vec![
                text.replace("10.0.0.2", "10.0.0.3"),
                text.replace("11211", "11212"),
                text.replace("10.0.0.1", "10.0.0.1; phpinfo()"),
                text.chars().take(text.len() / 2).collect(),
                String::new(),
                render(format, &nodes[..1]).text,
            ];
            if weight.is_some() {
                others.push(text.replace('7', "8"));
            }
            for damaged in others {
                assert!(check(format, &damaged, &nodes).is_err(), "{damaged}");
            }
        }
    }
}

const WEIGHTED: &str = r#"{"port": 11211, "memory": "64M", "weights": {"cache-2": 3}, "list": {"path": "/etc/shop/nodes", "format": "FORMAT"}}"#;

fn weighted(format: &str) -> String {
    let json = WEIGHTED.replace("FORMAT", format);
    let nodes = [("cache-1", "10.77.0.21"), ("cache-2", "10.77.0.22")];
    let desired = desired(&json, &nodes, false);
    assert_eq!(desired.problems, []);
    let Wish::File { text, .. } = &desired.steps[0].wants[0].wish else {
        panic!("not a file");
    };
    text.exposed().to_owned()
}

#[test]
fn weights_stand_in_every_format() {
    assert_snapshot!(weighted("json"), @r##"
    [
      {"name": "cache-1", "host": "10.77.0.21", "port": 11211, "weight": 1},
      {"name": "cache-2", "host": "10.77.0.22", "port": 11211, "weight": 3}
    ]
    "##);
    assert_snapshot!(weighted("php"), @r##"
    <?php
    // Written by node-agent; edit the fleet document instead.
    return array(
        array('name' => 'cache-1', 'host' => '10.77.0.21', 'port' => 11211, 'weight' => 1),
        array('name' => 'cache-2', 'host' => '10.77.0.22', 'port' => 11211, 'weight' => 3),
    );
    "##);
    assert_snapshot!(weighted("ini"), @r##"
    ; Written by node-agent; edit the fleet document instead.
    [cache-1]
    host = "10.77.0.21"
    port = 11211
    weight = 1
    [cache-2]
    host = "10.77.0.22"
    port = 11211
    weight = 3
    "##);
    assert_snapshot!(weighted("text"), @r##"
    10.77.0.21:11211:1
    10.77.0.22:11211:3
    "##);
    assert_snapshot!(weighted("libmemcached"), @r##"
    --SERVER=10.77.0.21:11211/?1
    --SERVER=10.77.0.22:11211/?3
    "##);
    assert_snapshot!(weighted("php-session"), @r##"
    ; Written by node-agent; edit the fleet document instead.
    session.save_handler = memcached
    session.save_path = "10.77.0.21:11211:1,10.77.0.22:11211:3"
    "##);
    assert_snapshot!(weighted("php-memcache-session"), @r##"
    ; Written by node-agent; edit the fleet document instead.
    session.save_handler = memcache
    session.save_path = "tcp://10.77.0.21:11211?weight=1,tcp://10.77.0.22:11211?weight=3"
    "##);
}

#[test]
fn clients_that_know_no_ipv6_get_no_such_list() {
    let json = WEIGHTED.replace("FORMAT", "php-session");
    let desired = desired(&json, &[("cache-1", "2001:db8::1")], false);
    assert_eq!(desired.steps, []);
    assert_snapshot!(desired.problems[0].message, @"the clients that read the node list /etc/shop/nodes know no IPv6 addresses such as 2001:db8::1: it stays as it is. Choose another format, or give the server an IPv4 address");
}

#[test]
fn a_socket_is_listed_on_its_own_server_only() {
    let json = r#"{"socket": true, "memory": "64M", "list": {"path": "/etc/shop/nodes", "format": "FORMAT"}}"#;
    let nodes = [("web-1", "10.77.0.11"), ("web-2", "10.77.0.12")];
    for (format, line) in [
        (
            "json",
            "{\"name\": \"web-1\", \"host\": \"/run/agentd-memcached/shop/memcached.sock\", \"port\": 0}",
        ),
        ("text", "/run/agentd-memcached/shop/memcached.sock"),
        (
            "libmemcached",
            "--SOCKET=\"/run/agentd-memcached/shop/memcached.sock\"",
        ),
        (
            "php-memcache-session",
            "session.save_path = \"unix:///run/agentd-memcached/shop/memcached.sock:0\"",
        ),
        (
            "php-session",
            "session.save_path = \"/run/agentd-memcached/shop/memcached.sock\"",
        ),
    ] {
        let here = desired(&json.replace("FORMAT", format), &nodes, true);
        assert_eq!(here.problems, []);
        let Wish::File { text, .. } = &here.steps[0].wants[0].wish else {
            panic!("not a file");
        };
        assert!(
            text.exposed().lines().any(|one| one.trim() == line),
            "{}",
            text.exposed()
        );
        let elsewhere = desired(&json.replace("FORMAT", format), &nodes, false);
        assert_eq!((elsewhere.steps, elsewhere.problems), (vec![], vec![]));
    }
    let here = desired(json.replace("FORMAT", "json").as_str(), &nodes, true);
    let Wish::File { text, .. } = &here.steps[1].wants[0].wish else {
        panic!("not a file");
    };
    assert_snapshot!(text.exposed(), @r##"
    # Written by node-agent for memcached of shop; edit the fleet document instead.
    LISTEN=127.0.0.1
    PORT=0
    MEMORY=64
    OPTIONS=-s /run/agentd-memcached/shop/memcached.sock -a 0666
    "##);
    assert_eq!(here.steps[1].probes, []);
}

#[test]
fn an_instance_with_all_its_fields_beside_another_of_the_product() {
    let json = r#"{"port": 11212, "memory": "64M", "listen": ["10.77.0.11", "127.0.0.1", "::1"], "item_size": "4M", "connections": 10000, "threads": 8}"#;
    let sessions = CacheName {
        product: name("shop"),
        name: Some(name("sessions")),
    };
    let plain = r#"{"port": 11211, "memory": "64M"}"#;
    let view = View {
        caches: [
            (of_product("shop"), cache(plain, &[], true)),
            (sessions, cache(json, &[], true)),
        ]
        .into(),
        ..view()
    };
    let desired = CacheInstances.desired(&view, &platform(), &());
    let step = &desired.steps[1];
    assert_eq!(step.name.0, "cache/shop_sessions/instance");
    assert_eq!(
        step.wants[1].thing,
        Thing::Unit("agentd-memcached@shop_sessions.service".into())
    );
    let Wish::File { text, .. } = &step.wants[0].wish else {
        panic!("not a file");
    };
    assert_snapshot!(text.exposed(), @r##"
    # Written by node-agent for memcached of shop_sessions; edit the fleet document instead.
    LISTEN=10.77.0.11,127.0.0.1,[::1]
    PORT=11212
    MEMORY=64
    OPTIONS=-I 4096k -c 10000 -t 8
    "##);
    assert_eq!(step.probes.len(), 3);
    for origin in &step.wants[0].origins {
        let line = origin.line.unwrap_or(1) as usize;
        assert!(line <= text.exposed().lines().count());
    }
}

proptest! {
    #[test]
    fn every_format_reads_back(
        port in 1u16..,
        nodes in proptest::collection::btree_map("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", any::<IpAddr>(), 1..12),
        weight in proptest::option::of(1u16..100),
    ) {
        for format in FORMATS {
            let known = nodes.iter().filter(|(_, address)| address.is_ipv4() || knows_ipv6(format));
            let nodes: Vec<Node> = known.map(|(name, address)| node(name, &address.to_string(), port, weight)).collect();
            if nodes.is_empty() {
                continue;
            }
            let rendered = render(format, &nodes);
            prop_assert_eq!(check(format, &rendered.text, &nodes), Ok(()));
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
