//! Promise: files of the document stand as it says on real machines of both layouts: owner and mode, templates, checks,
//! services told once; what is another's is left to them and comes back; secrets are nowhere but in their files.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests, and what they share"
)]

use std::time::Duration;

use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, wait_until, with_agent,
};
use serde_json::{Value, json};

/// Longer than any step should take on a busy host.
const SOON: Duration = Duration::from_secs(40);
const SECRET: &str = "tr0ub4dor-and-3-horses";
const NEXT_SECRET: &str = "n0-more-horses-here";

/// A service that says in a file each time that it is started or told to reload.
const SERVICE: &str = "[Unit]\nDescription=counts what it is told\nStartLimitIntervalSec=0\n[Service]\nExecStartPre=/bin/sh -c 'echo started >>/run/counted'\nExecStart=/bin/sleep infinity\nExecReload=/bin/sh -c 'echo reloaded >>/run/counted'\n[Install]\nWantedBy=multi-user.target\n";

fn document(version: u64, role: &Value, product: &Value) -> Value {
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "heavy", "version": version,
        "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
        "servers": {
            "web-1": {"address": "10.77.0.11", "zone": "north", "roles": ["web"], "products": ["shop"]},
            "cache-1": {"address": "10.77.0.21", "roles": ["memcached"], "products": ["shop"]}
        },
        "roles": {"web": {"files": role}, "memcached": {}},
        "products": {"shop": {"files": product}}
    }})
}

struct Box<'fleet> {
    machine: Machine,
    bucket: FleetBucket<'fleet>,
    version: std::cell::Cell<u64>,
}

impl<'fleet> Box<'fleet> {
    #[track_caller]
    fn boot(fleet: &'fleet Fleet, image: Image, role: &Value, product: &Value) -> Self {
        let bucket = FleetBucket::start(fleet).unwrap();
        bucket.publish(&document(1, role, product)).unwrap();
        let spec = MachineSpec::new("web-1", image, "10.77.0.11")
            .file("/etc/systemd/system/counted.service", SERVICE)
            .file("/etc/motd", "as the image has it\n")
            .enable("counted.service");
        let machine = fleet.boot(with_agent(spec).unwrap()).unwrap();
        machine.must(&["useradd", "--system", "shop"]).unwrap();
        Self {
            machine,
            bucket,
            version: 1.into(),
        }
    }

    #[track_caller]
    fn publish(&self, role: &Value, product: &Value) {
        self.version.set(self.version.get() + 1);
        let document = document(self.version.get(), role, product);
        self.bucket.publish(&document).unwrap();
    }

    #[track_caller]
    fn see(&self, what: &str, holds: impl FnMut() -> bool) {
        if let Err(error) = wait_until(what, SOON, holds) {
            let status = self.machine.run(&["agentctl", "status"]);
            let status = status.map_or_else(|e| e.to_string(), |said| said.stdout + &said.stderr);
            let log = self.machine.journal("agentd.service").unwrap_or_default();
            unreachable!("{:?}: {error}\n{status}\n{log}", self.machine.image());
        }
    }

    /// The version that was published last is applied as far as it can be.
    #[track_caller]
    fn applied(&self) {
        let version = self.version.get();
        self.see("the version to be applied", || {
            self.status()["document"]["version"] == version
        });
    }

    fn status(&self) -> Value {
        let said = self
            .machine
            .run(&["agentctl", "status", "--output", "json"]);
        said.ok()
            .and_then(|said| serde_json::from_str(&said.stdout).ok())
            .unwrap_or_default()
    }

    /// Whether root is shown this of the run that failed; the status, which is everybody's, says where to look.
    fn shows(&self, what: &str) -> bool {
        let shown = self.machine.run(&["agentctl", "show", "failed"]);
        shown.is_ok_and(|said| said.stdout.contains(what)) && self.says("agentctl show failed")
    }

    fn says(&self, words: &str) -> bool {
        let said = self.machine.run(&["agentctl", "status"]);
        said.is_ok_and(|said| {
            said.stdout
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .contains(words)
        })
    }

