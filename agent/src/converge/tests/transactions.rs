//! One step at a time on a "machine" whose commands are scripts of the test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Box;
use crate::converge::apply::Applier;
use crate::converge::fast_part::OnDisk;
use crate::converge::ledger::Ledger;
use crate::converge::pending::{Pending, Stage};
use crate::converge::plan;
use crate::converge::quarantine::Quarantine;
use crate::converge::situation::{Seen, Sight, Situation};
use crate::report::{Cause, DocumentId, Kind, Outcome, StepName, StepRecord};
use crate::resource::{
    Activation, Check, Desired, Phase, Probe, Question, Step, Text, Thing, Verb, Want, Wave, Wish,
};
use crate::system::clock;
use crate::system::command::CommandLine;
use crate::system::file::Files;
use crate::system::package_manager::{PackageState, Patience};
use crate::system::platform::Family;
use crate::system::root::Root;
use crate::system::systemd::UnitState;

/// A machine whose `systemctl` appends its arguments to a log and answers from files.
pub(super) struct Machine {
    pub(super) node: Box,
    pub(super) ledger: Ledger,
    pub(super) pending: Pending,
    pub(super) quarantine: Quarantine,
    pub(super) units: BTreeMap<String, UnitState>,
    /// What the last good document wants, where there is one.
    pub(super) good: Option<Vec<Step>>,
    pub(super) booting: bool,
    /// systemd does not say how units are.
    pub(super) silent_systemd: bool,
}

impl Machine {
    pub(super) fn new() -> Self {
        let mut node = Box::new();
        node.converger.files = Files::new(Root::machine_at(node.dir.path()));
        let dir = node.dir.path().display().to_string();
        node.write(
            "/bin/systemctl",
            &format!(
                "#!/bin/sh\nif [ \"$1\" = show ]; then printf 'Id=httpd.service\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'; exit 0; fi\n\
                 echo \"$*\" >> {dir}/calls\nif [ -e {dir}/refuse ]; then echo 'Job failed' >&2; exit 1; fi\n"
            ),
        );
        let script = node.path("/bin/systemctl");
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        node.converger.platform.systemctl = script;
        Self {
            node,
            ledger: Ledger::default(),
            pending: Pending::default(),
            quarantine: Quarantine::empty("d"),
            units: BTreeMap::new(),
            good: None,
            booting: false,
            silent_systemd: false,
        }
    }

    /// The systemctl calls since the last time this was asked.
    pub(super) fn calls(&self) -> Vec<String> {
        let path = self.node.path("/calls");
        let calls = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        calls.lines().map(str::to_owned).collect()
    }

    /// As after a crash between the switch and the proof: what was under way is on disk, and nothing else.
    pub(super) fn killed_before_it_was_proven(&mut self) {
        self.pending = Pending::load(&self.node.converger.files).unwrap();
        assert!(!self.pending.steps.is_empty());
        for step in self.pending.steps.values_mut() {
            step.stage = Stage::Begun;
        }
    }

    pub(super) fn stages(&self) -> Vec<Stage> {
        self.pending.steps.values().map(|step| step.stage).collect()
    }

