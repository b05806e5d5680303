//! Promise: groups and users are as the document says, on real machines with the system's own tools, sshd and sudo: made,
//! changed and locked; never another number, never more of somebody's account than was asked for, never through a link that
//! the user has put in the way.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::watch::see;
use node_agent_tests::machine::{Fleet, Image, Machine, MachineSpec};
use serde_json::{Value, json};

const ADDRESS: &str = "10.77.0.11";
const BUCKET: &str = "/srv/bucket/fleet.json";
const CONFIG: &str =
    "fleet = \"file:///srv/bucket\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"500ms\"\n";
/// Nobody has its other half.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICrIcGmMR0bE1+YqCEmACtjOPDKZxDBQPDFLcSAlzaTZ";
const KEYS: &str = "/home/deploy/.ssh/authorized_keys";
const SUDO: &str = "/etc/sudoers.d/agentd-deploy";

struct Box {
    machine: Machine,
    version: u32,
}

/// What an `agentd --once` came to.
struct Run {
    code: i32,
    said: String,
}

impl Box {
    fn boot(fleet: &Fleet, image: Image) -> Self {
        let spec = MachineSpec::new("web-1", image, ADDRESS)
            .with_agent_installed(CONFIG)
            .unwrap();
        Self {
            machine: fleet.boot(spec).unwrap(),
            version: 0,
        }
    }

    fn publish(&mut self, product: &Value) {
        self.publish_with(product, &json!({}));
    }

    fn publish_with(&mut self, product: &Value, more: &Value) {
        self.version += 1;
        let mut document = json!({"signatures": [], "signed": {
            "format": 1, "fleet": "test", "version": self.version,
            "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
            "servers": {"web-1": {"address": ADDRESS, "roles": ["web"], "products": ["shop"]}},
            "roles": {"web": {}},
            "products": {"shop": product},
        }});
        let signed = document["signed"].as_object_mut().unwrap();
        signed.extend(more.as_object().unwrap().clone());
        self.machine
            .write("/srv/bucket/new.json", document.to_string().as_bytes())
            .unwrap();
        self.sh(&format!("mv /srv/bucket/new.json {BUCKET}"));
    }

    fn sh(&self, script: &str) -> String {
        self.machine.must(&["bash", "-euc", script]).unwrap()
    }

    fn holds(&self, script: &str) -> bool {
        self.machine
            .run(&["bash", "-euc", script])
            .unwrap()
            .success()
    }

    fn once_with(&self, environment: &str) -> Run {
        let script = format!(
            "code=0; env {environment} /usr/sbin/agentd --once >/tmp/said 2>&1 || code=$?; echo $code"
        );
        Run {
            code: self.sh(&script).trim().parse().unwrap(),
            said: self.machine.read("/tmp/said").unwrap(),
        }
    }

    /// One run, which changes something and has nothing to complain of.
    #[track_caller]
    fn changes(&self) -> String {
        let run = self.once_with("");
        assert_eq!(run.code, 2, "{}", run.said);
        self.nothing_to_do();
        run.said
    }

    /// A run that leaves everything as it is.
    #[track_caller]
    fn nothing_to_do(&self) {
        let run = self.once_with("");
        assert_eq!(run.code, 0, "{}", run.said);
    }

    /// One run that cannot do all.
    #[track_caller]
    fn complains(&self, of: &str) -> String {
        let run = self.once_with("");
        assert!(run.said.contains(of), "{of} is not in:\n{}", run.said);
        assert!(!matches!(run.code, 0 | 2), "{}", run.said);
        run.said
    }

    fn passwd(&self, name: &str) -> String {
        self.sh(&format!("getent passwd {name} || true"))
            .trim()
            .to_owned()
    }

    fn groups(&self, name: &str) -> String {
        self.sh(&format!("id -nG {name}")).trim().to_owned()
    }

    /// The fields of `/etc/shadow` that matter: the password, and the day from which on the account is closed.
    fn shadow(&self, name: &str) -> (String, String) {
        let line = self.sh(&format!("getent shadow {name}"));
        let fields: Vec<&str> = line.trim_end().split(':').collect();
        (fields[1].to_owned(), fields[7].to_owned())
    }