    fn stat(&self, path: &str) -> String {
        let said = self.machine.run(&["stat", "-c", "%U:%G %a", path]);
        said.map_or_else(|e| e.to_string(), |said| said.stdout.trim().to_owned())
    }

    fn is(&self, path: &str, text: &str) -> bool {
        self.machine.read(path).is_ok_and(|found| found == text)
    }

    /// How often the service was started and reloaded.
    fn counted(&self) -> (usize, usize) {
        let text = self.machine.read("/run/counted").unwrap_or_default();
        let count = |word| text.lines().filter(|line| *line == word).count();
        (count("started"), count("reloaded"))
    }
}

#[test]
fn files_stand_as_the_document_says_and_services_are_told_once() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let role = json!({
            "/etc/shop.motd": {"template": "{{ node.name }} ({{ node.roles | join(', ') }}) in {{ node.zone }}\n"},
            "/srv/shop/data": {"directory": true, "owner": "shop", "group": "shop", "mode": "0750"},
            "/srv/shop/data/seed": {"content": "seed\n", "owner": "shop", "mode": "0600"},
            "/usr/local/share/shop": {"link": "/srv/shop"}
        });
        let conf = |name: &str, text: &str| {
            json!({
                "template": format!("# {name}\n{text}\n{{% for one in peers.memcached %}}{{{{ one.address }}}}\n{{% endfor %}}"),
                "group": "shop", "mode": "0640", "check": ["/bin/grep", "-q", "good", "{staged}"], "reload": ["counted"]
            })
        };
        let product = |a: &str, b: &str| json!({"/etc/shop/conf.d/a": conf("a", a), "/etc/shop/conf.d/b": conf("b", b)});
        let web = Box::boot(&fleet, image, &role, &product("good 1", "good 1"));
        web.see("the seed of an account that came later", || {
            web.stat("/srv/shop/data/seed") == "shop:root 600"
        });
        web.see("the configuration", || {
            web.is("/etc/shop/conf.d/b", "# b\ngood 1\n10.77.0.21\n")
        });
        assert!(web.is("/etc/shop.motd", "web-1 (web) in north\n"));
        assert_eq!(web.stat("/srv/shop/data"), "shop:shop 750");
        assert_eq!(web.stat("/etc/shop/conf.d/a"), "root:shop 640");
        assert!(web.is("/usr/local/share/shop/data/seed", "seed\n"));
        web.see("agentctl status to be 0", || {
            web.machine
                .run(&["agentctl", "status"])
                .is_ok_and(|said| said.code == Some(0))
        });

        // Two files that one service reads: it is told once.
        let (started, before) = web.counted();
        web.publish(&role, &product("good 2", "good 2"));
        web.see("the next configuration", || {
            web.is("/etc/shop/conf.d/b", "# b\ngood 2\n10.77.0.21\n") && web.counted().1 > before
        });
        web.applied();
        assert_eq!(web.counted(), (started, before + 1), "{image:?}");

        // One that its check refuses stays as it was, and the other one comes true.
        web.publish(&role, &product("bad", "good 3"));
        web.see("what is right", || {
            web.is("/etc/shop/conf.d/b", "# b\ngood 3\n10.77.0.21\n")
        });
        web.see("the refusal to be told", || {
            web.shows("refused what /etc/shop/conf.d/a would be")
        });
        assert!(web.is("/etc/shop/conf.d/a", "# a\ngood 2\n10.77.0.21\n"));
        web.see("it to be told", || web.counted().1 == before + 2);
        web.publish(&role, &product("good 4", "good 3"));
        web.see("the mended one", || {
            web.is("/etc/shop/conf.d/a", "# a\ngood 4\n10.77.0.21\n")
        });
        let left = web
            .machine
            .must(&["find", "/etc/shop", "-name", ".*"])
            .unwrap();
        assert_eq!(left, "");

        // Content, owner, mode.
        for (edit, path, expected) in [
            (
                "echo mine >/etc/shop/conf.d/a",
                "/etc/shop/conf.d/a",
                "root:shop 640",
            ),
            (
                "chown shop /etc/shop/conf.d/a",
                "/etc/shop/conf.d/a",
                "root:shop 640",
            ),
            (
                "chmod 666 /etc/shop/conf.d/a",
                "/etc/shop/conf.d/a",
                "root:shop 640",
            ),
            (
                "chgrp root /srv/shop/data",
                "/srv/shop/data",
                "shop:shop 750",
            ),
            (
                "rm /srv/shop/data/seed",
                "/srv/shop/data/seed",
                "shop:root 600",
            ),
        ] {
            web.machine.must(&["sh", "-c", edit]).unwrap();
            web.see(edit, || {
                web.stat(path) == expected
                    && web.is("/etc/shop/conf.d/a", "# a\ngood 4\n10.77.0.21\n")
            });
        }
        let why = web
            .machine
            .must(&["agentctl", "why", "/etc/shop/conf.d/a"])
            .unwrap();
        assert!(why.contains("files/reload-counted"), "{why}");
    }
}

