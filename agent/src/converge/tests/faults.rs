//! Who is to blame when a step does not come true, and what is tried again; what a unit has read; what is outstanding.

use super::transactions::{Machine, UNIT, check, instance, served, step};
use crate::converge::outstanding;
use crate::converge::pending::{Pending, Stage};
use crate::report::{Action, Cause, Outcome, StepName};
use crate::resource::{Member, MemberName, Phase, Probe, Question, Step, Thing, Want};
use crate::system::systemd::UnitState;

const RUNNING: UnitState = UnitState {
    loaded: true,
    active: true,
    enabled: true,
    activating: false,
    restarting: false,
    masked: false,
    fixed: false,
};

async fn running_instance(text: &str) -> Machine {
    let mut machine = Machine::new();
    let stopped = UnitState {
        loaded: true,
        ..UnitState::default()
    };
    machine.units.insert(UNIT.into(), stopped);
    machine.apply(vec![instance(text)]).await;
    machine.units.insert(UNIT.into(), RUNNING);
    machine.calls();
    machine
}

/// As if agentd had died while `systemctl restart` was at work: the file is new, and nobody knows what the unit has read.
fn killed_in_the_restart(machine: &mut Machine) {
    machine.killed_before_it_was_proven();
    for step in machine.pending.steps.values_mut() {
        for undo in &mut step.changes {
            undo.done &= undo.thing.unit().is_none();
        }
    }
}

#[tokio::test]
async fn a_restart_that_a_crash_cut_off_is_made_good() {
    let mut machine = running_instance("64").await;
    let before = machine.ledger.clone();
    machine.apply(vec![instance("128")]).await;
    machine.calls();
    machine.ledger = before;
    killed_in_the_restart(&mut machine);
    let rows = machine.apply(vec![instance("128")]).await;
    assert_eq!(
        (rows[0].cause, rows[0].outcome),
        (Cause::Pending, Outcome::Changed)
    );
    assert_eq!(machine.calls(), [format!("restart -- {UNIT}")]);
    assert_eq!(machine.apply(vec![instance("128")]).await, []);
}

#[tokio::test]
async fn a_restart_after_a_repaired_edit_is_made_good_too() {
    let mut machine = running_instance("64").await;
    machine.node.write("/etc/agentd/memcached/shop.env", "640");
    let before = machine.ledger.clone();
    machine.apply(vec![instance("64")]).await;
    assert_eq!(machine.calls(), [format!("restart -- {UNIT}")]);
    // The ledger says the same as before the edit: only what was under way tells.
    machine.ledger = before;
    killed_in_the_restart(&mut machine);
    machine.apply(vec![instance("64")]).await;
    assert_eq!(machine.calls(), [format!("restart -- {UNIT}")]);
}

#[tokio::test]
async fn what_a_unit_has_read_is_known_without_what_was_under_way() {
    let mut machine = running_instance("64").await;
    let before = machine.ledger.clone();
    machine.apply(vec![instance("128")]).await;
    machine.calls();
    // The record of what was under way is lost with the crash.
    machine.ledger = before;
    machine.pending = Pending::default();
    machine.apply(vec![instance("128")]).await;
    assert_eq!(machine.calls(), [format!("restart -- {UNIT}")]);
}

#[tokio::test]
async fn a_newer_agent_restarts_nothing_of_which_the_older_one_noted_nothing() {
    let mut machine = running_instance("64").await;
    let unit = Thing::Unit(UNIT.into());
    machine.ledger.things.get_mut(&unit).unwrap().digest = String::new();
    assert_eq!(machine.apply(vec![instance("64")]).await, []);
    assert_eq!(machine.calls(), [""; 0]);
    assert_ne!(
        machine.ledger.things[&unit].digest, "",
        "from now on it is noted"
    );
}

#[tokio::test]
async fn a_unit_that_runs_and_is_disabled_is_enabled_and_restarted() {
    let mut machine = running_instance("64").await;
    let disabled = UnitState {
        enabled: false,
        ..RUNNING
    };
    machine.units.insert(UNIT.into(), disabled);
    machine.apply(vec![instance("256")]).await;
    assert_eq!(
        machine.calls(),
        [format!("enable -- {UNIT}"), format!("restart -- {UNIT}")]
    );
    // With nothing new to read it is left running.
    let rows = machine.apply(vec![instance("256")]).await;
    assert_eq!(machine.calls(), [format!("enable -- {UNIT}")]);
    assert_eq!(rows[0].changes[0].action, Action::Enable);
    assert_eq!(rows[0].cause, Cause::Drift);
}

#[tokio::test]
async fn an_instance_that_does_not_work_is_back_with_what_it_had_read() {
    let mut machine = running_instance("64").await;
    let mut broken = instance("128");
    broken.probes = vec![nobody_there()];
    let rows = machine.apply(vec![broken]).await;
    assert_eq!(rows[0].outcome, Outcome::PutBack);
    assert_eq!(
        machine.calls(),
        [format!("restart -- {UNIT}"), format!("restart -- {UNIT}")]
    );
    assert_eq!(machine.node.read("/etc/agentd/memcached/shop.env"), "64");
    assert!(
        machine
            .quarantine
            .steps
            .contains_key(&StepName("cache/shop/instance".into()))
    );
}