    fn nologin(&self) -> &'static str {
        match self.machine.image() {
            Image::Debian => "/usr/sbin/nologin",
            Image::CentosLayout => "/sbin/nologin",
        }
    }
}

/// What the contract's example has of accounts.
fn shop() -> Value {
    json!({
        "groups": {"shop": {"gid": 1510}},
        "users": {
            "shop": {"uid": 1510, "group": "shop", "home": "/srv/shop", "shell": "/sbin/nologin"},
            "deploy": {"uid": 1520, "groups": ["shop"], "shell": "/bin/bash", "comment": "Deployments, of the shop",
                       "keys": [format!("{KEY} deploy")], "sudo": ["ALL=(root) NOPASSWD: /usr/bin/id -u"]},
        },
        "cron": {"tick": {"schedule": "*/5 * * * *", "user": "shop", "command": "true"}},
        "files": {"/etc/shop/app.ini": {"content": "a = b\n", "owner": "shop", "group": "shop", "mode": "0640"}},
    })
}

#[test]
fn accounts_are_made_kept_and_locked() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let mut node = Box::boot(&fleet, image);
        node.publish(&shop());
        let plan = node.machine.run(&["agentctl", "plan"]).unwrap().stdout;
        assert!(plan.contains("create user deploy"), "{plan}");
        assert_eq!(node.passwd("deploy"), "", "a plan changes nothing");

        // All in one run, the job and the file of users that were made in it included.
        let run = node.once_with("");
        assert_eq!(run.code, 2, "{}", run.said);
        assert!(
            node.machine.exists("/etc/cron.d/agentd-shop_tick"),
            "{}",
            run.said
        );
        let owner = node.sh("stat -c '%U %G %a' /etc/shop/app.ini");
        assert_eq!(owner.trim(), "shop shop 640");
        node.nothing_to_do();
        assert_eq!(
            node.passwd("shop"),
            "shop:x:1510:1510::/srv/shop:/sbin/nologin"
        );
        assert_eq!(
            node.passwd("deploy"),
            "deploy:x:1520:1520:Deployments, of the shop:/home/deploy:/bin/bash"
        );
        assert_eq!(node.groups("deploy"), "deploy shop");
        assert_eq!(node.shadow("deploy"), ("*".into(), String::new()));
        assert_eq!(
            node.sh("stat -c '%U %G %a' /srv/shop").trim(),
            "shop shop 755"
        );
        assert!(
            node.machine.exists("/home/deploy/.bashrc"),
            "what people's homes have"
        );
        assert!(!node.machine.exists("/srv/shop/.bashrc"));
        assert_eq!(
            node.sh(&format!(
                "stat -c '%U %G %a' /home/deploy/.ssh {KEYS} {SUDO}"
            )),
            "deploy deploy 700\ndeploy deploy 600\nroot root 440\n"
        );
        // sudo itself agrees.
        assert_eq!(
            node.sh("runuser -u deploy -- sudo -n /usr/bin/id -u")
                .trim(),
            "0"
        );
        assert!(!node.holds("runuser -u deploy -- sudo -n /bin/ls"));

        // Who asks for it.
        let why = node.sh("agentctl why deploy");
        assert!(why.contains("/signed/products/shop/users/deploy"), "{why}");
        assert!(why.contains("shell: /bin/bash"), "{why}");
        let why = node.sh("agentctl why group:shop");
        assert!(
            why.contains("group shop: the agent's (group/shop)"),
            "{why}"
        );
        let why = node.sh(&format!("agentctl why {KEYS}"));
        assert!(
            why.contains("/signed/products/shop/users/deploy/keys/0"),
            "{why}"
        );

        a_run_with_nothing_to_do_starts_no_command(&node);
        changes_are_told_with_the_old_values(&mut node);
        who_is_gone_is_locked(&mut node);
        who_is_removed_is_deleted(&mut node);
    }
}