#[test]
fn what_is_anothers_is_left_to_them_and_comes_back() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let motd = |replace: bool| {
            json!({
                "/etc/motd": {"content": "ours\n", "replace": replace},
                "/srv/conf/x": {"content": "x\n"},
                "/etc/planted": {"content": "p\n", "replace": true}
            })
        };
        let web = Box::boot(&fleet, image, &json!({}), &json!({}));
        web.machine.must(&["sh", "-c", "mkdir -p /srv /root/elsewhere; ln -s /root/elsewhere /srv/conf; ln -s /root/planted /etc/planted; chmod 604 /etc/motd"]).unwrap();
        web.publish(&motd(false), &json!({}));
        web.see("it to be held", || web.says("/etc/motd is there already"));
        assert!(web.is("/etc/motd", "as the image has it\n"));
        web.see("links in the way to be told", || {
            web.says("/srv/conf") && web.says("/etc/planted is a symlink")
        });
        assert!(!web.machine.exists("/root/elsewhere/x") && !web.machine.exists("/root/planted"));

        web.publish(&motd(true), &json!({}));
        web.see("ours", || web.is("/etc/motd", "ours\n"));
        let why = web.machine.must(&["agentctl", "why", "/etc/motd"]).unwrap();
        assert!(why.contains("comes back"), "{why}");
        web.publish(&json!({}), &json!({}));
        web.see("theirs", || web.is("/etc/motd", "as the image has it\n"));
        assert_eq!(web.stat("/etc/motd"), "root:root 604");
    }
}

#[test]
fn an_object_is_what_the_document_says_or_nothing() {
    let image = Image::Debian;
    let fleet = Fleet::new().unwrap();
    let logo: Vec<u8> = (0..200_000_u32)
        .map(|n| u8::try_from(n * 7 % 251).unwrap())
        .collect();
    let digest = node_agent::system::digest::sha256_hex(&logo);
    let file = json!({"/srv/shop/logo.png": {"object": "files/logo.png", "sha256": digest}});
    let web = Box::boot(&fleet, image, &json!({}), &json!({}));
    web.bucket
        .put("prod/files/logo.png", b"something else")
        .unwrap();
    web.publish(&file, &json!({}));
    web.see("another digest to be refused", || {
        web.says("its SHA-256 in the bucket is")
    });
    assert!(!web.machine.exists("/srv/shop/logo.png"));
    web.bucket.put("prod/files/logo.png", &logo).unwrap();
    web.machine.run(&["agentctl", "apply", "--retry"]).unwrap();
    let sum = || {
        let said = web.machine.run(&["sha256sum", "/srv/shop/logo.png"]);
        said.map_or_else(|e| e.to_string(), |said| said.stdout)
    };
    web.see("the right one", || sum().starts_with(&digest));
    // Without the bucket it is mended all the same.
    web.bucket.cut().unwrap();
    web.machine
        .must(&["sh", "-c", "echo broken >/srv/shop/logo.png"])
        .unwrap();
    web.see("it to be mended", || sum().starts_with(&digest));
    web.bucket.heal().unwrap();
    web.publish(&json!({}), &json!({}));
    web.see("it to go", || !web.machine.exists("/srv/shop/logo.png"));
    web.see("the object to go", || {
        !web.machine
            .exists(&format!("/var/lib/agentd/objects/{digest}"))
    });
}