#[tokio::test]
async fn a_unit_that_was_not_there_before_is_gone_when_it_does_not_work() {
    let mut machine = Machine::new();
    let stopped = UnitState {
        loaded: true,
        ..UnitState::default()
    };
    machine.units.insert(UNIT.into(), stopped);
    let mut broken = instance("64");
    broken.probes = vec![nobody_there()];
    machine.apply(vec![broken]).await;
    let calls = machine.calls();
    assert_eq!(
        calls[2..],
        [format!("disable -- {UNIT}"), format!("stop -- {UNIT}")],
        "{calls:?}"
    );
    assert!(!machine.node.path("/etc/agentd/memcached/shop.env").exists());
}

#[tokio::test]
async fn systemd_that_does_not_answer_is_the_trouble_of_the_steps_that_need_it() {
    let mut machine = running_instance("64").await;
    machine.silent_systemd = true;
    let rows = machine.apply(vec![instance("128"), step("one")]).await;
    let failed = rows
        .iter()
        .find(|row| row.step.0 == "cache/shop/instance")
        .unwrap();
    assert_eq!(failed.outcome, Outcome::Failed);
    assert!(
        failed
            .error
            .as_ref()
            .unwrap()
            .contains("systemd does not say"),
        "{failed:?}"
    );
    let other = rows.iter().find(|row| row.step.0 == "sites").unwrap();
    assert_eq!(other.outcome, Outcome::Changed);
}

fn nobody_there() -> Probe {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    memcached(port)
}

fn memcached(port: u16) -> Probe {
    Probe {
        member: None,
        question: Question::Memcached {
            address: "127.0.0.1".parse().unwrap(),
            port,
        },
        refusal: None,
    }
}

#[tokio::test]
async fn a_configuration_that_is_mended_between_two_looks_is_not_the_documents_fault() {
    let mut machine = Machine::new();
    // The first look at the staged state finds it broken, and somebody mends it before the present state is looked at.
    let mended = machine.node.path("/mended").display().to_string();
    let staged = format!("[ -e {mended} ] && exit 0; touch {mended}; exit 1");
    let mut raced = step("one");
    raced.check = Some(check(&staged, "true"));
    let rows = machine.apply(vec![raced]).await;
    assert_eq!(rows[0].outcome, Outcome::Changed);
    assert!(machine.quarantine.steps.is_empty());
    assert_eq!(served(&machine), "one");
}

#[tokio::test]
async fn who_gave_nobody_an_answer_before_either_is_not_the_documents_fault() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    // It listens, and all its workers are busy.
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut two = step("two");
    two.probes = vec![memcached(busy.local_addr().unwrap().port())];
    let rows = machine.apply(vec![two]).await;
    assert_eq!(rows[0].outcome, Outcome::Failed);
    assert!(rows[0].notes.iter().any(|note| note.contains("put back")));
    let said = rows[0].error.as_ref().unwrap();
    assert!(
        said.contains("before the change either") && said.contains("tried again"),
        "{said}"
    );
    assert!(machine.quarantine.steps.is_empty());
    assert_eq!(served(&machine), "one");
}

#[tokio::test]
async fn what_failed_of_the_good_document_itself_is_not_tried_again() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    let mut two = step("two");
    two.probes = vec![nobody_there()];
    // It was good until somebody broke something.
    machine.good = Some(vec![two.clone()]);
    let rows = machine.apply(vec![two.clone()]).await;
    assert_eq!(rows[0].outcome, Outcome::PutBack);
    machine.calls();
    for _ in 0..3 {
        let rows = machine.apply(vec![two.clone()]).await;
        let outcomes: Vec<_> = rows.iter().map(|row| row.outcome).collect();
        assert_eq!(outcomes, [Outcome::Quarantined]);
    }
    assert_eq!(machine.calls(), [""; 0]);
    // Where the good document has it otherwise, the box stays on that.
    machine.good = Some(vec![step("one")]);
    machine.node.write("/srv/one/site.conf", "edited");
    let rows = machine.apply(vec![two]).await;
    let outcomes: Vec<_> = rows.iter().map(|row| (row.cause, row.outcome)).collect();
    assert!(
        outcomes.contains(&(Cause::Drift, Outcome::Changed)),
        "{outcomes:?}"
    );
    assert_eq!(served(&machine), "one");
}

/// A step with two virtual hosts.
fn sites(generation: &str, www: &str, shop: &str) -> Step {
    let mut step = step(generation);
    let vhost = |name: &str, text: &str| Want {
        shown_as: Some(format!("/srv/current/{name}").into()),
        ..super::transactions::file(&format!("/srv/{generation}/{name}"), text, Phase::Prepare)
    };
    step.wants
        .splice(..1, [vhost("www.conf", www), vhost("shop.conf", shop)]);
    step.members = ["www", "shop"]
        .map(|name| Member {
            name: MemberName(name.into()),
            file: format!("{name}.conf"),
        })
        .into();
    step
}

