//! What somebody writes while a run is under way is looked at once more, and never lost.

use super::transactions::{Machine, check, file, step};
use crate::report::{Kind, Outcome, StepName};
use crate::resource::{Phase, Step, Thing, Want, Wish};

const OURS: &str = "10.77.0.31\tmysql-master\n";

fn block(path: &str, staged: &str) -> Step {
    let mut step = Step::new(Kind::Hosts, StepName("hosts".into()));
    step.wants = vec![Want {
        thing: Thing::Path(path.into()),
        wish: Wish::Block { text: OURS.into() },
        phase: Phase::Commit,
        shown_as: None,
        origins: Vec::new(),
    }];
    step.check = Some(check(staged, "true"));
    step
}

#[tokio::test]
async fn lines_that_others_write_beside_the_block_in_that_moment_stay() {
    let mut machine = Machine::new();
    machine.node.write("/etc/hosts", "127.0.0.1 localhost\n");
    let hosts = machine.node.path("/etc/hosts").display().to_string();
    let step = block(
        "/etc/hosts",
        &format!("echo '192.0.2.7 printer' >> {hosts}"),
    );
    let rows = machine.apply(vec![step]).await;
    assert_eq!(rows[0].outcome, Outcome::Changed);
    let text = machine.node.read("/etc/hosts");
    assert!(
        text.contains(OURS) && text.ends_with("127.0.0.1 localhost\n192.0.2.7 printer\n"),
        "{text}"
    );
}

#[tokio::test]
async fn putting_back_does_not_take_those_lines_away() {
    let mut machine = Machine::new();
    machine.node.write("/etc/hosts", "127.0.0.1 localhost\n");
    let hosts = machine.node.path("/etc/hosts").display().to_string();
    let mut step = block(
        "/etc/hosts",
        &format!("echo '192.0.2.7 printer' >> {hosts}"),
    );
    machine.node.write("/refuse", "");
    step.activate = super::transactions::step("x").activate;
    machine.apply(vec![step]).await;
    assert_eq!(
        machine.node.read("/etc/hosts"),
        "127.0.0.1 localhost\n192.0.2.7 printer\n"
    );
}

#[tokio::test]
async fn a_file_that_somebody_writes_in_that_moment_is_kept_as_a_copy() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    let list = machine.node.path("/etc/list").display().to_string();
    let mut wanted = step("one");
    wanted.wants = vec![file("/etc/list", "ours", Phase::Commit)];
    wanted.check = Some(check(
        &format!("mkdir -p {list}.d; echo theirs > {list}"),
        "true",
    ));
    let rows = machine.apply(vec![wanted]).await;
    assert_eq!(rows[0].outcome, Outcome::Changed);
    assert_eq!(machine.node.read("/etc/list"), "ours");
    let copy = rows[0].changes[0].backup.as_ref().unwrap();
    assert_eq!(machine.node.read(copy.to_str().unwrap()), "theirs\n");
    assert!(
        rows[0]
            .notes
            .iter()
            .any(|note| note.contains("by somebody else")),
        "{rows:?}"
    );
}

#[tokio::test]
async fn a_hosts_file_in_another_encoding_follows_all_the_same() {
    let mut machine = Machine::new();
    let latin = b"# der Drucker im B\xfcro\n192.0.2.7 printer\n".as_slice();
    let files = machine.node.converger.files.clone();
    let hosts = std::path::Path::new("/etc/hosts");
    files.write(hosts, latin, 0o644).unwrap();
    let rows = machine.apply(vec![block("/etc/hosts", "true")]).await;
    assert_eq!(rows[0].outcome, Outcome::Changed, "{rows:?}");
    let bytes = std::fs::read(machine.node.path("/etc/hosts")).unwrap();
    assert!(bytes.ends_with(latin) && bytes.starts_with(b"# BEGIN node-agent"));
    assert!(
        machine
            .apply(vec![block("/etc/hosts", "true")])
            .await
            .is_empty()
    );
    machine.apply(vec![]).await;
    assert_eq!(
        std::fs::read(machine.node.path("/etc/hosts")).unwrap(),
        latin
    );
}

#[tokio::test]
async fn a_write_that_never_happened_is_no_failed_putting_back() {
    let mut machine = Machine::new();
    machine.node.write("/etc/hosts", "127.0.0.1 localhost\n");
    let hosts = machine.node.path("/etc/hosts");
    let immutable = |on: bool| {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let file = std::fs::File::open(&hosts).unwrap();
        let mut flags = ioctl_getflags(&file).unwrap();
        flags.set(IFlags::IMMUTABLE, on);
        ioctl_setflags(&file, flags).unwrap();
    };
    immutable(true);
    let rows = machine.apply(vec![block("/etc/hosts", "true")]).await;
    immutable(false);
    assert_eq!(rows[0].outcome, Outcome::Failed, "{rows:?}");
    let said = rows[0].error.as_ref().unwrap();
    assert!(
        said.contains("chattr -i /etc/hosts") && !said.contains("putting back"),
        "{said}"
    );
    let rows = machine.apply(vec![block("/etc/hosts", "true")]).await;
    assert_eq!(rows[0].outcome, Outcome::Changed);
}