fn a_run_with_nothing_to_do_starts_no_command(node: &Box) {
    let tools = "useradd usermod userdel groupadd groupdel visudo";
    node.sh(&format!(
        "cd /usr/sbin; for tool in {tools}; do mv $tool $tool.real; printf '#!/bin/sh\\necho %s >>/tmp/called\\n' $tool >$tool; chmod 755 $tool; done"
    ));
    node.nothing_to_do();
    assert!(
        !node.machine.exists("/tmp/called"),
        "{}",
        node.sh("cat /tmp/called")
    );
    node.sh(&format!(
        "cd /usr/sbin; for tool in {tools}; do mv $tool.real $tool; done"
    ));
}

fn changes_are_told_with_the_old_values(node: &mut Box) {
    let mut changed = shop();
    changed["users"]["deploy"]["shell"] = json!("/bin/sh");
    changed["users"]["deploy"]["groups"] = json!(["users"]);
    node.publish(&changed);
    let plan = node.machine.run(&["agentctl", "plan"]).unwrap().stdout;
    for line in [
        "-shell: /bin/bash",
        "+shell: /bin/sh",
        "-groups: shop",
        "+groups: users",
    ] {
        assert!(plan.contains(line), "{line} is not in {plan}");
    }
    node.changes();
    // Of the groups that the document had it in it is in none any more that it does not name.
    assert_eq!(node.groups("deploy"), "deploy users");
    // Others' are others' business, unless the document says that there are none.
    node.sh("usermod --append --groups adm deploy");
    node.nothing_to_do();
    changed["users"]["deploy"]["exclusive"] = json!(true);
    node.publish(&changed);
    node.changes();
    assert_eq!(node.groups("deploy"), "deploy users");
    node.publish(&shop());
    node.changes();
}

fn who_is_gone_is_locked(node: &mut Box) {
    let mut gone = shop();
    gone["users"].as_object_mut().unwrap().remove("deploy");
    node.publish(&gone);
    let plan = node.machine.run(&["agentctl", "plan"]).unwrap().stdout;
    assert!(plan.contains("lock user deploy"), "{plan}");
    node.changes();
    let nologin = node.nologin();
    assert!(
        node.passwd("deploy")
            .ends_with(&format!(":/home/deploy:{nologin}"))
    );
    assert_eq!(node.shadow("deploy"), ("!*".into(), "1".into()));
    assert!(!node.machine.exists(KEYS) && !node.machine.exists(SUDO));
    assert!(
        node.machine.exists("/home/deploy/.bashrc"),
        "its files stay"
    );
    // Its group stays as long as it is in it, and that is told.
    let status = node.once_with("").said;
    assert!(node.holds("getent group deploy"), "{status}");
    let plan = node.machine.run(&["agentctl", "plan"]).unwrap().stdout;
    assert!(
        plan.contains("the group deploy is not in the document any more, and stays as long as somebody is in it: deploy"),
        "{plan}"
    );
    node.publish(&shop());
    node.changes();
    assert_eq!(node.shadow("deploy"), ("*".into(), String::new()));
    assert!(node.passwd("deploy").ends_with("/bin/bash"));
    assert!(node.machine.exists(KEYS) && node.machine.exists(SUDO));
}

fn who_is_removed_is_deleted(node: &mut Box) {
    let mut removed = shop();
    // Another number may be another person.
    removed["users"]["deploy"] = json!({"uid": 1521, "remove": true});
    node.publish(&removed);
    node.complains("it may be another one, and stays");
    assert!(node.passwd("deploy").starts_with("deploy:"));
    removed["users"]["deploy"]["uid"] = json!(1520);
    node.publish(&removed);
    let run = node.once_with("");
    assert_eq!(run.code, 2, "{}", run.said);
    assert_eq!(node.passwd("deploy"), "");
    assert!(
        node.machine.exists("/home/deploy/.bashrc"),
        "its files stay"
    );
    assert!(!node.machine.exists(KEYS));
    // The group goes with the last who was in it.
    assert!(!node.holds("getent group deploy"));
    // A group goes, too, in the next run at the latest.
    node.once_with("");
    node.nothing_to_do();
}