    pub(super) async fn apply(&mut self, steps: Vec<Step>) -> Vec<StepRecord> {
        let files = self.node.converger.files.clone();
        let ledger = self.pending.merged_into(self.ledger.clone());
        let wanted = steps
            .iter()
            .chain(self.good.iter().flatten())
            .flat_map(|step| step.wants.iter().map(|want| want.thing.clone()));
        let sight: Sight = wanted
            .chain(ledger.things.keys().cloned())
            .map(|thing| {
                let seen = match &thing {
                    Thing::Path(path) => Seen::Path(files.read(path).unwrap()),
                    Thing::Unit(_) if self.silent_systemd => {
                        return (thing, Err("systemd does not say which units run".into()));
                    }
                    Thing::Group(_) | Thing::User(_) => Seen::Account(std::sync::Arc::default()),
                    Thing::Unit(unit) => {
                        Seen::Unit(self.units.get(unit).copied().unwrap_or_default())
                    }
                    Thing::Package(_) => Seen::Package(PackageState::Absent),
                    Thing::Release(_) => Seen::Release(false),
                };
                (thing, Ok(seen))
            })
            .collect();
        let document = DocumentId {
            fleet: "heavy".parse().unwrap(),
            version: 1,
            digest: "d".into(),
        };
        let fallback = self.good.clone().map(|steps| Desired {
            steps,
            ..Desired::default()
        });
        let plan = plan::plan(&Situation {
            document: document.clone(),
            desired: &Desired {
                steps,
                ..Desired::default()
            },
            fallback: fallback.as_ref(),
            ledger: &ledger,
            pending: &self.pending,
            quarantine: &self.quarantine,
            sight: &sight,
            family: Family::Centos,
            guard: None,
            sweeping: None,
        });
        let said = RefCell::new(Vec::new());
        let progress = |what: &str, _: Duration| said.borrow_mut().push(what.to_owned());
        let mut applier = Applier {
            files: &files,
            platform: &self.node.converger.platform,
            packages: Patience::default(),
            document,
            run: 1,
            started: clock::now(),
            booting: self.booting,
            sweeps: true,
            fast: OnDisk::default(),
            overtaken: false,
            untrue: [].into(),
            progress: &progress,
            ledger,
            pending: self.pending.clone(),
            quarantine: self.quarantine.clone(),
        };
        let mut rows = applier.remove(&plan).await;
        for wave in Wave::ALL {
            rows.extend(applier.wave(wave, &plan).await);
        }
        rows.extend(Applier::left(&plan));
        applier.settle_all(&plan);
        let Applier {
            ledger,
            pending,
            quarantine,
            ..
        } = applier;
        (self.ledger, self.pending, self.quarantine) = (ledger, pending, quarantine);
        rows
    }
}

pub(super) fn file(path: &str, text: &str, phase: Phase) -> Want {
    Want {
        thing: Thing::Path(path.into()),
        wish: Wish::File {
            text: Text::plain(text.into()),
            mode: 0o644,
        },
        phase,
        shown_as: None,
        origins: Vec::new(),
    }
}

pub(super) fn step(text: &str) -> Step {
    let mut step = Step::new(Kind::Sites, StepName("sites".into()));
    step.wants = vec![
        Want {
            shown_as: Some("/srv/current/site.conf".into()),
            ..file(&format!("/srv/{text}/site.conf"), text, Phase::Prepare)
        },
        Want {
            thing: Thing::Path("/srv/current".into()),
            wish: Wish::Link {
                target: text.into(),
            },
            phase: Phase::Commit,
            shown_as: None,
            origins: Vec::new(),
        },
    ];
    step.activate = vec![Activation {
        unit: "httpd.service".into(),
        verb: Verb::ReloadOrStart,
        log: None,
    }];
    step
}

pub(super) fn check(staged: &str, present: &str) -> Check {
    let line = |script: &str| CommandLine::new(["/bin/sh", "-c", script], Duration::from_secs(5));
    Check {
        staged: line(staged),
        present: line(present),
    }
}

pub(super) fn served(machine: &Machine) -> String {
    machine.node.read("/srv/current/site.conf")
}

#[tokio::test]
async fn a_generation_is_switched_and_the_old_one_is_removed() {
    let mut machine = Machine::new();
    assert_eq!(
        machine.apply(vec![step("one")]).await[0].outcome,
        Outcome::Changed
    );
    assert_eq!(machine.calls(), ["reload -- httpd.service"]);
    let rows = machine.apply(vec![step("two")]).await;
    assert_eq!(rows[0].outcome, Outcome::Changed);
    // For people it is one file that changed, and the link.
    assert_eq!(rows[0].changes.len(), 2, "{rows:?}");
    assert!(rows[0].changes[0].diff.contains("-one") && rows[0].changes[0].diff.contains("+two"));
    assert_eq!(served(&machine), "two");
    assert!(!machine.node.path("/srv/one").exists());
    assert!(
        machine
            .pending
            .steps
            .values()
            .all(|step| step.stage == Stage::Proven)
    );
    assert_eq!(machine.apply(vec![step("two")]).await, vec![]);
}

