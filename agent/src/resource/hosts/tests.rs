use insta::assert_snapshot;

use super::super::fixtures::{alias, name, platform, server, view};
use super::*;

fn fleet() -> View {
    View {
        hosts: vec![
            server("web-1", "10.77.0.11"),
            server("db-1", "10.77.0.31"),
            alias("a-database", "10.77.0.31"),
            server("six", "2001:db8::6"),
            alias("mysql-master", "10.77.0.31"),
        ],
        ..view()
    }
}

fn facts(text: &str) -> HostsFacts {
    HostsFacts::of(text.as_bytes())
}

fn warnings(view: &View, text: &str) -> Vec<String> {
    let desired = Hosts.desired(view, &platform(), &facts(text));
    assert_eq!(desired.steps.len(), 1, "a warning holds nothing back");
    assert!(
        desired
            .problems
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    );
    desired
        .problems
        .into_iter()
        .map(|problem| problem.message)
        .collect()
}

#[test]
fn servers_come_before_aliases_so_that_reverse_lookups_name_the_server() {
    let desired = Hosts.desired(&fleet(), &platform(), &HostsFacts::default());
    assert_eq!(desired.problems, []);
    let step = &desired.steps[0];
    let Wish::Block { text } = &step.wants[0].wish else {
        panic!("not a block");
    };
    assert_snapshot!(text, @r"
    10.77.0.31	db-1
    2001:db8::6	six
    10.77.0.11	web-1
    10.77.0.31	a-database
    10.77.0.31	mysql-master
    ");
    let origins: Vec<String> = step.wants[0]
        .origins
        .iter()
        .map(|origin| format!("{} {}", origin.line.unwrap(), origin.pointer))
        .collect();
    assert_snapshot!(origins.join("\n"), @r"
    1 /signed/servers/db-1
    2 /signed/servers/six
    3 /signed/servers/web-1
    4 /signed/products/shop/database/aliases/master/0
    5 /signed/products/shop/database/aliases/master/0
    ");
    assert_eq!(
        step.list.as_ref().unwrap().entries,
        ["a-database", "db-1", "mysql-master", "six", "web-1"]
    );
}

/// The agent's lines, where others wrote `outside`.
fn written(view: &View, outside: &str) -> String {
    let desired = Hosts.desired(view, &platform(), &facts(outside));
    assert_eq!(desired.keep, []);
    let Some(step) = desired.steps.first() else {
        return String::new();
    };
    let Wish::Block { text } = &step.wants[0].wish else {
        panic!("not a block");
    };
    let lines = text.lines().count();
    for origin in &step.wants[0].origins {
        assert!((1..=lines).contains(&usize::try_from(origin.line.unwrap()).unwrap()));
    }
    text.clone()
}

/// db-1, which is the master, as it sees web-1 and itself.
fn database_box(domain: Option<&str>) -> View {
    let mut hosts = vec![
        server("db-1", "10.77.0.31"),
        alias("mysql-master", "10.77.0.31"),
        server("web-1", "10.77.0.1"),
    ];
    for host in hosts
        .iter_mut()
        .filter(|host| host.origin.0.starts_with("/signed/servers/"))
    {
        host.fqdn = domain.map(|domain| format!("{}.{domain}", host.name));
    }
    View {
        name: name("db-1"),
        server: serde_json::from_str(r#"{"address": "10.77.0.31"}"#).unwrap(),
        hosts,
        ..view()
    }
}

#[test]
fn with_a_domain_names_are_written_with_it_first() {
    assert_snapshot!(written(&database_box(Some("example.com")), "127.0.0.1 localhost\n"), @r"
    10.77.0.31	db-1.example.com db-1
    10.77.0.1	web-1.example.com web-1
    10.77.0.31	mysql-master
    ");
    assert_snapshot!(warnings(&database_box(Some("example.com")), "10.1.1.1 web-1.example.com\n127.0.1.1 db-1.example.com\n").join("\n"), @"line 1 of /etc/hosts says that web-1.example.com is 10.1.1.1, the document says 10.77.0.1: programs may get either. Delete web-1.example.com from that line");
}

#[test]
fn an_address_keeps_the_name_that_it_has() {
    assert_snapshot!(written(&database_box(None), "10.77.0.1 Web-1.Example.com www\n10.77.0.1 other\n"), @r"
    10.77.0.31	db-1
    10.77.0.1	Web-1.Example.com web-1
    10.77.0.31	mysql-master
    ");
    // Also against the fleet's domain.
    assert_snapshot!(written(&database_box(Some("example.com")), "10.77.0.1 web-1.old.example web-1\n"), @r"
    10.77.0.31	db-1.example.com db-1
    10.77.0.1	web-1.old.example web-1.example.com web-1
    10.77.0.31	mysql-master
    ");
    // Not one that means another server, or the loopback, or that no file may have.
    for line in [
        "10.77.0.1 db-1",
        "10.77.0.1 localhost\n127.0.0.1 localhost",
        "10.77.0.1 b\u{fc}ro",
        "10.77.0.1",
    ] {
        assert!(
            written(&database_box(None), line).contains("\n10.77.0.1\tweb-1\n"),
            "{line}"
        );
    }
    // An alias that a person wrote by hand, until it moves.
    let outside = "10.77.0.31 mysql-master\n";
    assert!(written(&database_box(None), outside).starts_with("10.77.0.31\tmysql-master db-1\n"));
    let mut moved = database_box(None);
    moved.hosts[1].address = "10.77.0.32".parse().unwrap();
    assert!(written(&moved, outside).starts_with("10.77.0.31\tdb-1\n"));
}

#[test]
fn the_box_s_own_name_is_left_out_where_it_leads_to_the_box() {
    let alone = View {
        hosts: vec![server("web-1", "10.77.0.11")],
        ..view()
    };
    for line in [
        "127.0.1.1 web-1.example.com web-1",
        "10.77.0.11 web-1.example.com web-1",
        "::1 localhost web-1",
    ] {
        assert_eq!(written(&alone, line), "", "{line}");
        assert!(!written(&fleet(), line).contains("web-1"), "{line}");
    }
    assert_eq!(
        written(&alone, "127.0.0.1 localhost"),
        "10.77.0.11\tweb-1\n"
    );
    // An address of the past: what the box is called in full stays.
    assert_eq!(
        written(&alone, "10.77.0.99 web-1.example.com web-1"),
        "10.77.0.11\tweb-1.example.com web-1\n"
    );
    assert_eq!(
        written(
            &alone,
            "10.77.0.11 ip-10-77-0-11.ec2.internal\n10.77.0.99 web-1.example.com web-1"
        ),
        "10.77.0.11\tip-10-77-0-11.ec2.internal\n10.77.0.11\tweb-1.example.com web-1\n"
    );
    assert_eq!(
        written(
            &alone,
            "10.77.0.11 ip-10-77-0-11.ec2.internal ip-10-77-0-11"
        ),
        "10.77.0.11\tip-10-77-0-11.ec2.internal web-1\n"
    );
}

#[test]
fn the_box_s_address_is_not_called_by_an_alias() {
    for (line, own) in [
        ("127.0.1.1 db-1.example.com db-1", "db-1.example.com"),
        (
            "127.0.0.1 localhost localhost.localdomain db-1.example.com db-1",
            "db-1.example.com",
        ),
        ("10.77.0.31 db-1.example.com db-1", "db-1.example.com"),
        ("127.0.1.1 db-1", "db-1"),
    ] {
        assert_eq!(
            written(&database_box(None), line),
            format!("10.77.0.1\tweb-1\n10.77.0.31\t{own}\n10.77.0.31\tmysql-master\n"),
            "{line}"
        );
    }
    // Not known with the fleet's domain yet: that is added, and does not change what `hostname -f` says.
    assert_snapshot!(written(&database_box(Some("example.com")), "127.0.1.1 db-1\n"), @r"
    10.77.0.31	db-1.example.com
    10.77.0.1	web-1.example.com web-1
    10.77.0.31	mysql-master
    ");
}

/// What the C library says: of a name its addresses and what it is called in full, of an address its name.
fn look_up(file: &str, what: &str) -> Option<String> {
    let lines = || {
        file.lines()
            .zip(1..)
            .filter_map(|(line, number)| parse_line(number, line))
    };
    match what.parse::<IpAddr>() {
        Ok(address) => lines()
            .find(|line| line.address == address)
            .map(|line| line.first),
        Err(_) => lines()
            .find(|line| line.names.iter().any(|name| name == what))
            .map(|line| line.first),
    }
}

proptest::proptest! {
    #[test]
    fn what_others_say_first_stays_first(
        lines in proptest::collection::vec((0..4usize, proptest::collection::vec(0..5usize, 1..4)), 0..6),
        with_domain in proptest::prelude::any::<bool>(),
    ) {
        let addresses = ["127.0.1.1", "10.77.0.31", "10.77.0.1", "10.77.0.99"];
        let names = ["db-1", "db-1.example.com", "web-1.example.com", "printer", "host.example.net"];
        let outside: Vec<String> = lines.iter().map(|(address, of)| {
            let of: Vec<&str> = of.iter().map(|name| names[*name]).collect();
            format!("{} {}\n", addresses[*address], of.join(" "))
        }).collect();
        let outside = outside.concat();
        let view = database_box(with_domain.then_some("example.com"));
        let ours = written(&view, &outside);
        let after = format!("{ours}{outside}");
        // Whose address it is stays, unless the document leads that name elsewhere.
        for address in ["10.77.0.31", "10.77.0.1"] {
            let (before, now) = (look_up(&outside, address), look_up(&after, address));
            let elsewhere = before.as_deref().is_some_and(|name| {
                let db = name == "db-1" || with_domain && name == "db-1.example.com";
                let web = with_domain && name == "web-1.example.com";
                db && address != "10.77.0.31" || web && address != "10.77.0.1"
                    || outside.lines().any(|line| line.starts_with("127.") && line.contains(name))
            });
            if before.is_some() && !elsewhere {
                proptest::prop_assert_eq!(&before, &now, "{} in\n{}---\n{}", address, ours, outside);
            }
        }
        // The box finds itself, and both by the document's names.
        for name in ["db-1", "web-1", "mysql-master"] {
            proptest::prop_assert!(look_up(&after, name).is_some());
        }
    }
}

#[test]
fn one_line_may_have_several_who_ask() {
    let mut other = alias("mysql-master", "10.77.0.31");
    other.origin = Pointer("/signed/products/video/database/aliases/master/0".into());
    let view = View {
        hosts: vec![alias("mysql-master", "10.77.0.31"), other],
        ..view()
    };
    let desired = Hosts.desired(&view, &platform(), &HostsFacts::default());
    let entry = &desired.steps[0].wants[0];
    assert_eq!(
        entry.wish,
        Wish::Block {
            text: "10.77.0.31\tmysql-master\n".into()
        }
    );
    assert_eq!(entry.origins.len(), 2);
}

#[test]
fn nobody_asks_for_names_nothing_is_wanted() {
    assert_eq!(
        Hosts.desired(&view(), &platform(), &HostsFacts::default()),
        Desired::default()
    );
}

#[test]
fn a_line_that_gives_our_name_another_address_is_reported() {
    let text = format!(
        "127.0.0.1 localhost\n{BEGIN}\n10.77.0.31\tdb-1\n{END}\n10.1.1.1 printer\n10.77.0.99 old.example.com DB-1 # was the master\n",
        BEGIN = super::super::BLOCK_BEGIN,
        END = super::super::BLOCK_END,
    );
    assert_snapshot!(warnings(&fleet(), &text).join("\n"), @"line 6 of /etc/hosts says that db-1 is 10.77.0.99, the document says 10.77.0.31: programs may get either. Delete db-1 from that line");
}

#[test]
fn what_agrees_or_leads_to_the_same_machine_is_not_reported() {
    let text = "127.0.0.1 localhost\n127.0.1.1 web-1.example.com web-1\n10.77.0.31 db-1\n#10.1.1.1 db-1\nfe80::1%eth0 gateway\nnonsense db-1\n";
    assert_eq!(warnings(&fleet(), text), [""; 0]);
    // But another server's name on the loopback is wrong.
    let elsewhere = View {
        name: name("web-2"),
        ..fleet()
    };
    assert_eq!(warnings(&elsewhere, text).len(), 1);
}

proptest::proptest! {
    #[test]
    fn what_is_written_reads_back(
        hosts in proptest::collection::vec((proptest::prelude::any::<IpAddr>(), "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"), 1..20)
    ) {
        let hosts: Vec<HostEntry> = hosts.into_iter().map(|(address, name)| server(&name, &address.to_string())).collect();
        let view = View { hosts: hosts.clone(), name: name("nobody"), ..view() };
        let desired = Hosts.desired(&view, &platform(), &HostsFacts::default());
        proptest::prop_assert_eq!(&desired.keep, &[]);
        let Wish::Block { text } = &desired.steps[0].wants[0].wish else { panic!("not a block") };
        let wished: BTreeSet<(IpAddr, String)> = hosts.into_iter().map(|host| (host.address, host.name)).collect();
        proptest::prop_assert_eq!(text.lines().count(), wished.len());
        proptest::prop_assert_eq!(pairs(text), wished);
    }
}

#[tokio::test]
async fn what_others_wrote_is_read_from_the_file() {
    use crate::system::root::Root;
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Root::under(dir.path()).unwrap());
    let observe = async || Hosts.observe(&fleet(), &platform(), &files).await.unwrap();
    assert_eq!(observe().await.outside, [], "no file, no lines");

    let text = block::splice(
        b"127.0.0.1 localhost\n10.1.1.1 db-1 \xfc\n",
        "10.77.0.31\tdb-1\n",
    )
    .unwrap();
    files.write(Path::new(PATH), &text, 0o644).unwrap();
    let lines = observe().await.outside;
    let numbers: Vec<usize> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, [4, 5]);
}