#[test]
fn a_database_that_is_written_to_is_not_restarted_and_that_is_told_until_somebody_does() {
    for (image, path) in [
        (Image::Debian, "/etc/mysql/mariadb.conf.d/70-tuning.cnf"),
        (Image::CentosLayout, "/etc/my.cnf.d/70-tuning.cnf"),
    ] {
        let fleet = Fleet::new().unwrap();
        let tuning = json!({"/etc/my.cnf.d/70-tuning.cnf": {
            "content": "[mysqld]\nmax_connections = 500\n", "restart": ["mariadb"],
            "debian": "/etc/mysql/mariadb.conf.d/70-tuning.cnf"
        }});
        let led_by = |version: u64, chain: Value, files: &Value| {
            let mut document = document(version, &json!({}), files);
            document["signed"]["products"]["shop"]["database"] = json!({"chain": chain});
            document
        };
        let web = Box::boot(&fleet, image, &json!({}), &json!({}));
        // As the database's unit, it only counts how often it is started.
        let unit = SERVICE.replace("/run/counted", "/run/counted-database");
        web.machine
            .write("/etc/systemd/system/mariadb.service", unit.as_bytes())
            .unwrap();
        web.machine
            .must(&[
                "sh",
                "-c",
                "systemctl daemon-reload; systemctl restart mariadb.service",
            ])
            .unwrap();
        let started = || {
            web.machine
                .read("/run/counted-database")
                .unwrap()
                .lines()
                .count()
        };
        assert_eq!(started(), 1);
        // The file is to be younger than the start, in whole seconds.
        std::thread::sleep(Duration::from_secs(2));
        let chain = json!(["web-1", "cache-1"]);
        web.bucket
            .publish(&led_by(2, chain.clone(), &tuning))
            .unwrap();
        web.see("the file", || {
            web.is(path, "[mysqld]\nmax_connections = 500\n")
        });
        web.machine.run(&["agentctl", "apply"]).unwrap();
        web.see("it to be told", || {
            web.says("a restart of mariadb.service is due")
                && web.says("is the master of shop")
                && web.says("systemctl restart mariadb.service")
        });
        assert_eq!(started(), 1, "{image:?}");
        std::thread::sleep(Duration::from_secs(1));
        web.machine
            .must(&["systemctl", "restart", "mariadb.service"])
            .unwrap();
        web.machine.run(&["agentctl", "apply"]).unwrap();
        web.see("it to be no longer told", || !web.says("a restart of"));

        // Nobody writes to a replica.
        let mut files = tuning.clone();
        files["/etc/my.cnf.d/70-tuning.cnf"]["content"] =
            "[mysqld]\nmax_connections = 600\n".into();
        web.bucket
            .publish(&led_by(3, json!(["cache-1", "web-1"]), &files))
            .unwrap();
        web.see("the replica to be restarted", || started() == 3);
        assert!(web.is(path, "[mysqld]\nmax_connections = 600\n"));
        assert!(!web.says("a restart of"));
    }
}

/// Files that have a text in them, but for those where it belongs.
fn who_knows(machine: &Machine, text: &str) -> String {
    let script = format!(
        "grep -rlF -e '{text}' /var/lib/agentd /run/agentd /var/log /run/log /tmp /var/tmp /etc 2>/dev/null | grep -vxF -e /etc/agentd/secrets/db -e /etc/shop/app.ini; \
         journalctl --no-pager -o export 2>/dev/null | grep -cF -e '{text}' | grep -vx 0; \
         for c in status 'status --output json' plan 'plan -v' 'plan --output json' history 'show 1' 'why /etc/shop/app.ini' 'why /etc/shop/app.ini password' 'why password' metrics munin doctor; do \
           agentctl $c 2>&1 | grep -qF -e '{text}' && echo \"agentctl $c\"; done; true"
    );
    machine.must(&["sh", "-c", &script]).unwrap()
}