#[tokio::test]
async fn what_the_check_refuses_is_never_switched_and_not_tried_again() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    machine.calls();
    let bad = Step {
        check: Some(check("echo 'Syntax error on line 3' >&2; exit 1", "true")),
        ..step("bad")
    };
    let rows = machine.apply(vec![bad.clone()]).await;
    assert_eq!(rows[0].outcome, Outcome::Failed);
    assert!(
        rows[0]
            .error
            .as_ref()
            .unwrap()
            .contains("Syntax error on line 3")
    );
    assert_eq!(
        (served(&machine).as_str(), machine.calls().len()),
        ("one", 0)
    );
    assert!(!machine.node.path("/srv/bad").exists());
    let rows = machine.apply(vec![bad]).await;
    assert_eq!(rows[0].outcome, Outcome::Quarantined);
    assert_eq!(
        (served(&machine).as_str(), machine.calls().len()),
        ("one", 0)
    );
}

#[tokio::test]
async fn a_configuration_that_was_broken_before_is_not_the_documents_fault() {
    let mut machine = Machine::new();
    let step = Step {
        check: Some(check("exit 1", "echo 'broken by hand' >&2; exit 1")),
        ..step("one")
    };
    let rows = machine.apply(vec![step]).await;
    assert_eq!(rows[0].outcome, Outcome::Failed);
    assert!(rows[0].error.as_ref().unwrap().contains("broken by hand"));
    assert!(machine.quarantine.steps.is_empty());
}

#[tokio::test]
async fn a_failed_reload_puts_everything_back() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    machine.calls();
    machine.node.write("/refuse", "");
    let rows = machine.apply(vec![step("two")]).await;
    // systemctl refuses the second reload too, so that a person must look.
    assert_eq!(rows[0].outcome, Outcome::Broken);
    assert_eq!(served(&machine), "one");
    assert_eq!(
        machine.calls(),
        ["reload -- httpd.service", "reload -- httpd.service"]
    );
    assert!(
        machine
            .quarantine
            .steps
            .contains_key(&StepName("sites".into()))
    );
    assert!(!machine.node.path("/srv/two").exists());
}

#[tokio::test]
async fn a_probe_without_the_expected_answer_puts_everything_back() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    machine.calls();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let probe = Probe {
        member: None,
        question: Question::Memcached {
            address: "127.0.0.1".parse().unwrap(),
            port,
        },
        refusal: None,
    };
    let rows = machine
        .apply(vec![Step {
            probes: vec![probe],
            ..step("two")
        }])
        .await;
    assert_eq!(rows[0].outcome, Outcome::PutBack);
    assert!(
        rows[0]
            .error
            .as_ref()
            .unwrap()
            .contains("memcached at 127.0.0.1")
    );
    assert_eq!(served(&machine), "one");
    assert_eq!(machine.calls().len(), 2);
}

#[tokio::test]
async fn an_interrupted_activation_is_made_good_though_the_files_are_equal() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    let before = machine.ledger.clone();
    machine.calls();
    machine.apply(vec![step("two")]).await;
    machine.calls();
    // As after a crash between the switch and the reload: the disk is new, ledger and memory are old.
    let files = machine.node.converger.files.clone();
    machine.ledger = before.clone();
    machine.pending = Pending::load(&files).unwrap();
    assert_eq!(machine.stages(), [Stage::Proven]);
    assert_eq!(
        machine.apply(vec![step("two")]).await,
        vec![],
        "shown to work before it was killed"
    );
    machine.ledger = before;
    machine.killed_before_it_was_proven();
    let rows = machine.apply(vec![step("two")]).await;
    assert_eq!(
        (rows[0].cause, rows[0].outcome),
        (Cause::Pending, Outcome::Changed)
    );
    assert_eq!(machine.calls(), ["reload -- httpd.service"]);
    assert!(
        machine
            .pending
            .steps
            .values()
            .all(|step| step.stage == Stage::Proven)
    );
}

