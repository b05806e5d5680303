//! Promise: services run, start at boot, or do neither, as the document says: whatever their units are, and after whatever
//! somebody did to them. One that does not work holds up no other.

#![cfg(test)]

use std::cell::Cell;
use std::time::Duration;

use node_agent_tests::machine::watch::{Story, see};
use node_agent_tests::machine::{Fleet, Image, Machine, MachineSpec};
use serde_json::{Value, json};

/// Longer than any run takes here.
const LONG: Duration = Duration::from_mins(2);

struct Box {
    machine: Machine,
    version: Cell<u64>,
    _fleet: Fleet,
}

impl Box {
    fn new(image: Image, change: impl FnOnce(MachineSpec) -> MachineSpec) -> Self {
        let fleet = Fleet::new().unwrap();
        let config = "fleet = \"file:///srv/bucket\"\ntrust = \"none\"\npoll = \"1h\"\n";
        let spec = MachineSpec::new("web-1", image, "10.77.0.11");
        let spec = change(spec.agent(config).unwrap()).file("/srv/bucket/.keep", "");
        let machine = fleet.boot(spec).unwrap();
        Self {
            machine,
            version: Cell::new(0),
            _fleet: fleet,
        }
    }

    fn apply(&self) -> (Option<i32>, String) {
        let output = self
            .machine
            .run_with(&["agentctl", "apply"], b"", LONG)
            .unwrap();
        (output.code, output.stdout + &output.stderr)
    }

    /// The next version, with these services, is applied.
    fn wants(&self, services: &Value) -> (Option<i32>, String) {
        self.version.set(self.version.get() + 1);
        let document = json!({"signatures": [], "signed": {
            "format": 1, "fleet": "test", "version": self.version.get(),
            "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
            "servers": {"web-1": {"address": "10.77.0.11", "roles": ["web"]}},
            "roles": {"web": {"services": services}},
        }});
        let path = "/srv/bucket/fleet.json";
        self.machine
            .write(path, document.to_string().as_bytes())
            .unwrap();
        self.apply()
    }

    fn file_state(&self, unit: &str) -> String {
        self.machine.property(unit, "UnitFileState").unwrap()
    }
}

/// Units of every kind: one that runs, one that ends at once, one that is started again and again, a static one, a template.
fn units(spec: MachineSpec) -> MachineSpec {
    let unit = |body: &str, install: &str| format!("[Service]\n{body}\n{install}");
    let wanted = "[Install]\nWantedBy=multi-user.target\n";
    spec.file(
        "/usr/lib/systemd/system/good.service",
        unit(
            "ExecStart=/bin/sleep infinity",
            "[Install]\nWantedBy=multi-user.target\nAlias=fine.service\n",
        ),
    )
    .file(
        "/usr/lib/systemd/system/ends.service",
        unit("ExecStart=/bin/sh -c 'sleep 0.5; exit 1'", wanted),
    )
    .file(
        "/usr/lib/systemd/system/again.service",
        unit(
            "ExecStart=/bin/false\nRestart=always\nRestartSec=30",
            wanted,
        ),
    )
    .file(
        "/usr/lib/systemd/system/static.service",
        unit("ExecStart=/bin/sleep infinity", ""),
    )
    .file(
        "/usr/lib/systemd/system/many@.service",
        unit("ExecStart=/bin/sleep infinity", wanted),
    )
}