#[test]
fn a_secret_is_in_its_file_and_nowhere_else_and_a_new_one_is_there_at_once() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let product = |more: &str| {
            json!({"/etc/shop/app.ini": {
                "template": format!("password = {{{{ secret('db') }}}}\n{more}"),
                "secrets": {"db": {"file": "/etc/agentd/secrets/db"}}, "group": "shop", "mode": "0640",
                // What a check says of such a file is not for the log.
                "check": ["/bin/sh", "-c", "cat {staged}; ! grep -q refuse {staged}"], "restart": ["counted"]
            }})
        };
        let web = Box::boot(&fleet, image, &json!({}), &product(""));
        web.see("the missing secret to be told", || {
            web.says("/etc/agentd/secrets/db is not there")
        });
        let keep = |secret: &str, mode: &str| {
            let script = format!(
                "umask 077; mkdir -p /etc/agentd/secrets; printf '%s\\n' '{secret}' >/etc/agentd/secrets/.new; chmod {mode} /etc/agentd/secrets/.new; mv /etc/agentd/secrets/.new /etc/agentd/secrets/db"
            );
            web.machine.must(&["sh", "-c", &script]).unwrap();
        };
        keep(SECRET, "644");
        web.machine.run(&["agentctl", "apply"]).unwrap();
        web.see("a secret for all to be refused", || {
            web.says("can be read by others than root")
        });
        assert!(!web.machine.exists("/etc/shop/app.ini"));
        keep(SECRET, "600");
        web.machine.run(&["agentctl", "apply"]).unwrap();
        web.see("the secret's file", || {
            web.is("/etc/shop/app.ini", &format!("password = {SECRET}\n"))
        });
        assert_eq!(web.stat("/etc/shop/app.ini"), "root:shop 640");
        assert_eq!(who_knows(&web.machine, SECRET), "", "{image:?}: written");

        // An edit, a version that is refused, one that is not.
        web.machine
            .must(&["sh", "-c", "echo more >>/etc/shop/app.ini"])
            .unwrap();
        web.see("the edit to be mended", || {
            web.is("/etc/shop/app.ini", &format!("password = {SECRET}\n"))
        });
        web.publish(&json!({}), &product("refuse\n"));
        web.see("the refusal", || {
            web.shows("is not shown, for it may quote a secret")
        });
        web.publish(&json!({}), &product("more = 1\n"));
        let written = format!("password = {SECRET}\nmore = 1\n");
        web.see("the next version", || web.is("/etc/shop/app.ini", &written));
        assert_eq!(
            who_knows(&web.machine, SECRET),
            "",
            "{image:?}: edited, refused, changed"
        );

        // Another secret: watched, so that nobody waits for the next look.
        web.see("quiet", || web.status()["health"] == "converged");
        let (started, _) = web.counted();
        let clock = std::time::Instant::now();
        keep(NEXT_SECRET, "600");
        let written = format!("password = {NEXT_SECRET}\nmore = 1\n");
        web.see("the new secret's file", || {
            web.is("/etc/shop/app.ini", &written)
        });
        println!(
            "{image:?}: a new secret was written after {:?}",
            clock.elapsed()
        );
        assert!(clock.elapsed() < Duration::from_secs(10));
        web.see("the restart", || web.counted().0 == started + 1);
        for secret in [SECRET, NEXT_SECRET] {
            assert_eq!(who_knows(&web.machine, secret), "", "{image:?}: rotated");
        }

        web.publish(&json!({}), &json!({}));
        web.see("it to go", || !web.machine.exists("/etc/shop/app.ini"));
        assert_eq!(
            who_knows(&web.machine, NEXT_SECRET),
            "",
            "{image:?}: removed"
        );
        web.see("the last restart", || web.counted().0 >= started + 2);
        assert_eq!(web.counted().0, started + 2, "{image:?}: once each");
    }
}