#[tokio::test]
async fn an_interrupted_step_that_does_not_work_is_put_back_to_what_was_before_the_crash() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    let before = machine.ledger.clone();
    let two = |text: &str| Step {
        wants: vec![file("/etc/list", text, Phase::Commit)],
        ..step("one")
    };
    machine.apply(vec![two("old")]).await;
    let old = machine.ledger.clone();
    machine.apply(vec![two("new")]).await;
    drop(before);
    machine.ledger = old;
    machine.killed_before_it_was_proven();
    machine.node.write("/refuse", "");
    let rows = machine.apply(vec![two("new")]).await;
    assert!(matches!(
        rows[0].outcome,
        Outcome::Broken | Outcome::PutBack
    ));
    assert_eq!(machine.node.read("/etc/list"), "old");
}

#[tokio::test]
async fn an_interrupted_step_waits_until_somebody_has_mended_the_box() {
    let mut machine = Machine::new();
    machine.apply(vec![step("one")]).await;
    let before = machine.ledger.clone();
    machine.apply(vec![step("two")]).await;
    machine.calls();
    machine.ledger = before;
    machine.killed_before_it_was_proven();
    let broken = Step {
        check: Some(check("exit 1", "echo 'broken by hand' >&2; exit 1")),
        ..step("two")
    };
    let rows = machine.apply(vec![broken]).await;
    assert_eq!(rows[0].outcome, Outcome::Failed);
    assert_eq!(
        (served(&machine).as_str(), machine.calls().len()),
        ("two", 0)
    );
    assert!(machine.quarantine.steps.is_empty());
    let rows = machine.apply(vec![step("two")]).await;
    assert_eq!(
        (rows[0].cause, rows[0].outcome),
        (Cause::Pending, Outcome::Changed)
    );
    assert_eq!(machine.calls(), ["reload -- httpd.service"]);
}

pub(super) const UNIT: &str = "agentd-memcached@shop.service";

pub(super) fn instance(text: &str) -> Step {
    let env = "/etc/agentd/memcached/shop.env";
    let mut step = Step::new(Kind::Cache, StepName("cache/shop/instance".into()));
    step.wants = vec![
        file(env, text, Phase::Commit),
        Want {
            thing: Thing::Unit(UNIT.into()),
            wish: Wish::Running {
                reads: vec![env.into()],
            },
            phase: Phase::Activate,
            shown_as: None,
            origins: Vec::new(),
        },
    ];
    step
}

#[tokio::test]
async fn units_are_started_restarted_and_stopped() {
    let mut machine = Machine::new();
    let unit = UNIT;
    let rows = machine.apply(vec![instance("a")]).await;
    assert_eq!(rows[0].outcome, Outcome::Failed);
    assert!(rows[0].error.as_ref().unwrap().contains("daemon-reload"));
    machine.units.insert(
        unit.into(),
        UnitState {
            loaded: true,
            ..UnitState::default()
        },
    );
    machine.apply(vec![instance("a")]).await;
    assert_eq!(
        machine.calls(),
        [format!("enable -- {unit}"), format!("start -- {unit}")]
    );
    machine.units.insert(
        unit.into(),
        UnitState {
            loaded: true,
            active: true,
            enabled: true,
            ..UnitState::default()
        },
    );
    machine.apply(vec![instance("b")]).await;
    assert_eq!(machine.calls(), [format!("restart -- {unit}")]);
    machine.apply(vec![]).await;
    assert_eq!(
        machine.calls(),
        [format!("disable -- {unit}"), format!("stop -- {unit}")]
    );
    assert!(
        machine.ledger.units().count() == 0
            && !machine.node.path("/etc/agentd/memcached/shop.env").exists()
    );
}

#[tokio::test]
async fn a_service_that_starts_after_the_agent_is_left_pending_while_the_machine_boots() {
    let machine = Machine::new();
    let script = machine
        .node
        .read("/bin/systemctl")
        .replace("ActiveState=active", "ActiveState=inactive");
    machine.node.write("/bin/systemctl", &script);
    let platform = &machine.node.converger.platform;
    let activation = Activation {
        unit: "httpd.service".into(),
        verb: Verb::ReloadOrStart,
        log: None,
    };
    let done = crate::converge::apply::activation(platform, &activation, true).await;
    assert!(matches!(
        done,
        Ok(crate::converge::apply::Done::Deferred(_))
    ));
    assert_eq!(machine.calls(), Vec::<String>::new());
}