fn blamed(machine: &Machine) -> Vec<String> {
    let members = machine.quarantine.members.values();
    members
        .flat_map(|members| members.keys().map(|name| name.0.clone()))
        .collect()
}

#[tokio::test]
async fn a_member_that_the_check_names_is_to_blame_alone() {
    let mut machine = Machine::new();
    machine.apply(vec![sites("one", "a", "a")]).await;
    let mut two = sites("two", "b", "broken");
    two.check = Some(check(
        "echo 'Syntax error on line 3 of /srv/staged/shop.conf:' >&2; exit 1",
        "true",
    ));
    let rows = machine.apply(vec![two]).await;
    assert_eq!(rows[0].outcome, Outcome::Failed);
    assert_eq!(blamed(&machine), ["shop"]);
    assert!(machine.quarantine.steps.is_empty());
}

#[tokio::test]
async fn a_member_whose_probe_fails_is_to_blame_alone_and_all_that_fail_are_known_at_once() {
    let mut machine = Machine::new();
    machine.apply(vec![sites("one", "a", "a")]).await;
    // Somebody else answers there.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        for stream in other.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"ERROR\r\n");
        }
    });
    let mut two = sites("two", "b", "b");
    two.probes = vec![Probe {
        member: Some(MemberName("www".into())),
        ..memcached(port)
    }];
    let rows = machine.apply(vec![two.clone()]).await;
    assert_eq!(rows[0].outcome, Outcome::PutBack);
    assert_eq!(blamed(&machine), ["www"]);
    // Both: then it is the whole step, and nothing is left of it.
    machine.quarantine.members.clear();
    two.probes.push(Probe {
        member: Some(MemberName("shop".into())),
        ..memcached(port)
    });
    machine.apply(vec![two]).await;
    assert_eq!(blamed(&machine), [""; 0]);
    assert!(
        machine
            .quarantine
            .steps
            .contains_key(&StepName("sites".into()))
    );
}

#[tokio::test]
async fn a_member_that_is_as_it_was_is_not_taken_away() {
    let mut machine = Machine::new();
    machine.apply(vec![sites("one", "a", "same")]).await;
    let mut two = sites("two", "b", "same");
    two.check = Some(check("echo '/srv/staged/shop.conf' >&2; exit 1", "true"));
    machine.apply(vec![two]).await;
    assert_eq!(blamed(&machine), [""; 0]);
    assert!(
        machine
            .quarantine
            .steps
            .contains_key(&StepName("sites".into()))
    );
}

#[tokio::test]
async fn a_file_whose_name_only_begins_so_is_not_named() {
    let mut machine = Machine::new();
    machine.apply(vec![sites("one", "a", "a")]).await;
    let mut two = sites("two", "b", "b");
    two.check = Some(check(
        "echo '/srv/staged/my-www.conf /srv/staged/shop.conf.bak' >&2; exit 1",
        "true",
    ));
    machine.apply(vec![two]).await;
    assert_eq!(blamed(&machine), [""; 0]);
}

#[tokio::test]
async fn what_is_left_to_a_machine_that_boots_is_outstanding() {
    let mut machine = Machine::new();
    let script = machine.node.read("/bin/systemctl");
    let script = script.replace("ActiveState=active", "ActiveState=inactive");
    machine.node.write("/bin/systemctl", &script);
    machine.booting = true;
    let rows = machine.apply(vec![step("one")]).await;
    assert_eq!(rows[0].outcome, Outcome::Changed);
    assert_eq!(outstanding(&machine.pending), [StepName("sites".into())]);
    assert_eq!(machine.stages(), [Stage::Begun]);
    assert!(
        machine
            .pending
            .settle(&machine.node.converger.files)
            .unwrap()
    );
    let kept = Pending::load(&machine.node.converger.files).unwrap();
    assert_eq!(outstanding(&kept), [StepName("sites".into())]);
}

#[tokio::test]
async fn a_step_waits_for_those_that_it_needs() {
    let mut machine = Machine::new();
    let mut first = step("one");
    first.check = Some(check("exit 1", "true"));
    let mut second = instance("64");
    second.needs = vec![first.name.clone()];
    second
        .wants
        .retain(|want| matches!(want.thing, Thing::Path(_)));
    let mut rows = machine.apply(vec![first, second.clone()]).await;
    rows.retain(|row| row.step == second.name);
    assert_eq!(rows[0].outcome, Outcome::Failed);
    assert_eq!(
        rows[0].error.as_deref(),
        Some("waits for sites, which is not as the document says")
    );
    machine.quarantine.steps.clear();
    let rows = machine.apply(vec![step("one"), second]).await;
    assert!(
        rows.iter().all(|row| row.outcome == Outcome::Changed),
        "{rows:?}"
    );
}