fn services_are_as_the_document_says(image: Image) {
    let node = Box::new(image, units);
    let apache = image.apache_unit();
    let on = json!({"running": true, "enabled": true});
    let (code, said) = node.wants(&json!({
        "httpd": on, "good": on, "static": on, "many@one": on, "crond": {"enabled": false},
        "nowhere": {"running": false, "enabled": false},
    }));
    assert_eq!(code, Some(2), "{said}\n{}", Story(&node.machine));
    for unit in [apache, "good.service", "static.service", "many@one.service"] {
        assert!(node.machine.is_active(unit), "{unit}: {said}");
    }
    assert_eq!(node.file_state(apache), "enabled");
    assert_eq!(node.file_state("static.service"), "static");
    assert_eq!(node.file_state("many@one.service"), "enabled");
    assert_eq!(node.file_state(image.cron_unit()), "disabled");
    assert!(
        node.machine.is_active(image.cron_unit()),
        "nobody said that it does not run"
    );
    let (code, said) = node.apply();
    assert_eq!(code, Some(0), "{said}");

    // What somebody does to them is repaired; nobody is restarted for it.
    let pid = node.machine.property(apache, "MainPID").unwrap();
    node.machine
        .must(&["systemctl", "disable", "--now", "good.service"])
        .unwrap();
    node.machine
        .must(&["systemctl", "mask", "static.service"])
        .unwrap();
    let (code, said) = node.apply();
    assert_eq!(code, Some(2), "{said}");
    assert!(node.machine.is_active("good.service"), "{said}");
    assert_eq!(node.file_state("good.service"), "enabled");
    assert_eq!(node.file_state("static.service"), "static", "{said}");
    assert_eq!(node.machine.property(apache, "MainPID").unwrap(), pid);

    // By an alias it is the same unit.
    let (code, said) = node.wants(&json!({"fine": {"running": false}, "httpd": on}));
    assert_eq!(code, Some(2), "{said}");
    assert!(!node.machine.is_active("good.service"), "{said}");
    // What leaves the document stays as it is.
    assert!(node.machine.is_active("many@one.service"));
    assert_eq!(node.apply().0, Some(0));

    let (code, said) = node.wants(&json!({"httpd": {"enabled": "masked"}, "good": on}));
    assert_eq!(code, Some(2), "{said}");
    assert!(!node.machine.is_active(apache), "{said}");
    let started = node.machine.run(&["systemctl", "start", apache]).unwrap();
    assert!(!started.success(), "nothing can start it");
    let (code, said) = node.apply();
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = node.wants(&json!({"httpd": on, "good": on}));
    assert_eq!(code, Some(2), "{said}");
    assert!(node.machine.is_active(apache), "{said}");
    let why = node.machine.run(&["agentctl", "why", "good"]).unwrap();
    assert!(
        why.stdout.contains("/signed/roles/web/services/good"),
        "{why:?}"
    );
}

fn one_that_does_not_work_is_told_and_holds_up_no_other(image: Image) {
    let node = Box::new(image, units);
    let on = json!({"running": true, "enabled": true});
    let (code, said) = node.wants(&json!({"ends": on, "again": on, "nowhere": on, "good": on}));
    assert_eq!(code, Some(6), "{said}\n{}", Story(&node.machine));
    assert!(node.machine.is_active("good.service"), "{said}");
    for told in [
        "services/ends: FAILED",
        "ends.service was started and has ended since",
        "services/again: FAILED",
        "services/nowhere: FAILED",
        "does not know the unit nowhere.service",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(
        node.file_state("ends.service"),
        "enabled",
        "what came true stays"
    );
    // It is mended, and the next run has it.
    node.machine
        .write(
            "/usr/lib/systemd/system/ends.service",
            b"[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unwrap();
    node.machine.must(&["systemctl", "daemon-reload"]).unwrap();
    let (_, said) = node.apply();
    assert!(node.machine.is_active("ends.service"), "{said}");
}

fn a_boot_waits_for_none_of_them(image: Image) {
    let node = Box::new(image, |spec| {
        // Like Apache it starts after the agent.
        units(spec).file(
            "/etc/systemd/system/good.service.d/after.conf",
            "[Unit]\nAfter=agentd.service\n",
        )
    });
    let (code, said) = node.wants(&json!({"good": {"running": true}, "httpd": {"running": true}}));
    assert_eq!(code, Some(2), "{said}\n{}", Story(&node.machine));
    let took = node.machine.reboot().unwrap();
    assert!(
        took < Duration::from_secs(15),
        "{took:?}\n{}",
        Story(&node.machine)
    );
    see(&node.machine, "they run again", || {
        node.machine.is_active("good.service") && node.machine.is_active(image.apache_unit())
    });
}

/// Each promise on machines of both layouts.
macro_rules! on_both {
    ($($promise:ident),+ $(,)?) => {
        mod centos {
            $(#[test]
            fn $promise() {
                super::$promise(super::Image::CentosLayout);
            })+
        }

        mod debian {
            $(#[test]
            fn $promise() {
                super::$promise(super::Image::Debian);
            })+
        }
    };
}

on_both!(
    services_are_as_the_document_says,
    one_that_does_not_work_is_told_and_holds_up_no_other,
    a_boot_waits_for_none_of_them,
);