#[test]
fn what_others_made_is_adopted_and_numbers_never_change() {
    let fleet = Fleet::new().unwrap();
    let mut node = Box::boot(&fleet, Image::CentosLayout);
    node.sh("groupadd --gid 1510 shop; useradd --uid 1520 --create-home --shell /bin/sh --comment Jane deploy
             useradd --uid 1600 squatter");
    node.publish(&json!({
        "groups": {"shop": {"gid": 1510}},
        "users": {"deploy": {"uid": 1520, "groups": ["shop"], "shell": "/bin/bash"}},
    }));
    node.changes();
    assert_eq!(
        node.passwd("deploy"),
        "deploy:x:1520:1520:Jane:/home/deploy:/bin/bash"
    );
    let why = node.sh("agentctl why deploy");
    assert!(why.contains("somebody else made it"), "{why}");

    // Other numbers: told with what to do, and nothing is changed.
    let before = node.sh("cat /etc/passwd /etc/group /etc/shadow");
    node.publish(&json!({
        "groups": {"shop": {"gid": 1511}, "late": {"gid": 1510}},
        "users": {
            "deploy": {"uid": 1521, "shell": "/bin/bash"},
            "other": {"uid": 1600},
            "fine": {"uid": 1700},
        },
    }));
    let said =
        node.complains("the user deploy is there with the uid 1520, and the document says 1521");
    for words in [
        "the group shop is there with the gid 1510, and the document says 1511",
        "the gid 1510 of the group late is the group shop's here already",
        "the uid 1600 of the user other is the user squatter's here already",
    ] {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
    assert!(
        node.passwd("fine").starts_with("fine:x:1700:"),
        "the others are made"
    );
    node.sh("userdel fine; groupdel fine 2>/dev/null || true; true");
    let after = node.sh("cat /etc/passwd /etc/group /etc/shadow");
    let others = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("other:"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(others(&after), others(&before));

    // Gone from the document: it is not the agent's to lock.
    node.publish_with(
        &json!({"users": {"fine": {"uid": 1700}}}),
        &json!({"confirm": true}),
    );
    let run = node.once_with("");
    assert_eq!(run.code, 2, "{}", run.said);
    assert!(run.said.contains("nothing was taken away"), "{}", run.said);
    assert!(node.passwd("deploy").ends_with("/bin/bash"));
    assert_eq!(node.shadow("deploy").1, "");
    assert!(node.holds("getent group shop"));
}

#[test]
fn a_rule_that_sudo_refuses_never_gets_there() {
    let fleet = Fleet::new().unwrap();
    let mut node = Box::boot(&fleet, Image::Debian);
    let mut wrong = shop();
    wrong["users"]["deploy"]["sudo"] = json!(["ALL=(root NOPASSWD /usr/bin/id"]);
    node.publish(&wrong);
    let said = node.complains("refused what /etc/sudoers.d/agentd-deploy would be");
    assert!(said.contains("/etc/sudoers.d/agentd-deploy:2"), "{said}");
    assert!(!node.machine.exists(SUDO));
    assert_eq!(node.sh("ls -A /etc/sudoers.d").trim(), "README");
    assert!(
        node.machine.exists(KEYS),
        "the account and its keys are there"
    );
    node.sh("visudo -c");
    node.publish(&shop());
    node.changes();
    assert!(node.machine.exists(SUDO));
}

#[test]
fn no_link_that_a_user_plants_is_followed() {
    let fleet = Fleet::new().unwrap();
    let mut node = Box::boot(&fleet, Image::Debian);
    let mut plain = shop();
    plain["users"]["deploy"]
        .as_object_mut()
        .unwrap()
        .remove("keys");
    node.publish(&plain);
    node.changes();
    let state =
        "find /etc /root /srv -xdev ! -path '/srv/bucket*' -printf '%p %i %s %C@ %U %m\\n' | sort";
    let as_deploy =
        |node: &Box, script: &str| node.sh(&format!("runuser -u deploy -- bash -euc '{script}'"));
    for (plant, refusal) in [
        (
            "ln -s /etc ~/.ssh",
            "refusing to follow the symlink /home/deploy/.ssh",
        ),
        (
            "ln -s /root ~/.ssh",
            "refusing to follow the symlink /home/deploy/.ssh",
        ),
        (
            "mkdir ~/.ssh; ln -s /etc/shadow ~/.ssh/authorized_keys",
            "authorized_keys is a symlink to /etc/shadow",
        ),
        (
            "mkdir -p ~/.ssh/authorized_keys",
            "authorized_keys is a directory",
        ),
        (
            "mkdir ~/.ssh; mkfifo ~/.ssh/authorized_keys",
            "authorized_keys is a device, socket or pipe",
        ),
        ("echo x > ~/.ssh", "/home/deploy/.ssh"),
    ] {
        as_deploy(&node, &format!("rm -rf ~/.ssh; {plant}"));
        let before = node.sh(state);
        node.publish(&shop());
        let run = node.once_with("");
        assert!(!matches!(run.code, 0 | 2), "{plant}: {}", run.said);
        assert!(
            run.said.contains(refusal),
            "{plant}: {refusal} is not in:\n{}",
            run.said
        );
        let after = node.sh(state);
        assert_eq!(before, after, "{plant}");
        node.publish(&plain);
        node.once_with("");
    }
    // A hard link, where the kernel lets a user make one: replaced, and what it led to is told nobody.
    as_deploy(&node, "rm -rf ~/.ssh; mkdir ~/.ssh");
    node.sh(&format!(
        "ln /etc/shadow {KEYS}; cp -a /etc/shadow /root/shadow"
    ));
    node.publish(&shop());
    node.changes();
    node.sh("cmp /etc/shadow /root/shadow; test $(stat -c %h /etc/shadow) = 1");
    let told = node.sh("agentctl show; cat /run/agentd/status.json; cat /var/lib/agentd/runs/*");
    assert!(
        !told.contains("root:*:") && !told.contains("root:!"),
        "{told}"
    );
    // A directory that others may write to is shut, for sshd would not read in it; one of another's is refused.
    node.sh("chmod 777 /home/deploy/.ssh; rm /home/deploy/.ssh/authorized_keys");
    node.changes();
    assert_eq!(node.sh("stat -c %a /home/deploy/.ssh").trim(), "700");
    node.sh("chown root /home/deploy/.ssh; rm /home/deploy/.ssh/authorized_keys");
    node.complains(
        "the directory /home/deploy/.ssh belongs to uid 0, and it should be that of uid 1520",
    );
}

#[test]
fn the_daemon_makes_accounts_from_its_sandbox_and_mends_them() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let mut node = Box::boot(&fleet, image);
        let (key, public) = ("/root/key", "/root/key.pub");
        node.sh(&format!("ssh-keygen -q -t ed25519 -N '' -C test -f {key}"));
        let mut with_key = shop();
        with_key["users"]["deploy"]["keys"] =
            json!([KEY, node.machine.read(public).unwrap().trim()]);
        node.publish(&with_key);
        node.sh("mkdir -p /run/sshd; systemctl start ssh.service; systemctl start agentd.service");
        let ssh = format!(
            "ssh -i {key} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null deploy@127.0.0.1 id -nG"
        );
        see(&node.machine, "a login by key", || node.holds(&ssh));
        assert_eq!(node.sh(&ssh).trim(), "deploy shop");
        see(&node.machine, "agentctl status to be 0", || {
            node.holds("agentctl status")
        });
        // Once more after the first run: what was edited before anybody watched.
        std::thread::sleep(Duration::from_secs(3));

        for (what, edit, mended) in [
            (
                "the shell",
                "usermod -s /bin/sh deploy",
                "getent passwd deploy | grep -q :/bin/bash$",
            ),
            (
                "a group",
                "gpasswd -d deploy shop",
                "id -nG deploy | grep -qw shop",
            ),
            (
                "a lock",
                "usermod -e 1 deploy",
                "test \"$(getent shadow deploy | cut -d: -f8)\" = ''",
            ),
            (
                "the account",
                "userdel deploy; groupdel deploy 2>/dev/null || true",
                "id -nG deploy | grep -qw shop",
            ),
            (
                "the keys",
                "echo >> /home/deploy/.ssh/authorized_keys",
                "! grep -q '^$' /home/deploy/.ssh/authorized_keys",
            ),
            (
                "sudo",
                "rm /etc/sudoers.d/agentd-deploy",
                "test -e /etc/sudoers.d/agentd-deploy",
            ),
        ] {
            node.sh(edit);
            let took = see(&node.machine, what, || node.holds(mended));
            println!("{image:?}: {what} was mended after {took:?}");
        }
        see(&node.machine, "a login by key again", || node.holds(&ssh));
        // What the agent and the system's tools write themselves makes no further run.
        let runs =
            || node.sh("agentctl status --output json | grep -o '\"runs\": *[0-9]*' | head -1");
        std::thread::sleep(Duration::from_secs(3));
        let before = runs();
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(runs(), before);

        // Gone: nobody logs in any more.
        with_key["users"].as_object_mut().unwrap().remove("deploy");
        node.publish(&with_key);
        see(&node.machine, "the door shut", || !node.holds(&ssh));
        see(&node.machine, "the lock", || node.shadow("deploy").1 == "1");
    }
}

#[test]
fn a_list_of_users_does_not_shrink_by_accident() {
    let fleet = Fleet::new().unwrap();
    let mut node = Box::boot(&fleet, Image::Debian);
    let four = json!({"users": {"a": {"uid": 1501}, "b": {"uid": 1502}, "c": {"uid": 1503, "keys": [KEY], "shell": "/bin/sh"}, "d": {"uid": 1504}}});
    node.publish(&four);
    node.changes();
    node.publish(&json!({"users": {"a": {"uid": 1501}}}));
    node.complains("held: it would remove 3 of 4 users (b, c, d)");
    assert_eq!(node.shadow("b").1, "");
    assert!(node.machine.exists("/home/c/.ssh/authorized_keys"));
    node.publish_with(
        &json!({"users": {"a": {"uid": 1501}}}),
        &json!({"confirm": true}),
    );
    let run = node.once_with("");
    assert_eq!(run.code, 2, "{}", run.said);
    for user in ["b", "c", "d"] {
        assert_eq!(node.shadow(user).1, "1", "{user}: {}", run.said);
    }
    assert!(!node.machine.exists("/home/c/.ssh/authorized_keys"));
}

#[test]
fn killed_at_any_point_accounts_are_made_good() {
    const MOST_POINTS: u32 = 300;
    let fleet = Fleet::new().unwrap();
    let mut node = Box::boot(&fleet, Image::Debian);
    let mut without = shop();
    without["users"].as_object_mut().unwrap().remove("deploy");
    node.publish(&without);
    node.once_with("");
    let mut killed = 0;
    for point in (1..MOST_POINTS).step_by(5) {
        node.publish(&shop());
        let code = node.once_with(&format!("AGENTD_CRASH_AT={point}")).code;
        if code == 2 {
            break;
        }
        assert_eq!(code, 137, "point {point}");
        killed += 1;
        let run = node.once_with("");
        assert!(matches!(run.code, 0 | 2), "point {point}: {}", run.said);
        node.nothing_to_do();
        assert_eq!(node.groups("deploy"), "deploy shop", "point {point}");
        assert!(
            node.machine.exists(KEYS) && node.machine.exists(SUDO),
            "point {point}"
        );
        assert_eq!(
            node.sh("stat -c '%U %a' /home/deploy/.ssh").trim(),
            "deploy 700",
            "point {point}"
        );
        assert!(
            !node.machine.exists("/var/lib/agentd/pending"),
            "point {point}"
        );
        // It was the agent that made it, whatever came between: it is locked.
        node.publish(&without);
        let run = node.once_with("");
        assert!(matches!(run.code, 0 | 2), "point {point}: {}", run.said);
        assert_eq!(node.shadow("deploy").1, "1", "point {point}: {}", run.said);
        node.sh("userdel -r deploy 2>/dev/null; groupdel deploy 2>/dev/null || true");
        node.once_with("");
    }
    assert!(killed > 8, "killed {killed} times");
    println!("killed {killed} times");
}
