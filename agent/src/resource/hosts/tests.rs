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
        let view = View { hosts: hosts.clone(), ..view() };
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
